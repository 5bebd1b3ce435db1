//! `refresh-storm`: what happens when a fleet presents the same refresh tokens at once, without and with coordination.
//!
//! The files in the order in which a storm needs them: what the user asked for, the driver and what it starts, what a
//! pod and its callers do, the built-in provider, what is counted, what is said of it.

mod clock;
mod stopped;
mod urls;
mod arguments;
mod plan;
mod rules;
mod tokens;
mod limits;
mod logs;

mod storm;
mod checks;
mod driver;
mod progress;
mod builtin;
mod fleet;
mod wire;
mod redis_load;

mod pod;
mod presenter;
mod exchange;
mod client;

mod provider;
mod ledger;

mod tally;
mod results;
mod verdict;
mod report;
mod timeline;
mod picture;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use refresh_coordinator_cli::{self as cli, BadSetting};
use tokio::process::Child;

use arguments::Arguments;
use logs::LogSettings;
use provider::ProviderArguments;

/// Many pods, many callers, the same tokens. Without arguments it needs nothing and takes half a minute, or some ten seconds when it is built with --release
#[derive(Debug, Parser)]
#[command(name = "refresh-storm", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    storm: Box<Arguments>,
    #[command(flatten)]
    logs: LogSettings,
}

/// What the storm starts this program as, again; the provider serves on its own, too.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// One pod of a storm, driven over stdin and stdout
    #[command(hide = true)]
    Pod,
    /// The built-in provider alone: rotates refresh tokens, and revokes the family of one that comes twice
    ///
    /// Put refreshd in front of its /token, and let storms log in and be judged there: refresh-storm --storm-provider
    /// URL --token-url URL
    Provider(ProviderArguments),
}

impl Cli {
    async fn run(self, provider: &mut Option<Child>) -> ExitCode {
        match self.part {
            None => storm::run(*self.storm, provider).await,
            Some(Part::Pod) => pod::run_pod().await,
            Some(Part::Provider(arguments)) => provider::run_provider(arguments).await,
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain("refresh-storm", &error),
    };
    start(cli).unwrap_or_else(|bad_setting| {
        eprintln!("refresh-storm: {bad_setting}");
        ExitCode::from(2)
    })
}

fn start(cli: Cli) -> Result<ExitCode, BadSetting> {
    cli.logs.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        BadSetting::new(format!("the runtime cannot be started: {error}; raise the limits of threads and files"))
    })?;

    let mut provider = None;
    let ended = runtime.block_on(cli.run(&mut provider));
    // A name resolution that hangs must not keep a process that is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    drop(provider);
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
