//! How many files this process may have open: raised as far as it goes, and kept to.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::callers::MOST_NEWCOMERS;

/// What is open beside connections: Redis, the log, certificates, libraries.
const BESIDE: u64 = 128;

/// How many callers' connections may be open, each with one to the provider, and how many newcomers may wait for a place.
///
/// Raises the limit of open files as far as the operating system lets it. Where that is not enough for `wanted`, one line
/// says so.
pub(crate) fn places(wanted: u32) -> (usize, usize) {
    let wanted = wanted as usize;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return (wanted, MOST_NEWCOMERS) };
    let files = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let all = usize::try_from(files.saturating_sub(BESIDE)).unwrap_or(usize::MAX);
    // Newcomers have a file each, at least as many as there are places, and callers have two.
    let most = (all.saturating_sub(MOST_NEWCOMERS) / 2).max(all.min(3 * MOST_NEWCOMERS) / 3).max(1);
    if most < wanted {
        tracing::warn!(
            files,
            places = most,
            "this process may open too few files for --max-connections: fewer connections are taken; raise the limit \
             (LimitNOFILE, ulimit -n) to twice --max-connections and {} more",
            BESIDE + MOST_NEWCOMERS as u64
        );
    }
    let places = wanted.min(most);
    (places, all.saturating_sub(2 * places).clamp(1, MOST_NEWCOMERS))
}
