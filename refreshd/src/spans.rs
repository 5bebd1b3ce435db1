//! Spans at level debug, for who follows a request through refreshd: `token_request` around all that becomes of it, and
//! `provider_request` around what is sent to the provider. Between them stand those of the library.
//!
//! Nothing of a request gets into them but the trace id of its `traceparent` (W3C Trace Context), which goes on to the provider as it
//! came.

use http::{HeaderMap, Response};
use refresh_coordinator::exchange::SendError;
use tracing::field::Empty;
use tracing::{Span, debug_span};

/// By which `--log` lets spans in without all other lines of level debug.
const TARGET: &str = "refreshd::spans";

/// That of a token request.
pub(crate) fn of_request(provider: Option<&str>, headers: &HeaderMap) -> Span {
    let span = debug_span!(target: TARGET, "token_request", provider, trace_id = Empty, served = Empty, status = Empty);
    if !span.is_disabled()
        && let Some(trace_id) = trace_id(headers)
    {
        span.record("trace_id", trace_id);
    }
    span
}

/// That of a request to the provider.
pub(crate) fn of_sending(provider: Option<&str>, host: &str) -> Span {
    debug_span!(target: TARGET, "provider_request", provider, host, status = Empty, error = Empty)
}

/// What came of it.
pub(crate) fn note_answer(sending: &Span, answered: &Result<Response<Vec<u8>>, SendError>) {
    if sending.is_disabled() {
        return;
    }
    match answered {
        Ok(answer) => sending.record("status", answer.status().as_u16()),
        Err(SendError::NotSent(_)) => sending.record("error", "not_sent"),
        Err(SendError::NotProcessed(_)) => sending.record("error", "not_processed"),
        Err(SendError::Unknown(_)) => sending.record("error", "unknown"),
    };
}

/// The trace that a request belongs to. None where the header is not there once, or is not as W3C Trace Context has it.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, digits| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    // Later versions may say more.
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    (is_whole && is_known && trace.bytes().any(|byte| byte != b'0')).then_some(trace)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};

    use http::HeaderValue;
    use tracing::field::{Field, Visit};
    use tracing::span::{Id, Record};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// What was recorded after the spans were made.
    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<String>>>);

    impl Visit for Recorded {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.lock().expect("no panic").push(format!("{} {value:?}", field.name()));
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Recorded {
        fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
            values.record(&mut self.clone());
        }
    }

    #[test]
    fn span_of_a_request_to_the_provider_tells_its_status_or_that_nothing_was_sent() {
        let recorded = Recorded::default();
        let _of_this_thread = tracing::subscriber::set_default(tracing_subscriber::registry().with(recorded.clone()));

        note_answer(&of_sending(Some("okta"), "okta.example"), &Ok(Response::new(Vec::new())));
        note_answer(&of_sending(None, "okta.example"), &Err(SendError::NotSent("no route".to_owned())));

        assert_eq!(*recorded.0.lock().expect("no panic"), ["status 200", "error \"not_sent\""]);
    }

    #[test]
    fn trace_id_is_taken_from_a_header_that_is_as_the_standard_has_it_and_from_no_other() {
        let told = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("traceparent", HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
            trace_id(&headers).map(str::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let whole = format!("00-{id}-00f067aa0ba902b7-01");

        assert_eq!(told(&[&whole]).as_deref(), Some(id));
        assert_eq!(told(&[&format!("01-{id}-00f067aa0ba902b7-01-later")]).as_deref(), Some(id));
        for wrong in [
            "",
            "hush",
            &whole.to_uppercase(),
            &whole.replace("00f067aa0ba902b7", "00f067aa0ba902b"),
            &whole.replace(id, &"0".repeat(32)),
            &whole.replace(id, "hush-1234567890123456789012345678"),
            &whole.replace("00-4", "ff-4"),
            &format!("{whole}-more"),
            &format!("00-{id}-00f067aa0ba902b7"),
            &"0".repeat(10_000),
        ] {
            assert_eq!(told(&[wrong]), None, "{wrong}");
        }
        assert_eq!(told(&[&whole, &whole]), None);
    }
}
