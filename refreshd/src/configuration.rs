//! All that a user said of `serve`: by flags, by the environment, and by a file.

use clap::{ArgMatches, Command};
use refresh_coordinator_cli::BadSetting;

use crate::config_file::{ConfigFile, Configured};

/// What is in force for each provider.
pub(crate) struct Configuration {
    pub(crate) file: Option<ConfigFile>,
    /// One at least, all with the same of what they share.
    pub(crate) providers: Vec<Configured>,
}

impl Configuration {
    /// Reads the file that the arguments name, if any. `command` is the subcommand that they were given to.
    pub(crate) fn read(command: &Command, given: &ArgMatches) -> Result<Self, BadSetting> {
        let Some(path) = given.get_one("config").cloned() else {
            return Ok(Self { file: None, providers: vec![Configured::alone(given.clone())] });
        };
        let file = ConfigFile::new(path, command.clone(), given.clone());
        let providers = file.read()?;
        Ok(Self { file: Some(file), providers })
    }

    /// What all share is read from it.
    pub(crate) fn first(&self) -> &Configured {
        self.providers.first().expect("BUG: there is one provider at least")
    }
}
