//! Spans at level debug, for who follows a refresh from its caller to the provider. Nobody who wants none pays for them.
//!
//! `refresh` is one caller's question, within the span that the caller is in. `flight` is what the pod does for all callers that ask
//! the same; it is within the `refresh` of the caller that started it, because the refresh belongs to that caller's trace, also when
//! the caller has gone away. `provider_call` (`src/leader/call.rs`) is within `flight`, and what the refresh function spans is
//! within that. The `refresh` of a caller that joins names its flight, and is a trace of its own.
//!
//! Their fields are the names that logs have: namespace, pod, and the hashes of token and session, never these themselves.

use tracing::field::{Empty, display};
use tracing::{Span, debug_span};

use super::inner::Inner;
use crate::flight::LocalFlight;
use crate::identity::Identity;
use crate::told::SPANS;

/// That of a caller, which has come just now.
pub(super) fn of_caller(inner: &Inner) -> Span {
    debug_span!(
        target: SPANS,
        "refresh",
        namespace = inner.config.namespace.as_str(),
        pod = inner.pod.as_str(),
        flight = Empty,
        session = Empty
    )
}

/// That of the flight which this caller starts.
pub(super) fn of_flight(inner: &Inner, caller: &Span, identity: &Identity) -> Span {
    if !caller.is_disabled() {
        caller.record("flight", display(&identity.flight)).record("session", display(&identity.session));
    }
    debug_span!(
        target: SPANS,
        parent: caller,
        "flight",
        namespace = inner.config.namespace.as_str(),
        pod = inner.pod.as_str(),
        flight = %identity.flight,
        session = %identity.session
    )
}

/// The caller has joined this flight.
pub(super) fn joins(caller: &Span, flight: &LocalFlight) {
    if !caller.is_disabled()
        && let Some(name) = flight.progress().name()
    {
        caller.record("flight", display(name));
    }
}
