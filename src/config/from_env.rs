//! Words: the settings from the environment.

use super::Config;
use crate::environment::{self, EnvironmentError};

impl Config {
    /// The settings from the variables that begin with `prefix`, and the defaults of all others, validated.
    ///
    /// A variable is called by its field in capitals: with the prefix `TOKENS_` it is `TOKENS_LEASE` for `lease`,
    /// `TOKENS_BREAKER_MAX_FAILURES` for the field of [`Breaker`](crate::Breaker). Values are as in a file. Texts of a
    /// [`Dialect`](crate::Dialect) have commas between them, or are a JSON array: `["one", "two, three"]`. Take a prefix that
    /// nobody else uses: a variable that begins with it and names no setting is an error, not a surprise.
    ///
    /// ```
    /// use refresh_coordinator::Config;
    ///
    /// // Here nobody has set one.
    /// let config = Config::from_env("MY_APP_TOKENS_")?;
    /// assert_eq!(config.lease, Config::default().lease);
    /// # Ok::<(), refresh_coordinator::EnvironmentError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] names the first variable that is no setting, cannot be read, or has a value that
    /// [`validate`](Self::validate) refuses.
    pub fn from_env(prefix: &str) -> Result<Self, EnvironmentError> {
        let config: Self = environment::read(prefix, std::env::vars_os())?;
        config.validate()?;
        Ok(config)
    }
}
