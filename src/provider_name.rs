//! Words: the provider's name, which stands in Redis and in logs for everybody to read.

use crate::config_error::{Allowed, ConfigError};

const LONGEST: usize = 200;

/// The name as it may be shown: of a URL, scheme, host, port and path. None where it is no name.
pub(crate) fn shown(name: &str) -> Option<String> {
    let name = match name.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_secrets(rest)?),
        // Not a URL: where it had a password in it nobody could say where that begins.
        None if name.contains(['@', '?', '#']) => return None,
        None => name.to_owned(),
    };
    let is_word = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    // The register's word for a pod that names none.
    (is_word && name != "-").then_some(name)
}

/// What follows a URL's scheme, up to its query. None where its host is none: a part of a password may stand there.
fn without_secrets(rest: &str) -> Option<String> {
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let host = if address.starts_with('[') { address.split_inclusive(']').next() } else { address.split(':').next() }?;
    let port = address[host.len()..].strip_prefix(':');
    let is_closed = !host.starts_with('[') || host.ends_with(']');
    let is_address =
        !host.is_empty() && is_closed && (host.len() == address.len() || port?.bytes().all(|b| b.is_ascii_digit()));
    is_address.then(|| format!("{address}{path}"))
}

/// Whether it may be a provider's name. What it was is not told: there may be a secret in it.
pub(crate) fn check(setting: &'static str, name: &str) -> Result<(), ConfigError> {
    if shown(name).is_some() {
        return Ok(());
    }
    Err(ConfigError { setting, value: format!("a text of {} bytes", name.len()), allowed: Allowed::ProviderName })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_as_they_are_and_urls_without_what_could_be_secret() {
        for (name, expected) in [
            ("idp", "idp"),
            ("idp.example:8443", "idp.example:8443"),
            ("https://idp.example/token", "https://idp.example/token"),
            ("https://idp.example:8443", "https://idp.example:8443"),
            ("https://[::1]:80/token", "https://[::1]:80/token"),
            ("https://user:hush@idp.example/token", "https://idp.example/token"),
            ("https://us@er:hu@sh@idp.example/token", "https://idp.example/token"),
            ("https://idp.example/token?hint=a@b&secret=hush", "https://idp.example/token"),
            ("https://idp.example#hush", "https://idp.example"),
        ] {
            assert_eq!(shown(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_is_no_word_or_may_hold_a_secret_is_refused_without_telling_it() {
        let long = "n".repeat(LONGEST + 1);
        for name in [
            "",
            "-",
            "two words",
            "line\nbreak",
            "caf\u{e9}",
            &long,
            "user:hush@idp",
            "idp?hush",
            "https://",
            "https://user:hu?sh@idp.example",
            "https://user:hu/sh@idp.example",
            "https://[::1",
        ] {
            let refused = check("upstream", name).expect_err(name).to_string();
            assert!(!refused.contains("hu") || name.is_empty(), "{refused}");
            assert!(refused.contains(&format!("a text of {} bytes", name.len())), "{refused}");
        }
    }
}
