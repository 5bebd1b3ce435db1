//! When the provider asks to be left alone until: Retry-After, and the headers of rate limits.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// No provider means a longer time; what is above is cut to it before anything is computed.
const LONGEST: f64 = 1e9;
/// A number above is no span but a moment, in seconds since 1970; far above, in milliseconds.
const EARLIEST_STAMP: f64 = 1e9;
const EARLIEST_STAMP_MS: f64 = 1e12;

/// How long the provider asks to stay away: Retry-After (RFC 9110 section 10.2.3), else when a limit that is used up
/// begins anew (`X-RateLimit-Reset` and its spellings, `RateLimit` of draft-ietf-httpapi-ratelimit-headers).
pub(super) fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let now = now_there(headers);
    text(headers, "retry-after")
        .and_then(|text| span(text, now))
        .or_else(|| milliseconds(headers))
        .or_else(|| text(headers, "x-ratelimit-reset-after").and_then(|text| span(text, now)))
        .or_else(|| ["x-ratelimit", "x-rate-limit", "ratelimit"].into_iter().find_map(|name| reset(headers, name, now)))
        .or_else(|| combined(headers, now))
}

/// The provider's own clock, where its answer tells it.
fn now_there(headers: &HeaderMap) -> SystemTime {
    let date = text(headers, header::DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
    date.unwrap_or_else(SystemTime::now)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// A span in seconds, or until a moment: a date, or seconds or milliseconds since 1970.
fn span(text: &str, now: SystemTime) -> Option<Duration> {
    // Of a header that came twice and was put together, the first.
    let first = || without_unit(text.split(',').next().unwrap_or_default()).parse();
    let Ok(number) = text.parse::<f64>().or_else(|_| first()) else {
        return Some(moment(text)?.duration_since(now).unwrap_or_default());
    };
    if !number.is_finite() || number < 0.0 {
        // Infinite is also what has too many digits.
        return (number == f64::INFINITY && text.starts_with(|c: char| c.is_ascii_digit()))
            .then(|| Duration::from_secs_f64(LONGEST));
    }
    let stamp = match number {
        EARLIEST_STAMP_MS.. => number / 1000.0,
        EARLIEST_STAMP.. => number,
        _ => return Some(Duration::from_secs_f64(number)),
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Some(Duration::from_secs_f64((stamp - now).clamp(0.0, LONGEST)))
}

/// `30 seconds` and `30s`, as some write it.
fn without_unit(text: &str) -> &str {
    const UNITS: [&str; 5] = ["seconds", "second", "secs", "sec", "s"];
    let text = text.trim();
    UNITS.iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(text).trim_end()
}

/// A date as HTTP writes it, or as RFC 3339 does, with UTC as its zone or without one.
fn moment(text: &str) -> Option<SystemTime> {
    let in_utc = text.strip_suffix("+00:00").unwrap_or(text);
    httpdate::parse_http_date(text).ok().or_else(|| humantime::parse_rfc3339_weak(in_utc).ok())
}

/// What Azure sends.
fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let ms = ["retry-after-ms", "x-ms-retry-after-ms"].into_iter().find_map(|name| text(headers, name))?;
    Some(Duration::from_millis(ms.parse().ok()?))
}

/// A limit told in several headers. Where something of it is left, it is not what the request ran into.
fn reset(headers: &HeaderMap, name: &str, now: SystemTime) -> Option<Duration> {
    let left = text(headers, &format!("{name}-remaining")).and_then(|left| left.parse::<f64>().ok());
    if left.is_some_and(|left| left > 0.0) {
        return None;
    }
    span(text(headers, &format!("{name}-reset"))?, now)
}

/// `limit=10, remaining=0, reset=30`, or by a later draft `"burst";r=0;t=30, "daily";r=5;t=3600`: the longest of those
/// that are used up.
fn combined(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let all: Vec<&str> = headers.get_all("ratelimit").iter().filter_map(|value| value.to_str().ok()).collect();
    let all = all.join(",");
    let value = |policy: &str, name: &str| {
        let mut parts = policy.split([',', ';']).filter_map(|part| part.split_once('='));
        parts.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let used_up = |policy: &str, left: &str, until: &str| {
        let left = value(policy, left).and_then(|left| left.parse::<f64>().ok()).unwrap_or_default();
        if left > 0.0 { None } else { span(&value(policy, until)?, now) }
    };
    let by_policy = all.split(',').filter_map(|policy| used_up(policy, "r", "t")).max();
    by_policy.or_else(|| used_up(&all, "remaining", "reset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        asked_for(&headers.collect()).map(|pause| pause.as_secs())
    }

    #[test]
    fn provider_says_until_when_in_many_ways() {
        let date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        let epoch = 1_795_514_400_u64;
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let cases: &[(Headers<'_>, Option<u64>)] = &[
            (&[("retry-after", "7")], Some(7)),
            (&[("retry-after", "7.9")], Some(7)),
            (&[("retry-after", "Tue, 24 Nov 2026 10:01:30 GMT"), date], Some(90)),
            (&[("retry-after", "Tue, 24 Nov 2020 10:01:30 GMT"), date], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-3")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", &"9".repeat(400))], Some(1_000_000_000)),
            (&[("retry-after", "soon"), ("x-ratelimit-reset", "20")], Some(20)),
            (&[("retry-after-ms", "2500")], Some(2)),
            (&[("x-ratelimit-reset", &(epoch + 40).to_string()), date], Some(40)),
            (&[("x-ratelimit-reset", &((epoch + 40) * 1000).to_string()), date], Some(40)),
            (&[("x-ratelimit-reset", &(epoch - 40).to_string()), date], Some(0)),
            (&[("x-ratelimit-reset", "2026-11-24T10:00:40Z"), date], Some(40)),
            (&[("x-ratelimit-reset", "2026-11-24T10:00:40.5+00:00"), date], Some(40)),
            (&[("x-ratelimit-reset", "2026-11-24 10:00:40"), date], Some(40)),
            (&[("x-ratelimit-reset", "2026-11-24T10:00:40+02:00"), date], None),
            (&[("retry-after", "30, 30")], Some(30)),
            (&[("retry-after", "30 seconds")], Some(30)),
            (&[("x-ratelimit-reset", "30s")], Some(30)),
            (&[("retry-after", "seconds")], None),
            (&[("x-rate-limit-reset", "30"), ("x-rate-limit-remaining", "0")], Some(30)),
            (&[("x-ratelimit-reset", "30"), ("x-ratelimit-remaining", "99")], None),
            (&[("ratelimit-reset", "30")], Some(30)),
            (&[("ratelimit", "limit=100, remaining=0, reset=30")], Some(30)),
            (&[("ratelimit", "limit=100, remaining=3, reset=30")], None),
            (&[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=0;t=60, \"all\";r=9;t=900")], Some(60)),
            (&[("ratelimit", "reset")], None),
            (&[], None),
        ];

        for (headers, expected) in cases {
            assert_eq!(seconds(headers), *expected, "{headers:?}");
        }
    }
}
