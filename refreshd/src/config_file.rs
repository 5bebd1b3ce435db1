//! `--config`: one file with a table for each provider.
//!
//! Its keys are the flags of `serve` without their `--`, taken from clap, and what it says becomes the command line that each
//! provider would have alone. So a value is read, and refused, as that of the flag is; and there is nothing that only a flag or only
//! the file can say.

mod keys;
mod configured;
mod text;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use refresh_coordinator_cli::{BadSetting, usage_line};

pub(crate) use configured::{Configured, Source};
pub(crate) use keys::{Scope, key, nearest, scope};

use crate::stamps::Stamps;
use configured::FromFile;
use text::{Table, Value};

/// The file, and what it is combined with.
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// That of `serve`: its flags are the keys.
    command: Command,
    /// What flags and environment say: it stands above the file.
    given: ArgMatches,
    /// As it was before it was read for the first time.
    pub(crate) stamps_at_start: Stamps,
}

impl ConfigFile {
    pub(crate) fn new(path: PathBuf, command: Command, given: ArgMatches) -> Self {
        let stamps_at_start = Stamps::of([&path]);
        Self { path, command, given, stamps_at_start }
    }

    /// As it is now.
    pub(crate) fn stamps(&self) -> Stamps {
        Stamps::of([&self.path])
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file: what is in force for each of its providers, in the order of their names.
    ///
    /// # Errors
    ///
    /// One line with the file, the key and what would be right.
    pub(crate) fn read(&self) -> Result<Vec<Configured>, BadSetting> {
        self.has_nothing_of_one_provider()?;
        let text = std::fs::read_to_string(&self.path)
            .map_err(|error| BadSetting::new(format!("--config {} cannot be read: {error}", self.path.display())))?;
        let wrong =
            |wrong: text::Wrong| BadSetting::new(format!("{}:{}: {}", self.path.display(), wrong.line, wrong.what));
        let file = text::read(&text, &self.flags()).map_err(wrong)?;
        if file.providers.is_empty() {
            return Err(BadSetting::new(format!(
                "{} names no provider: it needs a table [provider.NAME] with an upstream for each",
                self.path.display()
            )));
        }
        file.providers.into_iter().map(|(name, own)| self.configured(name, &file.common, own)).collect()
    }

    /// The first of these settings that is not what it was.
    pub(crate) fn changed(
        &self,
        before: &Configured,
        now: &Configured,
        is_meant: impl Fn(&Arg) -> bool,
    ) -> Option<&str> {
        let differs = |flag: &&Arg| is_meant(flag) && before.values(flag) != now.values(flag);
        self.flags().into_iter().find(differs).and_then(key)
    }

    fn flags(&self) -> Vec<&Arg> {
        self.command.get_arguments().filter(|flag| key(flag).is_some()).collect()
    }

    /// A flag or variable that means one provider would mean all of them.
    fn has_nothing_of_one_provider(&self) -> Result<(), BadSetting> {
        for flag in self.flags().into_iter().filter(|flag| scope(flag) == Scope::Own) {
            let name = match self.given.value_source(flag.get_id().as_str()) {
                Some(ValueSource::CommandLine) => format!("--{}", flag.get_long().unwrap_or_default()),
                Some(ValueSource::EnvVariable) => flag.get_env().unwrap_or_default().display().to_string(),
                Some(_) | None => continue,
            };
            let (path, key) = (self.path.display(), key(flag).unwrap_or_default());
            return Err(BadSetting::new(format!(
                "{name} is given beside --config, and each provider has its own: say it in {path}, as {key} below \
                 [provider.NAME]"
            )));
        }
        Ok(())
    }

    /// A provider as if it were alone: what flags and environment say, then its table, then what stands above all tables.
    fn configured(&self, name: String, common: &Table, own: Table) -> Result<Configured, BadSetting> {
        let mut arguments = vec![OsString::from(self.command.get_name())];
        let mut lines = BTreeMap::new();
        let has = |key: &str| own.values.contains_key(key);
        if !has("upstream") {
            return Err(BadSetting::new(format!(
                "{}:{}: [provider.{name}] has no upstream: the provider's token endpoint, such as \
                 https://idp.example/oauth2/token",
                self.path.display(),
                own.line
            )));
        }
        if !has("namespace") {
            arguments.push(format!("--namespace={name}").into());
        }
        if !has("path") && !has("host") {
            arguments.push(format!("--path=/{name}").into());
        }
        for flag in self.flags() {
            let (id, key) = (flag.get_id().as_str(), key(flag).unwrap_or_default());
            let long = flag.get_long().unwrap_or_default();
            match self.given.value_source(id) {
                Some(ValueSource::CommandLine) => {
                    let given = self.given.get_raw(id).into_iter().flatten();
                    given.for_each(|value| arguments.push(argument(flag, long, value.to_owned())));
                }
                // It is read from there once more.
                Some(ValueSource::EnvVariable) => {}
                Some(_) | None => {
                    let Some(Value { texts, line }) = own.values.get(key).or_else(|| common.values.get(key)) else {
                        continue;
                    };
                    lines.insert(key.to_owned(), *line);
                    let is_off = matches!(flag.get_action(), ArgAction::SetTrue) && texts == &["false"];
                    let given = texts.iter().filter(|_| !is_off);
                    given.for_each(|text| arguments.push(argument(flag, long, text.into())));
                }
            }
        }
        let from = FromFile { path: self.path.clone(), name, line: own.line, lines };
        match self.command.clone().try_get_matches_from(arguments) {
            Ok(matches) => Ok(Configured::of_file(matches, from)),
            Err(error) => Err(from.explain(&usage_line(&error))),
        }
    }
}

fn argument(flag: &Arg, long: &str, value: OsString) -> OsString {
    let mut argument = OsString::from(format!("--{long}"));
    if !matches!(flag.get_action(), ArgAction::SetTrue) {
        argument.push("=");
        argument.push(value);
    }
    argument
}
