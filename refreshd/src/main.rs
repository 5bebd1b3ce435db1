//! `refreshd`: a coordinating OAuth 2.0 token endpoint. Every pod points its token URL at it, and each refresh token
//! is presented to the provider once.
//!
//! A file per subcommand, a file per concern. What a user got wrong before anything runs is one line on stderr
//! and exit code 2.

mod callers;
mod endpoint;
mod files;
mod flights;
mod inspect;
mod limits;
mod listener;
mod logs;
mod metrics;
mod noted_writes;
mod operate;
mod ready;
mod refusals;
mod release;
mod reload;
mod serve;
mod signatures;
mod supervisor;
mod upstream;
mod wiping;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use refresh_coordinator::Preset;
use refresh_coordinator_cli::{self as cli, BadSetting};

/// Presents each OAuth 2.0 refresh token to its provider once, for a whole fleet.
#[derive(Debug, Parser)]
#[command(name = "refreshd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::LogSettings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Ready(ready::Ready),
    Inspect(Box<inspect::Inspect>),
    Flights(Box<flights::Flights>),
    Release(Box<release::Release>),
    /// Print what is known of each provider that --provider takes, with the sources
    Presets,
    /// Moved to a program of its own
    #[command(hide = true, disable_help_flag = true)]
    Storm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<OsString>,
    },
}

impl Command {
    async fn run(self) -> Result<ExitCode, BadSetting> {
        match self {
            Self::Serve(serve) => Box::pin(serve.run()).await,
            Self::Ready(ready) => ready.run().await,
            Self::Inspect(inspect) => Box::pin(inspect.run()).await,
            Self::Flights(flights) => Box::pin(flights.run()).await,
            Self::Release(release) => Box::pin(release.run()).await,
            Self::Presets => {
                for preset in Preset::all() {
                    println!("{preset}");
                }
                Ok(ExitCode::SUCCESS)
            }
            // The arguments are not repeated: they may hold a password.
            Self::Storm { .. } => Err(BadSetting::new(
                "storm is a program of its own now: refresh-storm, with the same arguments (from the sources: cargo run \
                 --bin refresh-storm -- ARGUMENTS)",
            )),
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain("refreshd", &error),
    };
    start(cli).unwrap_or_else(|bad_setting| {
        eprintln!("refreshd: {bad_setting}");
        ExitCode::from(2)
    })
}

fn start(cli: Cli) -> Result<ExitCode, BadSetting> {
    // Dropped last of all: what is logged until then is written.
    let _logs = cli.logs.start()?;
    // First: building an HTTP client without a process-wide provider panics.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("BUG: nobody else installs a provider, and this is done once");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().on_thread_park(wiping::wipe_stack).build().map_err(|error| {
        BadSetting::new(format!("the runtime cannot be started: {error}; raise the limits of threads and files"))
    })?;

    let ended = runtime.block_on(cli.command.run());
    // A name resolution that hangs must not keep a process that is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_of_serve_can_be_given_in_the_environment() {
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").expect("it serves");
        let flags: Vec<_> = serve.get_arguments().filter(|flag| flag.get_id() != "help").collect();
        assert!(flags.len() > 40, "{}", flags.len());

        for flag in flags {
            let long = flag.get_long().expect("a flag");
            let variable = match long {
                "log" => "RUST_LOG".to_owned(),
                _ => format!("REFRESHD_{}", long.replace('-', "_").to_uppercase()),
            };
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(&variable[..]), "--{long}");
        }
    }
}
