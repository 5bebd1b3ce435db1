//! A storm from its first check to its report: arguments make a plan; a provider is started or taken as given; for each
//! mode a fleet of pods presents the tokens in waves while a tally is kept; then verdict and report.

use std::process::ExitCode;

use refresh_coordinator_cli::BadSetting;
use tokio::process::Child;

use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::plan::{Mode, Plan};
use crate::results::Results;
use crate::stopped::Stopped;
use crate::verdict::Verdict;
use crate::{limits, picture, report};

/// Runs a storm. 0: coordination did what it promises, or was not asked for; 1: it did not, or the storm broke off;
/// 2: a setting is wrong.
///
/// The process of the built-in provider is put into `provider` and must live until the runtime has ended: a flight of a
/// storm that broke off would find it gone, and the log would say so.
///
/// # Cancellation
///
/// Pods that are processes are killed with the future.
pub(crate) async fn run(arguments: Arguments, provider: &mut Option<Child>) -> ExitCode {
    let ended = match arguments.plan() {
        Ok(plan) => storm(plan, provider).await,
        Err(setting) => Err(Stopped::Setting(setting)),
    };
    match ended {
        Ok(Verdict::Passed { .. }) => ExitCode::SUCCESS,
        Ok(Verdict::Failed { .. }) => ExitCode::FAILURE,
        Err(Stopped::Setting(setting)) => {
            eprintln!("refresh-storm: {setting}");
            ExitCode::from(2)
        }
        Err(Stopped::Broken(reason)) => {
            eprintln!("refresh-storm: the storm broke off: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn storm(mut plan: Plan, provider: &mut Option<Child>) -> Result<Verdict, Stopped> {
    limits::raise_open_files();
    plan.connections = limits::connections(plan.connections);
    let time_limit = plan.time_limit;

    let results = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            return Err(Stopped::broken(match interrupted {
                Ok(()) => "interrupted".to_owned(),
                Err(error) => format!("signals cannot be heard: {error}"),
            }));
        }
        results = tokio::time::timeout(time_limit, both(&mut plan, provider)) => results.unwrap_or_else(|_| {
            Err(Stopped::broken(format!(
                "it took longer than --time-limit {}",
                humantime::format_duration(time_limit)
            )))
        })?,
    };

    let verdict = Verdict::on(&plan, &results);
    let text =
        if plan.json { report::json(&plan, &results, &verdict) } else { report::table(&plan, &results, &verdict) };
    print(&text)?;
    if let Some(file) = &plan.picture {
        std::fs::write(file, picture::draw(&plan, &results))
            .map_err(|error| BadSetting::new(format!("--picture {} cannot be written: {error}", file.display())))
            .map_err(Stopped::Setting)?;
    }
    Ok(verdict)
}

/// First without coordination, then with it: the damage is seen before the cure.
async fn both(plan: &mut Plan, provider: &mut Option<Child>) -> Result<Results, Stopped> {
    let mut driver = Driver::new(plan, provider).await?;
    let mut results = Results { without: None, with: None, timelines: Vec::new(), provider_pid: driver.provider_pid() };
    for mode in driver.modes() {
        let (figures, timeline) = driver.run(mode).await?;
        results.timelines.push((mode, timeline));
        match mode {
            Mode::Without => results.without = Some(figures),
            Mode::With => results.with = Some(figures),
        }
    }
    Ok(results)
}

fn print(text: &str) -> Result<(), Stopped> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Stopped::broken(format!("the report cannot be written: {error}")))
}
