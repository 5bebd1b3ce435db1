//! The fault suite: pods as processes, a Redis and a provider of their own, faults from a seed, and a checker that
//! reads the histories afterwards. `tests/run faults --seed N` runs it.
//!
//! * `run`: the driver, see [`run`]
//! * `failovers`: failovers in a row, see [`failovers`]
//! * `pod`, `provider`, `guard`: what the driver starts

mod arena;
mod arguments;
mod chains;
mod checker;
mod child;
mod clock;
mod exchange;
mod failovers;
mod faults;
mod fleet;
mod history;
mod lag;
#[path = "../../support/pki.rs"]
mod pki;
mod planned;
mod plans;
mod pod;
mod pod_log;
mod provider;
mod proxy;
mod random;
mod redis_server;
mod run;
mod sabotage;
mod settings;
mod steps;
mod table;
mod ticker;
mod tokens;
mod topology;
mod transport;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Injects faults into a fleet, and judges the history")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drives fleets through all faults and prints the table
    Run(arguments::RunArguments),
    /// Fails over again and again under load, and says what was presented twice or lost
    Failovers(failovers::FailoverArguments),
    /// A pod, on stdin and stdout
    #[command(hide = true)]
    Pod { settings: String },
    /// The provider
    #[command(hide = true)]
    Provider,
    /// Becomes another program, which ends with its parent
    #[command(hide = true)]
    Guard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Guard { program } => {
            eprintln!("faults: {}", child::become_mortal(&program));
            ExitCode::FAILURE
        }
        Command::Pod { settings } => {
            child::die_with_parent();
            let settings: wire::PodSettings = serde_json::from_str(&settings).expect("BUG: the driver writes settings");
            pod_log::start(settings.number);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async { tokio::spawn(pod::run(settings)).await.expect("it runs") });
            ExitCode::SUCCESS
        }
        Command::Provider => {
            child::die_with_parent();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            match runtime.block_on(provider::serve()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("faults: the provider stopped: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Run(arguments) => drive(run::run(arguments)),
        Command::Failovers(arguments) => drive(failovers::run(arguments)),
    }
}

fn drive(driver: impl Future<Output = ExitCode>) -> ExitCode {
    // One thread: children end with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::select! {
            code = driver => code,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("faults: interrupted");
                ExitCode::FAILURE
            }
        }
    })
}
