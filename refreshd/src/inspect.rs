//! `refreshd inspect`: how a flight, its session and the fleet stand, asked of Redis.

use std::process::ExitCode;

use refresh_coordinator::Secret;
use refresh_coordinator_cli::{BadSetting, print_line};

use crate::operate::{Token, Way, told};

/// Tells how a refresh token, its session and the fleet stand: who leads and who waits, what is refused and until when
///
/// It asks Redis, and changes nothing. Without a token and a session it tells of the fleet alone. Flags and environment are
/// those of serve; of the settings only --namespace, --pepper-file and --store-timeout matter here.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    token: Token,
    /// The session, where callers name one (--session-header); else a session is its token
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// How many lines of each list are shown
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=10_000))]
    shown: u32,
    /// Print what stands in Redis field by field, as JSON, instead of lines to read
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

impl Inspect {
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        let mut operator = self.way.connect().await?;
        let flight = self.token.flight(&mut operator).await?;
        let session = match self.session {
            Some(session) => Some(operator.name_of(&Secret::from(session)).await.map_err(told)?),
            None => None,
        };
        if self.json {
            print_line(operator.inspect_json(flight, session, self.shown).await.map_err(told)?);
        } else {
            for line in operator.inspect(flight, session, self.shown).await.map_err(told)? {
                print_line(line);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
