//! How secrets come into a program: from a file, or from the environment, never printed.

use std::path::Path;

use clap::builder::ValueParser;
use refresh_coordinator::Secret;

use crate::bad_setting::BadSetting;
use crate::open_to_all::warn_if_open_to_all;

/// The first line of a file that must have one line, without its line end. Warns where everybody may read it.
///
/// # Errors
///
/// [`BadSetting`] that names the flag, for a file that cannot be read or has not one line.
pub fn read_secret(flag: &str, file: &Path) -> Result<Secret, BadSetting> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadSetting::new(format!("{flag} {} cannot be read: {error}", file.display())))?;
    let text = Secret::from(text);
    let line = text.expose().trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') {
        return Err(BadSetting::new(format!("{flag} {} must hold one line", file.display())));
    }
    warn_if_open_to_all(flag, file);
    Ok(Secret::from(line))
}

/// Whether a URL holds a password and stands among this process's arguments, which the list of processes shows.
pub fn is_shown_to_everybody(url: &Secret) -> bool {
    has_password(url.expose()) && std::env::args().any(|argument| argument.contains(url.expose()))
}

/// Whether a URL has a password before its host, or among its parameters. Taken from the text: a URL that does not parse may
/// hold one, too.
fn has_password(url: &str) -> bool {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let before_the_host = behind.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let mut parameters = behind.split_once('?').map_or("", |(_, parameters)| parameters).split('&');
    let is_password = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
        name.contains("pass") || name.contains('%')
    };
    before_the_host || parameters.any(is_password)
}

/// A flag's text that nobody prints.
pub fn secret() -> ValueParser {
    ValueParser::new(|text: &str| Ok::<_, std::convert::Infallible>(Secret::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_in_a_url_is_seen() {
        for url in [
            "redis://:pw@h",
            "rediss://u:pw@h:1/0",
            "u:pw@h",
            "unix:///run/redis.sock?db=1&pass=pw",
            "redis+sentinel://h,h2/m?sentinel_password=pw",
            "unix:///run/redis.sock?p%61ss=pw",
            "redis://h,u:pw@h2",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in ["redis://h:6379/0", "redis://u@h:6379", "unix:///run/redis.sock?db=3", "redis+cluster://h:1,h2:2"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
