//! What the benches share: a report, a Redis of their own, pods whose rules refuse nobody, clocks, and child processes.
//!
//! Figures of one machine say little, so everything here is a ratio to a floor or to a peer: both are measured in turn
//! (A B A B), in one process where that is possible, and the median of the rounds counts.
//!
//! What can be counted is guarded besides: `tests/allocations.rs` and `tests/instructions.rs` fail when a refresh takes
//! more allocations or instructions than it did.

pub mod allocations;
pub mod baseline;
pub mod callers;
pub mod callgrind;
pub mod child;
pub mod clock;
pub mod distance;
pub mod figure;
pub mod inside_redis;
pub mod leads;
pub mod machine;
pub mod plot;
pub mod pods;
pub mod redis_server;
pub mod report;
pub mod stats;
pub mod valid;

/// Whether a bench is to run: `cargo bench` says so, and `cargo test --all-targets`, which only wants to know that it
/// was built, does not.
pub fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench" || argument.starts_with("role="))
}

/// How many rounds to measure: fewer with `BENCH_QUICK=1`, to see whether a bench works.
pub fn rounds(full: usize) -> usize {
    if is_quick() { full.div_ceil(5).max(2) } else { full }
}

/// Whether somebody only wants to see whether the benches work.
pub fn is_quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some_and(|value| value != "0")
}

/// A runtime as a pod has it, on all cores.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A runtime whose tasks all run on the thread that waits, in the same order every time: for what counts.
pub fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
