//! The line for a refresh that was led and brought no tokens.

use std::fmt::Display;

use super::withheld::{Withheld, elsewhere, withheld};
use crate::RefreshCoordinator;
use crate::outcome::ProviderFailure;

/// Logs why a flight brought no tokens: once, where it was led, and nothing the provider wrote but its error code.
pub(super) fn tell(failure: &ProviderFailure, by: &RefreshCoordinator, flight: impl Display, fence: u64) {
    let (namespace, pod) = (by.config().namespace.as_str(), by.pod());
    let flight = tracing::field::display(flight);
    if withheld(failure) == Some(Withheld::Redirect) {
        let to = failure.response().and_then(elsewhere).map(tracing::field::display);
        tracing::warn!(
            namespace, pod, flight, fence, to, %failure,
            "the provider's token endpoint is elsewhere, and redirects are not followed: change --upstream, or the address that is asked"
        );
        return;
    }
    match failure {
        // Every day's work: sessions end.
        ProviderFailure::Denied { .. } => {
            tracing::info!(namespace, pod, flight, fence, %failure, "a refresh brought no tokens");
        }
        ProviderFailure::NotUnderstood { .. } => {
            tracing::warn!(namespace, pod, flight, fence, %failure, "its bytes are handed on, and its token counts as rotated");
        }
        ProviderFailure::NotSent { .. }
        | ProviderFailure::Busy { .. }
        | ProviderFailure::NotProcessed { .. }
        | ProviderFailure::Unknown { .. } => {
            tracing::warn!(namespace, pod, flight, fence, %failure, "a refresh brought no tokens");
        }
    }
}
