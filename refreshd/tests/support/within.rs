//! Waiting, and never for longer than a test may take.

use std::time::Duration;

/// Longer than anything here takes: a test that hangs fails, and says where.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(30), future).await {
            Ok(output) => output,
            Err(_) => panic!("still waiting at {place}"),
        }
    }
}
