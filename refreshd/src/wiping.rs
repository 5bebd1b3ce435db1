//! Wipes what held tokens and client secrets: memory that is freed, and the stacks of threads that rest.
//!
//! Secrets pass through buffers of many crates (HTTP, TLS, JSON), and those wipe nothing. So a core of the process tells
//! none of the requests that are over. What is left are the buffers of connections that are open.
//!
//! Beneath it is jemalloc on Linux with glibc: after a flood it gives the memory back, which glibc's own allocator keeps.

use std::hint::black_box;

use zeroizing_alloc::ZeroAlloc;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use tikv_jemallocator::Jemalloc as Beneath;

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
use std::alloc::System as Beneath;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<Beneath> = ZeroAlloc(Beneath);

/// Deeper than secrets go. It takes some 2 us; frames that are not optimized are several times as large.
const DEEPEST: usize = if cfg!(debug_assertions) { 1024 * 1024 } else { 64 * 1024 };

/// Overwrites what calls that have returned left on the stack of this thread: a thread of the runtime does so when it has
/// nothing to do.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut below = [0_u8; DEEPEST];
    // Else nothing would be written that nobody reads.
    black_box(&mut below);
}
