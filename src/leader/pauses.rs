//! How long a leader waits between its tries, and how long its callers wait for others to hear first.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The pause after a renewal that failed: soon enough to keep the lease, and no burden for a store that is down.
pub(super) const RENEWAL_RETRY: Duration = Duration::from_millis(100);

/// How long callers of this pod wait for the store to have what the provider answered: some round trips. A process that ends
/// when its caller is told has had that long to land it.
pub(super) const TOLD_AFTER: Duration = Duration::from_millis(20);

/// Between two tries to land an outcome, or of a hook.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}
