//! Waiting, and never for longer than a test may take.

use std::time::Duration;

/// Longer than anything here takes: a test that hangs fails, and says where.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    within_time(Duration::from_secs(30), future)
}

/// For what takes longer on a busy machine.
#[track_caller]
pub(crate) fn within_time<F: Future>(limit: Duration, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("still waiting at {place}"),
        }
    }
}
