//! Logs: to stderr, one event a line, as text or as JSON.
//!
//! The crate that does this for refreshd takes longer to build than a first storm takes to run. Here there are no spans,
//! and filters go by target alone.

mod filter;

use std::fmt::{self, Write};
use std::io::Write as _;
use std::time::SystemTime;

use refresh_coordinator_cli::{BadSetting, is_discreet};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use filter::Filter;

// No doc comment: clap would take it for the command's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogSettings {
    /// What is logged: error, warn, info, debug, trace, off, or directives such as info,refresh_coordinator=debug
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", global = true)]
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
    /// Logs from now on.
    pub(crate) fn start(&self) -> Result<(), BadSetting> {
        let filter = self.log.parse().map_err(|what| {
            BadSetting::new(format!(
                "--log is {:?}: {what} is no directive; expected info, or info,refresh_coordinator=debug",
                self.log
            ))
        })?;
        tracing::subscriber::set_global_default(Logs { filter, format: self.log_format })
            .expect("BUG: logs are started once, first of all");
        Ok(())
    }
}

struct Logs {
    filter: Filter,
    format: Format,
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let (target, level) = (metadata.target(), *metadata.level());
        metadata.is_event() && self.filter.wants(target, level) && is_discreet(target, level)
    }

    fn event(&self, event: &Event<'_>) {
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let line = line(self.format, &time, event);
        // Nobody is left to be told that the log cannot be written.
        _ = std::io::stderr().write_all(line.as_bytes());
    }

    // No span is enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn line(format: Format, time: &str, event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let Fields { message, others } = fields;
    let (level, target) = (event.metadata().level(), event.metadata().target());
    let mut line = String::new();
    // Writing to a String cannot fail.
    match format {
        Format::Text => {
            _ = write!(line, "{time} {level:>5} {target}: {message}");
            for (name, value) in others {
                _ = match value {
                    Value::String(text) => write!(line, " {name}={text}"),
                    value => write!(line, " {name}={value}"),
                };
            }
        }
        Format::Json => {
            let mut object = Map::new();
            object.insert("timestamp".to_owned(), time.into());
            object.insert("level".to_owned(), level.as_str().into());
            object.insert("target".to_owned(), target.into());
            object.insert("message".to_owned(), message.into());
            object.extend(others);
            _ = write!(line, "{}", Value::Object(object));
        }
    }
    line.push('\n');
    line
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.others.push((field.name().to_owned(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}
