//! Logs: structured, to stderr, one event a line. Who writes one never waits for stderr: where nobody reads that, lines are
//! left out and counted.

use std::io::IsTerminal;
use std::sync::OnceLock;

use refresh_coordinator_cli::{BadSetting, is_discreet};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt};

// No doc comment: clap would take it for the command's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogSettings {
    /// What is logged: error, warn, info, debug, trace, or directives such as info,refreshd=debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = DEFAULT, global = true)]
    log: String,
    /// How it is written
    #[arg(long, value_name = "FORMAT", env = "REFRESHD_LOG_FORMAT", value_enum, default_value_t = Format::Text,
        global = true)]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogSettings {
    /// Logs from now on, and until the guard is dropped.
    pub(crate) fn start(&self) -> Result<WorkerGuard, BadSetting> {
        let wrong = |why: &str| BadSetting::new(format!("--log is {:?}: {why}; expected {EXPECTED}", self.log));
        if let Some(word) = self.log.split(',').map(str::trim).find(|word| is_meant_as_level(word)) {
            return Err(wrong(&format!("{word} is no level: it would log nothing")));
        }
        // An empty variable is one that was left out.
        let log = if self.log.trim().is_empty() { DEFAULT } else { &self.log };
        let chosen = EnvFilter::try_new(log).map_err(|error| wrong(&error.to_string()))?;
        let discreet = filter_fn(|metadata| is_discreet(metadata.target(), *metadata.level()));
        let filter = chosen.and(discreet);
        let (stderr, guard) = NonBlockingBuilder::default().buffered_lines_limit(MOST_LINES).finish(std::io::stderr());
        let left_out = stderr.error_counter();
        LEFT_OUT.set(left_out).map_err(drop).expect("BUG: logs are started once, first of all");
        let lines = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(std::io::stderr().is_terminal());
        let lines = match self.log_format {
            Format::Text => lines.with_filter(filter).boxed(),
            Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        };
        // Not `init`, which would let in the records of the `log` crate: they hide the target the filter goes by.
        tracing::subscriber::set_global_default(Registry::default().with(lines))
            .expect("BUG: logs are started once, first of all");
        Ok(guard)
    }
}

const DEFAULT: &str = "info";
const EXPECTED: &str = "error, warn, info, debug or trace, or info,refreshd=debug";
/// What other programs call levels. Here each would be the name of a program part, of which there is none.
const NO_LEVELS: [&str; 14] = [
    "all",
    "crit",
    "critical",
    "err",
    "fatal",
    "false",
    "information",
    "no",
    "none",
    "notice",
    "quiet",
    "true",
    "verbose",
    "warning",
];

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Also where it has a slip, or where something else than a comma stands between two: what comes of it is the name of a program part.
fn is_meant_as_level(word: &str) -> bool {
    const ALIKE: f64 = 0.9;
    let target = word.split(['=', '[']).next().unwrap_or_default();
    let is_name = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte));
    let lower = word.to_lowercase();
    let has_slip = || LEVELS.iter().any(|level| *level != lower && strsim::jaro_winkler(level, &lower) >= ALIKE);
    !is_name || NO_LEVELS.contains(&&lower[..]) || has_slip()
}

/// More than a pod writes in a second. They wait here while stderr takes none.
const MOST_LINES: usize = 8192;

static LEFT_OUT: OnceLock<ErrorCounter> = OnceLock::new();

/// How many lines were left out.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.get().map_or(0, |counter| counter.dropped_lines() as u64)
}
