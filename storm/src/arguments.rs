//! What the user asked for, and the plan it makes: everything that can be wrong in it is found here, before anything
//! runs.

use std::path::{Path, PathBuf};

use refresh_coordinator_cli::{BadSetting, Settings, Span, read_secret};

use crate::plan::{FleetKind, Mode, Namespace, Plan, ProviderKind, RealProvider};
use crate::rules::Rules;
use crate::tokens::TokenFile;
use crate::urls;

// No doc comment: clap would take it for the program's own text.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Pods: with --redis a process each, otherwise coordinators of this process that share one store
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pods: u32,
    /// Callers in each pod for each token
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    callers: u32,
    /// Refresh tokens, each of a login of its own, in each mode [default: 200, or all of --tokens-file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: Option<u32>,
    /// Tokens that are presented at the same time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_once: u32,
    /// Rotations in a row: each time, all callers present the token that the time before gave
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chain: u32,
    /// Close every tab in mid-request: all callers go away before they are answered, and come again with the token that they
    /// have when the answer is no longer fresh (--keep-outcome)
    #[arg(long)]
    closed_tabs: bool,
    /// Without coordination, with it, or first the one and then the other [default: both; with, against a real
    /// provider]
    #[arg(long, value_enum)]
    mode: Option<Modes>,
    /// How long the built-in provider takes for a refresh
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    provider_delay: Span,
    /// HTTP connections to the provider at once, over all pods
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// When to give up
    #[arg(long, value_name = "TIME", default_value = "5m")]
    time_limit: Span,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Draw the first logins over time, callers and presentations and what was revoked, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Let `with` coordinate nothing, to see that it is noticed
    #[arg(long, hide = true)]
    sabotage: bool,

    /// A `refresh-storm provider` that runs elsewhere: the storm logs in there, and its log judges. With --token-url,
    /// of the refreshd in front of it, they coordinate
    #[arg(long, value_name = "URL", conflicts_with_all = ["provider_url", "client_id", "client_secret_file", "tokens_file", "provider_delay"])]
    storm_provider: Option<String>,
    /// The token endpoint of a refreshd in front of the provider; several of them share the callers and do the
    /// coordination
    #[arg(long, value_name = "URL", help_heading = "A real provider")]
    token_url: Vec<String>,
    /// The real provider's own token endpoint, for the mode without coordination; without --token-url the pods
    /// coordinate in front of it
    #[arg(long, value_name = "URL", help_heading = "A real provider")]
    provider_url: Option<String>,
    /// The client that the refresh tokens were given to
    #[arg(long, value_name = "ID", help_heading = "A real provider")]
    client_id: Option<String>,
    /// A file with the secret of that client, if it has one
    #[arg(long, value_name = "FILE", help_heading = "A real provider")]
    client_secret_file: Option<PathBuf>,
    /// A file of refresh tokens, one a line. It is replaced by their successors as the storm goes on; tokens that
    /// the provider refused go to FILE.refused
    #[arg(long, value_name = "FILE", help_heading = "A real provider")]
    tokens_file: Option<PathBuf>,
    /// Yes, the storm without coordination may destroy the logins it is given
    #[arg(long, help_heading = "A real provider")]
    revoke_families: bool,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Modes {
    Without,
    With,
    Both,
}

/// More callers at once than this need more memory than a bystander's machine should be asked for.
const MOST_AT_ONCE: usize = 200_000;
/// Every caller's wait is kept for the percentiles.
const MOST_IN_ALL: usize = 50_000_000;

