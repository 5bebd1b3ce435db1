//! How many connections a storm may hold: as many as the system lets it, within reason.

/// Lifts the soft limit on open files to the hard one: many systems allow 1024 or 256 to start with, and a storm
/// without coordination has a connection per caller. Children inherit it. Where it cannot be lifted, it stays.
pub(crate) fn raise_open_files() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        // Where the hard limit is infinite, some systems refuse to take that for an answer.
        const ENOUGH: u64 = 65_536;
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard.min(ENOUGH)
        {
            // What is left as it was is taken account of by `connections`.
            _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH), hard);
        }
    }
}

/// How many connections there can be at once: what was asked for, less where open files are fewer.
pub(crate) fn connections(wanted: usize) -> usize {
    // For the pipes to the pods, the standard streams, the runtime, Redis.
    const OTHERS: usize = 128;
    wanted.min(open_files().saturating_sub(OTHERS)).max(16)
}

fn open_files() -> usize {
    #[cfg(unix)]
    if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        return usize::try_from(soft).unwrap_or(usize::MAX);
    }
    1024
}
