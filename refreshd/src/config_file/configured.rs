//! What is in force for a provider, with where each value comes from.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches};
use refresh_coordinator_cli::BadSetting;

use super::keys::key;

/// The settings of one provider, and those that it shares: of a table of the file, or of flags and environment alone.
#[derive(Clone)]
pub(crate) struct Configured {
    matches: ArgMatches,
    file: Option<FromFile>,
}

/// Which part of the file it is.
#[derive(Clone)]
pub(super) struct FromFile {
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// Where the table begins.
    pub(super) line: usize,
    /// Where each key stands that counts.
    pub(super) lines: BTreeMap<String, usize>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    /// At this line.
    File(usize),
    Default,
}

impl Configured {
    /// Of flags and environment.
    pub(crate) fn alone(matches: ArgMatches) -> Self {
        Self { matches, file: None }
    }

    pub(super) fn of_file(matches: ArgMatches, file: FromFile) -> Self {
        Self { matches, file: Some(file) }
    }

    /// What the file calls the provider. None: there is no file.
    pub(crate) fn name(&self) -> Option<&str> {
        self.file.as_ref().map(|file| &file.name[..])
    }

    /// A group of settings.
    pub(crate) fn settings<T: FromArgMatches>(&self) -> Result<T, BadSetting> {
        T::from_arg_matches(&self.matches).map_err(|error| self.explain(BadSetting::new(error.to_string())))
    }

    /// The texts of a setting as they were given, or as they are by default.
    pub(crate) fn values(&self, flag: &Arg) -> Vec<&OsStr> {
        self.matches.get_raw(flag.get_id().as_str()).into_iter().flatten().collect()
    }

    pub(crate) fn source(&self, flag: &Arg) -> Source {
        let line = key(flag).zip(self.file.as_ref()).and_then(|(key, file)| file.lines.get(key));
        match (line, self.matches.value_source(flag.get_id().as_str())) {
            (Some(line), _) => Source::File(*line),
            (None, Some(ValueSource::EnvVariable)) => Source::Environment,
            // Namespace and path that follow from the name of the table.
            (None, Some(ValueSource::CommandLine)) if self.is_of_name(flag) => Source::Default,
            (None, Some(ValueSource::CommandLine)) => Source::Flag,
            (None, Some(_) | None) => Source::Default,
        }
    }

    /// Whether all settings are equal; files that they name may hold something else.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let raw = |configured: &Self| -> BTreeMap<String, Vec<_>> {
            let ids = configured.matches.ids();
            let values = |id: &clap::Id| configured.matches.get_raw(id.as_str()).into_iter().flatten();
            ids.map(|id| (id.to_string(), values(id).map(OsStr::to_owned).collect())).collect()
        };
        self.name() == other.name() && raw(self) == raw(other)
    }

    /// What is wrong, with where it stands.
    pub(crate) fn explain(&self, wrong: BadSetting) -> BadSetting {
        match &self.file {
            Some(file) => file.explain(&wrong.to_string()),
            None => wrong,
        }
    }

    fn is_of_name(&self, flag: &Arg) -> bool {
        self.file.is_some() && matches!(flag.get_long(), Some("namespace" | "path"))
    }
}

impl FromFile {
    /// In the words of the file, where what is wrong stands there: `lease`, not `--lease`.
    pub(super) fn explain(&self, wrong: &str) -> BadSetting {
        let (mut what, mut first) = (wrong.to_owned(), None);
        for (key, line) in &self.lines {
            let flag = if key == "preset" { "--provider" } else { &format!("--{key}") };
            while let Some(at) = position(&what, flag) {
                what.replace_range(at..at + flag.len(), key);
                if first.is_none_or(|(before, _)| at < before) {
                    first = Some((at, *line));
                }
            }
        }
        let line = first.map_or(self.line, |(_, line)| line);
        BadSetting::new(format!("{}:{line}: provider {}: {what}", self.path.display(), self.name))
    }
}

/// Where the flag stands, and not another one that begins with it.
fn position(text: &str, flag: &str) -> Option<usize> {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphanumeric());
    text.match_indices(flag).map(|(at, _)| at).find(|at| !goes_on(&text[at + flag.len()..]))
}

/// Values may be secret.
impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured").field("name", &self.name()).finish_non_exhaustive()
    }
}
