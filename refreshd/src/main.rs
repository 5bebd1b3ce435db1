//! `refreshd`: a coordinating OAuth 2.0 token endpoint. Every pod points its token URL at it, and each refresh token
//! is presented to the provider once.
//!
//! A file per subcommand, a file per concern. What a user got wrong before anything runs is one line on stderr
//! and exit code 2.

mod caller;
mod caller_tls;
mod callers;
mod check;
mod config_file;
mod configuration;
mod coordination;
mod drain;
mod endpoint;
mod files;
mod flights;
mod gauges;
mod inspect;
mod limits;
mod listener;
mod logs;
mod metrics;
mod namespace;
mod newcomers;
mod noted;
mod operate;
mod opening;
mod pem;
mod place;
mod provider;
mod providers;
mod ready;
mod recent;
mod recorder;
mod refusals;
mod release;
mod reload;
mod serve;
mod signals;
mod signatures;
mod spans;
mod stamps;
mod status;
mod supervisor;
mod survey;
mod together;
mod upstream;
mod variables;
mod wiping;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use configuration::Configuration;
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
    /// Check the settings of serve, and print what is in force and where it comes from
    ///
    /// Takes what serve takes, connects to nothing, and prints no secrets. Exit code 0: serve would take these settings. 2: one
    /// is wrong.
    Check(Box<serve::Serve>),
    Ready(ready::Ready),
    Inspect(Box<inspect::Inspect>),
    Flights(Box<flights::Flights>),
    Release(Box<release::Release>),
    Namespace(Box<namespace::Namespace>),
    /// Print what is known of each provider that --provider takes, with the sources
    Presets,
    /// Moved to a program of its own
    #[command(hide = true, disable_help_flag = true)]
    Storm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<OsString>,
    },
}

/// What is to be done, with all that was said of it.
enum Task {
    Serve(Configuration),
    Check(Configuration, Box<clap::Command>),
    Other(Command),
}

impl Task {
    fn of(command: Command, flags: &clap::Command, given: &ArgMatches) -> Result<Self, BadSetting> {
        let Some((name, given)) = given.subcommand() else { return Ok(Self::Other(command)) };
        let flags = flags.find_subcommand(name).expect("BUG: it was given");
        match command {
            Command::Serve(_) => Ok(Self::Serve(Configuration::read(flags, given)?)),
            Command::Check(_) => Ok(Self::Check(Configuration::read(flags, given)?, Box::new(flags.clone()))),
            command @ (Command::Ready(_)
            | Command::Inspect(_)
            | Command::Flights(_)
            | Command::Release(_)
            | Command::Namespace(_)
            | Command::Presets
            | Command::Storm { .. }) => Ok(Self::Other(command)),
        }
    }

    async fn run(self) -> Result<ExitCode, BadSetting> {
        match self {
            Self::Serve(configuration) => Box::pin(serve::run(configuration)).await,
            Self::Check(configuration, flags) => check::run(&configuration, &flags),
            Self::Other(Command::Ready(ready)) => ready.run().await,
            Self::Other(Command::Inspect(inspect)) => Box::pin(inspect.run()).await,
            Self::Other(Command::Flights(flights)) => Box::pin(flights.run()).await,
            Self::Other(Command::Release(release)) => Box::pin(release.run()).await,
            Self::Other(Command::Namespace(namespace)) => Box::pin(namespace.run()).await,
            Self::Other(Command::Presets) => {
                for preset in Preset::all() {
                    cli::print_line(preset);
                }
                Ok(ExitCode::SUCCESS)
            }
            // The arguments are not repeated: they may hold a password.
            Self::Other(Command::Storm { .. }) => Err(BadSetting::new(
                "storm is a program of its own now: refresh-storm, with the same arguments (from the sources: cargo run \
                 --bin refresh-storm -- ARGUMENTS)",
            )),
            Self::Other(Command::Serve(_) | Command::Check(_)) => unreachable!("BUG: they have tasks of their own"),
        }
    }
}

fn main() -> ExitCode {
    let mut flags = Cli::command();
    flags.build();
    let given = flags.clone().try_get_matches();
    let parsed = given.and_then(|given| Ok((Cli::from_arg_matches(&given)?, given)));
    let (cli, given) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return cli::explain("refreshd", &error),
    };
    start(cli, &flags, &given).unwrap_or_else(|bad_setting| {
        cli::complain(format_args!("refreshd: {bad_setting}"));
        ExitCode::from(2)
    })
}

fn start(cli: Cli, flags: &clap::Command, given: &ArgMatches) -> Result<ExitCode, BadSetting> {
    // Before logs: the file says how they are written.
    let task = Task::of(cli.command, flags, given)?;
    // Dropped last of all: what is logged until then is written.
    let _logs = match &task {
        Task::Serve(configuration) | Task::Check(configuration, _) => {
            let first = configuration.first();
            first.settings::<logs::LogSettings>()?.start().map_err(|wrong| first.explain(wrong))?
        }
        Task::Other(_) => cli.logs.start()?,
    };
    if let Task::Serve(_) | Task::Check(..) = &task {
        warn_about_variables(flags);
    }
    // First: building an HTTP client without a process-wide provider panics.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("BUG: nobody else installs a provider, and this is done once");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().on_thread_park(wiping::wipe_stack).build().map_err(|error| {
        BadSetting::new(format!("the runtime cannot be started: {error}; raise the limits of threads and files"))
    })?;

    let ended = runtime.block_on(task.run());
    // A name resolution that hangs must not keep a process that is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// Of settings whose names have a slip: they are not in force, and nothing else says so.
fn warn_about_variables(flags: &clap::Command) {
    let secrets = check::SECRET_VARIABLES.map(|(variable, _)| variable);
    let given = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for variables::Unknown { name: variable, meant } in variables::unknown(flags, &secrets, given) {
        tracing::warn!(variable, meant, "this variable is no setting of refreshd, and means nothing");
    }
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

    #[test]
    fn every_flag_of_serve_has_a_key_in_the_file_and_every_key_is_a_flag() {
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").expect("it serves");
        let is_flag = |key: &str| {
            serve.get_arguments().any(|flag| {
                flag.get_long() == Some(key) || flag.get_visible_aliases().is_some_and(|other| other.contains(&key))
            })
        };
        let mut keys = std::collections::BTreeSet::new();
        for flag in serve.get_arguments() {
            let long = flag.get_long().expect("a flag");
            match config_file::key(flag) {
                Some(key) => assert!(is_flag(key) && keys.insert(key), "{key} is one flag"),
                // The file does not name itself.
                None => assert!(matches!(long, "help" | "config"), "--{long} has no key"),
            }
        }
        assert!(keys.len() > 60, "{}", keys.len());
    }
}