impl Arguments {
    /// # Errors
    ///
    /// [`BadSetting`] in one line, naming the flag and the remedy. Nothing was started.
    pub(crate) fn plan(self) -> Result<Plan, BadSetting> {
        let config = self.settings.config()?;
        let redis = self.settings.redis()?;
        let mut rules = Rules::of(&config);
        let namespace = if redis.is_some() && rules.namespace == refresh_coordinator::Config::default().namespace {
            let random = uuid::Uuid::new_v4().simple().to_string();
            rules.namespace = format!("storm-{}", &random[..12]);
            Namespace::Own
        } else {
            Namespace::Given
        };

        if let Some(file) = &self.picture {
            check_picture(file)?;
        }
        if self.closed_tabs && (self.is_real() || self.chain > 1) {
            return Err(BadSetting::new(
                "--closed-tabs is for the built-in provider and one rotation: leave out --chain and the flags of a real provider",
            ));
        }
        let modes = self.modes()?;
        let provider = self.provider(&modes)?;
        let fleet = match (redis, self.token_url.is_empty()) {
            (Some(_), false) => {
                return Err(BadSetting::new(
                    "--redis and --token-url are both given: either the storm's pods coordinate in Redis, or the \
                     refreshd behind --token-url do; leave one out (REFRESHD_REDIS counts as --redis)",
                ));
            }
            (redis, _) if self.sabotage => FleetKind::Sabotaged { in_processes: redis.is_some() },
            (Some(redis), true) => FleetKind::Redis { redis: Box::new(redis), namespace },
            (None, false) => FleetKind::Refreshds { token_urls: self.token_url },
            (None, true) => FleetKind::Embedded,
        };

        let size = |n: u32| n as usize;
        let tokens = match &provider {
            ProviderKind::BuiltIn { .. } | ProviderKind::Elsewhere { .. } => self.tokens.map_or(200, size),
            ProviderKind::Real(real) => {
                let enough = real.tokens.count() / modes.len();
                let tokens = self.tokens.map_or(enough, size);
                if tokens == 0 || tokens > enough {
                    return Err(BadSetting::new(format!(
                        "--tokens-file has {} tokens: {} are needed, a login for each of --tokens and each mode",
                        real.tokens.count(),
                        tokens.max(1) * modes.len(),
                    )));
                }
                tokens
            }
        };
        let (pods, callers, at_once, chain) =
            (size(self.pods), size(self.callers), size(self.at_once).min(tokens), size(self.chain));
        if pods * callers * at_once > MOST_AT_ONCE {
            return Err(BadSetting::new(format!(
                "--pods x --callers x --at-once is {}: at most {MOST_AT_ONCE} callers at once",
                pods * callers * at_once
            )));
        }
        if pods * callers * tokens * chain > MOST_IN_ALL {
            return Err(BadSetting::new(format!(
                "--pods x --callers x --tokens x --chain is {}: at most {MOST_IN_ALL} calls in all",
                pods * callers * tokens * chain
            )));
        }
        Ok(Plan {
            pods,
            callers,
            tokens,
            at_once,
            chain,
            closed_tabs: self.closed_tabs,
            modes,
            connections: size(self.connections),
            time_limit: self.time_limit.0,
            json: self.json,
            picture: self.picture,
            fleet,
            provider,
            rules,
            pepper: config.pepper,
        })
    }

    fn modes(&self) -> Result<Vec<Mode>, BadSetting> {
        let is_real = self.is_real();
        let modes = match self.mode {
            None if is_real => vec![Mode::With],
            None | Some(Modes::Both) => vec![Mode::Without, Mode::With],
            Some(Modes::Without) => vec![Mode::Without],
            Some(Modes::With) => vec![Mode::With],
        };
        if is_real && (modes.contains(&Mode::Without) || self.sabotage) && !self.revoke_families {
            return Err(BadSetting::new(
                "--mode without presents refresh tokens many times, and a real provider will revoke their families: \
                 add --revoke-families if these logins may be destroyed, or take --mode with",
            ));
        }
        Ok(modes)
    }

    fn provider(&self, modes: &[Mode]) -> Result<ProviderKind, BadSetting> {
        for (flag, url) in self
            .token_url
            .iter()
            .map(|url| ("--token-url", url))
            .chain(self.provider_url.iter().map(|url| ("--provider-url", url)))
            .chain(self.storm_provider.iter().map(|url| ("--storm-provider", url)))
        {
            check_url(flag, url)?;
        }
        if let Some(url) = &self.storm_provider {
            return Ok(ProviderKind::Elsewhere { url: url.clone() });
        }
        if !self.is_real() {
            return Ok(ProviderKind::BuiltIn { delay: self.provider_delay.0 });
        }
        let (Some(client_id), Some(file)) = (&self.client_id, &self.tokens_file) else {
            return Err(BadSetting::new(
                "a real provider needs --client-id and --tokens-file: the tokens, and the client that they were given to",
            ));
        };
        if modes.contains(&Mode::Without) && self.provider_url.is_none() {
            return Err(BadSetting::new(
                "--mode without goes past refreshd: give the provider's own token endpoint by --provider-url",
            ));
        }
        let secret = |file: &Path| read_secret("--client-secret-file", file);
        Ok(ProviderKind::Real(Box::new(RealProvider {
            url: self.provider_url.clone(),
            client_id: client_id.clone(),
            client_secret: self.client_secret_file.as_deref().map(secret).transpose()?,
            tokens: TokenFile::read(file)?,
        })))
    }

    /// Whether any of the flags of a real provider is given, and not that of one that is there to be tried.
    fn is_real(&self) -> bool {
        let is_named = !self.token_url.is_empty()
            || self.provider_url.is_some()
            || self.client_id.is_some()
            || self.client_secret_file.is_some()
            || self.tokens_file.is_some();
        is_named && self.storm_provider.is_none()
    }
}

/// Better now than after the storm.
fn check_picture(file: &Path) -> Result<(), BadSetting> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if file.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(BadSetting::new(format!(
            "--picture {} cannot be written: name a file in a folder that exists",
            file.display()
        )));
    }
    Ok(())
}

fn check_url(flag: &str, url: &str) -> Result<(), BadSetting> {
    urls::check(url).map_err(|wrong| BadSetting::new(format!("{flag} {wrong}")))
}
