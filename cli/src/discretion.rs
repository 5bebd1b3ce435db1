//! What may be written to a log, whatever level was asked for.

use tracing::Level;

/// They carry headers, bodies and keys. What they write at debug and trace is not ours to vouch for, and an
/// operator that asks for `trace` does not ask for tokens: nothing below info is taken from them.
const TALKATIVE: [&str; 8] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "redis", "tower", "mio"];

/// Whether something may be written down at all, whatever was asked for.
pub fn is_discreet(target: &str, level: Level) -> bool {
    let part = target.split("::").next().unwrap_or_default();
    level <= Level::INFO || !TALKATIVE.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_secrets_is_not_heard_below_info() {
        assert!(!is_discreet("h2::codec::framed_write", Level::TRACE));
        assert!(!is_discreet("hyper", Level::DEBUG));
        assert!(is_discreet("h2::codec", Level::WARN));
        assert!(is_discreet("refreshd::endpoint", Level::TRACE));
        assert!(is_discreet("refresh_coordinator::leader", Level::DEBUG));
    }
}
