//! A storm from its first check to its report: arguments make a plan; a provider is started or taken as given; for each
//! mode a fleet of pods presents the tokens in waves while a tally is kept; then verdict and report.

use std::process::ExitCode;

use refresh_coordinator_cli::BadSetting;

use crate::arguments::Arguments;
use crate::driver::Driver;
use crate::plan::{Mode, Plan};
use crate::tally::Figures;
use crate::timeline::Timeline;
use crate::verdict::Verdict;
use crate::{limits, picture, report};

/// Runs a storm. 0: coordination did what it promises, or was not asked for; 1: it did not, or the storm broke off;
/// 2: a setting is wrong.
///
/// # Cancellation
///
/// Pods and provider are children and are killed with the future.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let ended = match arguments.plan() {
        Ok(plan) => storm(plan).await,
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

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The user can set it right.
    Setting(BadSetting),
    /// Something went away, or time ran out.
    Broken(String),
}

impl Stopped {
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self::Broken(reason.into())
    }
}

/// What became of the modes that were run.
pub(crate) struct Outcome {
    pub(crate) without: Option<Figures>,
    pub(crate) with: Option<Figures>,
    /// What happened when in the modes that were run, for the picture.
    pub(crate) timelines: Vec<(Mode, Timeline)>,
    /// The built-in provider's process.
    pub(crate) provider_pid: Option<u32>,
}

async fn storm(mut plan: Plan) -> Result<Verdict, Stopped> {
    limits::raise_open_files();
    plan.connections = limits::connections(plan.connections);
    let time_limit = plan.time_limit;

    let outcome = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            return Err(Stopped::broken(match interrupted {
                Ok(()) => "interrupted".to_owned(),
                Err(error) => format!("signals cannot be heard: {error}"),
            }));
        }
        outcome = tokio::time::timeout(time_limit, both(&mut plan)) => outcome.unwrap_or_else(|_| {
            Err(Stopped::broken(format!(
                "it took longer than --time-limit {}",
                humantime::format_duration(time_limit)
            )))
        })?,
    };

    let verdict = Verdict::on(&plan, &outcome);
    let text =
        if plan.json { report::json(&plan, &outcome, &verdict) } else { report::table(&plan, &outcome, &verdict) };
    print(&text)?;
    if let Some(file) = &plan.picture {
        std::fs::write(file, picture::draw(&plan, &outcome))
            .map_err(|error| BadSetting::new(format!("--picture {} cannot be written: {error}", file.display())))
            .map_err(Stopped::Setting)?;
    }
    Ok(verdict)
}

/// First without coordination, then with it: the damage is seen before the cure.
async fn both(plan: &mut Plan) -> Result<Outcome, Stopped> {
    let mut driver = Driver::new(plan).await?;
    let mut outcome = Outcome { without: None, with: None, timelines: Vec::new(), provider_pid: driver.provider_pid() };
    for mode in driver.modes() {
        let (figures, timeline) = driver.run(mode).await?;
        outcome.timelines.push((mode, timeline));
        match mode {
            Mode::Without => outcome.without = Some(figures),
            Mode::With => outcome.with = Some(figures),
        }
    }
    Ok(outcome)
}

fn print(text: &str) -> Result<(), Stopped> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Stopped::broken(format!("the report cannot be written: {error}")))
}
