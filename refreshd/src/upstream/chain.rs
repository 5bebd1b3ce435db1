//! Why a connection or a request failed, as one line for the log.

use std::error::Error;

/// An error and its causes in one line, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = match error.downcast_ref::<h2::Error>() {
            // It carries what the provider chose to write for debugging, which may be anything.
            Some(http2) if http2.is_go_away() => {
                http2.reason().map_or_else(String::new, |reason| format!("the connection was closed: {reason}"))
            }
            _ => error.to_string(),
        };
        if !parts.iter().any(|said| said.contains(&part)) {
            parts.push(part);
        }
        cause = error.source();
    }
    parts.join(": ")
}
