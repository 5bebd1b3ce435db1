//! How many files this process may have open: raised as far as it goes, and kept to.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is open beside connections: Redis, the log, certificates, libraries.
const BESIDE: u64 = 128;

/// How many callers' connections may be open, each with one to the provider.
///
/// Raises the limit of open files as far as the operating system lets it. Where that is not enough for `wanted`, one line
/// says so.
pub(crate) fn places(wanted: u32) -> usize {
    let wanted = wanted as usize;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let files = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let most = usize::try_from(files.saturating_sub(BESIDE) / 2).unwrap_or(usize::MAX).max(1);
    if most < wanted {
        tracing::warn!(
            files,
            places = most,
            "this process may open too few files for --max-connections: fewer connections are taken; raise the limit \
             (LimitNOFILE, ulimit -n) to twice --max-connections and {BESIDE} more"
        );
    }
    wanted.min(most)
}
