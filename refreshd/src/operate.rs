//! What the subcommands of an operator share: the way to Redis, and the token that comes in by stdin.

use std::io::{BufRead, Read};

use refresh_coordinator::{ConnectError, Operator, RedisName, Secret};
use refresh_coordinator_cli::{BadSetting, Settings};

// No doc comment: clap would take it for the command's own text.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Way {
    #[command(flatten)]
    settings: Settings,
}

// Which flight.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Token {
    /// The refresh token is the first line of stdin. It is hashed here; it is never printed, logged or sent
    #[arg(long, conflicts_with = "token_hash")]
    token_stdin: bool,
    /// What the token is called in Redis: 64 hex digits, as `refreshd flights` and the logs have them
    #[arg(long, value_name = "HASH")]
    token_hash: Option<RedisName>,
}

/// Longer than any token that a pod takes.
const LONGEST_LINE: u64 = 2 * 1024 * 1024;

impl Way {
    /// Where this namespace is decided.
    pub(crate) async fn connect(&self) -> Result<Operator, BadSetting> {
        let config = self.settings.config()?;
        let Some(redis) = self.settings.redis()? else {
            return Err(BadSetting::new(
                "--redis is missing: say where the pods agree, as serve is told (REFRESHD_REDIS); a refreshd without \
                 --redis keeps everything to itself",
            ));
        };
        Operator::connect(redis.target(), &config).await.map_err(told)
    }

    pub(crate) fn namespace(&self) -> Result<String, BadSetting> {
        Ok(self.settings.config()?.namespace)
    }
}

impl Token {
    /// The flight that was asked for, if one was.
    pub(crate) async fn flight(&self, operator: &mut Operator) -> Result<Option<RedisName>, BadSetting> {
        if !self.token_stdin {
            return Ok(self.token_hash);
        }
        let token = Secret::from(line_of_stdin().await?);
        if token.expose().is_empty() {
            return Err(BadSetting::new(
                "--token-stdin: the first line of stdin is empty; it is to be the refresh token",
            ));
        }
        operator.name_of(&token).await.map(Some).map_err(told)
    }
}

/// The next line, without its end. Empty at the end of stdin.
pub(crate) async fn line_of_stdin() -> Result<String, BadSetting> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().take(LONGEST_LINE).read_line(&mut line)?;
        if line.len() as u64 == LONGEST_LINE {
            return Err(std::io::Error::other("its first line is longer than any token"));
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        std::io::Result::Ok(line)
    });
    let line = read.await.map_err(std::io::Error::other).flatten();
    line.map_err(|error| BadSetting::new(format!("stdin cannot be read: {error}")))
}

/// What Redis said. An operator cannot leave it out, as a pod can.
pub(crate) fn told(error: ConnectError) -> BadSetting {
    match error {
        ConnectError::Unreachable { .. } => BadSetting::new(format!("--redis: {error}")),
        error => error.into(),
    }
}
