//! Which media types a caller takes (RFC 9110 section 12.5.1): an answer of another type is not its answer.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use crate::token_response::ProviderResponse;

/// What a caller's Accept said.
pub(super) struct Accepted {
    ranges: Vec<Range>,
}

struct Range {
    /// `application/json`, `application/*`, `*/*`.
    pattern: String,
    is_excluded: bool,
}

impl Accepted {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Self { ranges: values.flat_map(|value| value.split(',')).filter_map(Range::read).collect() }
    }

    /// As of a caller that says nothing.
    pub(super) fn anything() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Whether the type of this answer is one that the caller does not take.
    pub(super) fn excludes_type_of(&self, response: &ProviderResponse) -> bool {
        let content_type = response.headers().find(|(name, _)| *name == CONTENT_TYPE.as_str());
        content_type.is_some_and(|(_, value)| self.excludes(value))
    }

    /// Whether the caller is not handed an answer that another one brought.
    pub(super) fn refuses(&self, response: &ProviderResponse) -> bool {
        let content_type = response.values("content-type").next().unwrap_or_default();
        !response.heeds_no_accept() && self.excludes_type_of(response) && !self.takes_as_json(content_type, response)
    }

    /// Whether it is JSON that its sender calls something else, as many do: a caller that takes JSON would have been sent the same.
    fn takes_as_json(&self, content_type: &str, response: &ProviderResponse) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let may_be_json =
            essence.starts_with("text/") || ["json", "javascript"].iter().any(|kind| essence.contains(kind));
        may_be_json && response.text().trim_ascii_start().starts_with(b"{") && !self.excludes("application/json")
    }

    /// Whether an answer of this type must not be handed to the caller. A caller that says nothing takes anything.
    pub(super) fn excludes(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if self.ranges.is_empty() || essence.is_empty() {
            return false;
        }
        let of_kind = essence.split_once('/').map(|(kind, _)| format!("{kind}/*")).unwrap_or_default();
        // The most specific range decides.
        let range = [&essence[..], &of_kind, "*/*"]
            .into_iter()
            .find_map(|pattern| self.ranges.iter().find(|range| range.pattern == pattern));
        range.is_none_or(|range| range.is_excluded)
    }
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let pattern = parts.next().filter(|pattern| pattern.contains('/'))?.to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let is_excluded = weight.and_then(|weight| weight.trim().parse().ok()).is_some_and(|weight: f32| weight <= 0.0);
        Some(Self { pattern, is_excluded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_range_takes_is_excluded() {
        const JSON: &str = "Application/JSON; charset=utf-8";
        let cases = [
            ("", JSON, false),
            ("*", JSON, false),
            ("*/*", JSON, false),
            ("application/json, text/plain, */*", "application/x-www-form-urlencoded", false),
            ("application/json", JSON, false),
            ("APPLICATION/*;q=0.1", JSON, false),
            ("text/html;level=1, application/json;q=0.5", JSON, false),
            ("application/x-www-form-urlencoded", JSON, true),
            ("text/*", JSON, true),
            ("*/*, application/json;q=0", JSON, true),
            ("application/json, */*;q=0.0", "text/plain", true),
            ("application/json", "", false),
        ];

        for (accept, content_type, expected) in cases {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]);
            assert_eq!(Accepted::by(&headers).excludes(content_type), expected, "{accept} {content_type}");
        }
        assert!(!Accepted::by(&HeaderMap::new()).excludes(JSON));
    }

    #[test]
    fn json_that_is_called_something_else_is_taken_by_who_takes_json() {
        let excludes = |accept: &str, content_type: &str, body: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]);
            let response = ProviderResponse::new(200, body).with_header("content-type", content_type);
            Accepted::by(&headers).refuses(&response)
        };

        for called in ["text/html; charset=utf-8", "text/plain", "text/javascript", "application/hal+json"] {
            assert!(!excludes("application/json", called, " {}"), "{called}");
            assert!(excludes("application/xml", called, "{}"), "{called}");
        }
        assert!(excludes("application/json", "text/html", "<html>"));
        assert!(excludes("application/json", "application/x-www-form-urlencoded", "{}"));
    }
}
