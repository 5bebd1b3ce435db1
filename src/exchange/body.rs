//! The body of a token request: how it is written, and the parameters in it.

use http::{HeaderMap, Request, header};

use super::pair::Pair;
use super::{form, json, multipart};
use crate::token_response::decoding;

/// What a body holds.
pub(super) struct Body {
    pub(super) dress: Dress,
    pub(super) pairs: Vec<Pair>,
}

/// How a body is written, whatever its Content-Type says: clients forget to say it, and providers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    Form,
    Json,
    /// `multipart/form-data`.
    Parts,
    /// It is of a type that is not read here.
    Unknown,
}

impl Body {
    pub(super) fn read(request: &Request<Vec<u8>>) -> Self {
        let headers = request.headers();
        let decoded = encodings(headers).next().and_then(|_| decoding::decoded(request.body(), encodings(headers)));
        // Where it is not encoded as it says, as with `Content-Encoding: utf-8`, a provider will look at the body itself.
        Self::of(headers, decoded.as_deref().unwrap_or(request.body()))
    }

    /// Of a body without its encoding.
    fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let is_of_parts = essences(headers).any(|essence| essence.starts_with("multipart/"));
        if is_of_parts {
            let content_type = headers.get(header::CONTENT_TYPE);
            return match content_type.and_then(|content_type| multipart::pairs(content_type, body)) {
                Some(pairs) => Self { dress: Dress::Parts, pairs },
                None => Self { dress: Dress::Unknown, pairs: Vec::new() },
            };
        }
        if !json::is_likely(body) {
            return Self { dress: Dress::Form, pairs: form::pairs(body).collect() };
        }
        match json::pairs(body) {
            Some(pairs) => Self { dress: Dress::Json, pairs },
            None => Self { dress: Dress::Unknown, pairs: Vec::new() },
        }
    }
}

impl Dress {
    /// What tells it apart from a form that is called one, or not called anything.
    pub(super) fn unusual(self, headers: &HeaderMap) -> Option<String> {
        const FORM: &str = "application/x-www-form-urlencoded";
        let called: Vec<String> = essences(headers).filter(|essence| essence != FORM).collect();
        (self != Self::Form || !called.is_empty()).then(|| format!("{self:?} {}", called.join(",")))
    }
}

/// How the body is encoded, where it is.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    encodings(headers).next()?;
    Some(encodings(headers).collect::<Vec<_>>().join(","))
}

/// The encodings, in the order in which they were done.
fn encodings(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    // What is no text is no encoding that could be undone.
    let values = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?"));
    let all = values.flat_map(|value| value.split(',')).map(str::trim);
    all.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

/// The media types that the request says it is of, without their parameters.
fn essences(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(header::CONTENT_TYPE).iter().map(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().to_ascii_lowercase().escape_ascii().to_string()
    })
}
