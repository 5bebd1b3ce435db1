//! Why a connection or a request failed, as one line for the log.

use std::error::Error;

use refresh_coordinator_cli::chain_as;

/// An error and its causes in one line, without what a provider chose to write.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    chain_as(error, |error| match error.downcast_ref::<h2::Error>() {
        // It carries what the provider wrote for debugging, which may be anything.
        Some(http2) if http2.is_go_away() => {
            http2.reason().map_or_else(String::new, |reason| format!("the connection was closed: {reason}"))
        }
        _ => error.to_string(),
    })
}
