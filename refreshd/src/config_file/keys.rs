//! The keys of the file: the flags of `serve`, without their `--`; and for whom each can be said.

use clap::Arg;

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Above all tables: it is said once, for the whole process.
    Shared,
    /// In the table of a provider.
    Own,
    /// In both: above all tables it is said for every provider whose table does not say it.
    Each,
}

/// Whole headings of `serve --help`.
const SHARED_HEADINGS: [&str; 4] = ["Redis", "Limits", "Logs", "TLS of callers"];
/// The connections to Redis are shared, and so is how long they may be silent.
const SHARED: [&str; 5] = ["listen", "admin", "drain", "drain-delay", "store-timeout"];
/// What no two providers have in common.
const OWN: [&str; 6] = ["upstream", "revocation-upstream", "provider-name", "namespace", "path", "host"];

/// What a flag is called in the file. None: the file cannot say it.
pub(crate) fn key(flag: &Arg) -> Option<&str> {
    let long = flag.get_long()?;
    match long {
        "config" | "help" => None,
        // `provider` is a table there.
        "provider" => Some("preset"),
        _ => Some(long),
    }
}

pub(crate) fn scope(flag: &Arg) -> Scope {
    let (heading, long) = (flag.get_help_heading(), flag.get_long().unwrap_or_default());
    if heading.is_some_and(|heading| SHARED_HEADINGS.contains(&heading)) || SHARED.contains(&long) {
        return Scope::Shared;
    }
    if OWN.contains(&long) { Scope::Own } else { Scope::Each }
}

/// The key that was meant, most likely.
pub(crate) fn nearest<'a>(wrong: &str, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LEAST: f64 = 0.8;
    let wrong = wrong.to_lowercase().replace('_', "-");
    let alike = keys.map(|key| (strsim::jaro_winkler(&wrong, key), key));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= LEAST).then_some(best.1)
}
