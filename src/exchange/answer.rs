//! What an answer of the provider means for the token: the table of outcome classes, read off an HTTP response.

use http::{HeaderMap, Response, StatusCode};

use super::accept::Accepted;
use super::complaint::{self, Complaint, Status};
use super::{headers, page, pause};
use crate::dialect::Dialect;
use crate::outcome::ProviderFailure;
use crate::token_response::{ProviderResponse, TokenResponse, dressing};

/// Reads an answer of the token endpoint: tokens, or why there are none and what that says of the refresh token.
///
/// Status, body and the headers that mean something to a client are kept for every caller of the flight, and
/// nothing of the body is quoted in an error but a short OAuth error code.
///
/// ```
/// use http::Response;
/// use refresh_coordinator::{ProviderFailure, exchange::read_answer};
///
/// let answer = Response::builder().status(400).body(br#"{"error":"invalid_grant"}"#.to_vec())?;
/// let failure = read_answer(answer).unwrap_err();
/// assert!(matches!(&failure, ProviderFailure::Denied { error, .. } if error == "invalid_grant"));
/// # Ok::<(), http::Error>(())
/// ```
///
/// # Errors
///
/// In this order:
///
/// * `Denied` for a 2xx without tokens and for a 4xx that names an error which says that the token is dead; for any other
///   error at a 2xx without tokens; for any other 4xx but 408, 421, 425 and 429.
/// * `NotUnderstood` for another 2xx without tokens, unless it is a page of HTML with no tokens in it.
/// * `Busy` for a 429, and for a 503 that says when to come again.
/// * `NotProcessed` for redirects but 303, for 408, 421 and 425, for 501, 505 and 511 (RFC 9110 section 15.6, RFC 6585), for 521, 523,
///   525, 526 and 530 (Cloudflare has not reached the origin), for a challenge of AWS WAF, and for another 503 unless it is of a
///   gateway that had sent the request; for a 502 and 504 of one that says that it had not.
/// * `Unknown` for everything else, which may have rotated the token.
pub fn read_answer(answer: Response<Vec<u8>>) -> Result<TokenResponse, ProviderFailure> {
    read_answer_in(answer, &Dialect::default(), &Accepted::anything())
}

/// The same of a provider that is known, as the answer to a caller that takes what is `accepted`.
pub(super) fn read_answer_in(
    answer: Response<Vec<u8>>,
    dialect: &Dialect,
    accepted: &Accepted,
) -> Result<TokenResponse, ProviderFailure> {
    let (parts, body) = answer.into_parts();
    let (status, all) = (parts.status, &parts.headers);
    let bare = ProviderResponse::new(status.as_u16(), body);
    let response = headers::shared(all).fold(bare, |response, (name, value)| response.with_header(name, value));
    let response = {
        let heeds_no_accept = accepted.excludes_type_of(&response);
        response.heeding_no_accept(heeds_no_accept)
    };
    if status.is_success() {
        return TokenResponse::from_response(response.clone()).map_err(|_| without_tokens(response, all, dialect));
    }
    let failure = {
        let text = response.text();
        let utf8 = dressing::in_utf8(&text);
        failure_of(status, all, utf8.as_deref().map_or(&text[..], |utf8| &utf8[..]), dialect)
    };
    Err(failure.with_response(response))
}

/// What a 2xx means in which no tokens were found.
fn without_tokens(response: ProviderResponse, all: &HeaderMap, dialect: &Dialect) -> ProviderFailure {
    match failure_without_tokens(&response, all, dialect) {
        Some(failure) => failure.with_response(response),
        None => ProviderFailure::NotUnderstood { response },
    }
}

/// None where it is not understood.
fn failure_without_tokens(response: &ProviderResponse, all: &HeaderMap, dialect: &Dialect) -> Option<ProviderFailure> {
    // Of AWS WAF, which wants a browser to prove itself before it asks the provider, and says so with a 202:
    // https://docs.aws.amazon.com/waf/latest/developerguide/waf-captcha-and-challenge-how-it-works.html
    if all.contains_key("x-amzn-waf-action") {
        return Some(ProviderFailure::not_processed("a challenge of a firewall"));
    }
    let text = response.text();
    let utf8 = dressing::in_utf8(&text);
    let text = utf8.as_deref().map_or(&text[..], |utf8| &utf8[..]);
    if let Some(complaint) = complaint::find(Status::Success, all, text, dialect) {
        return Some(refusal(complaint, text, dialect));
    }
    let is_page = page::is_one(response, text) && !page::holds_tokens(text);
    is_page.then(|| ProviderFailure::unknown(format!("status {}, and a page of HTML", response.status())))
}

fn failure_of(status: StatusCode, all: &HeaderMap, text: &[u8], dialect: &Dialect) -> ProviderFailure {
    let code = status.as_u16();
    let complaint = status.is_client_error().then(|| complaint::find(Status::Refusal, all, text, dialect)).flatten();
    let pause = pause::asked_for(all);
    match (code, complaint) {
        (_, Some(complaint)) if complaint.is_token_dead => refusal(complaint, text, dialect),
        (429, _) => ProviderFailure::busy(pause),
        (503, _) if pause.is_some() => ProviderFailure::busy(pause),
        (503, _) if dialect.may_be_processed(text) => {
            ProviderFailure::unknown("status 503 of a gateway that had sent the request")
        }
        (408 | 421 | 425 | 503, _) => ProviderFailure::not_processed(format!("status {code}")),
        (502 | 504, _) if dialect.is_unreached(text) => {
            ProviderFailure::not_processed(format!("status {code} of a gateway that had sent nothing"))
        }
        // Of Cloudflare, which has not reached the origin: refused, unreachable, no TLS, a wrong certificate, no such name. Not 520, 522
        // and 524, which also come after the request was sent:
        // https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors
        // And 501, 505 and 511: neither the method nor the version is served there, or a portal before the network wants a login.
        (501 | 505 | 511 | 521 | 523 | 525 | 526 | 530, _) => ProviderFailure::not_processed(format!("status {code}")),
        // It says that the request was processed, and where to read what came of it (RFC 9110 section 15.4.4).
        (303, _) => ProviderFailure::unknown("status 303"),
        (300..400, _) => ProviderFailure::not_processed(format!("status {code}")),
        (400..=499, complaint) => {
            let unnamed = || Complaint { name: format!("http_{code}"), is_token_dead: false };
            refusal(complaint.unwrap_or_else(unnamed), text, dialect)
        }
        _ => ProviderFailure::unknown(format!("status {code}")),
    }
}

fn refusal(Complaint { name, is_token_dead }: Complaint, text: &[u8], dialect: &Dialect) -> ProviderFailure {
    if dialect.is_passing(text) {
        return ProviderFailure::not_processed(format!("{name}, which will pass"));
    }
    ProviderFailure::Denied { error: name, is_token_dead, response: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::outcome::{Outcome, ProviderHealth};
    use crate::presets::Preset;

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> Result<TokenResponse, ProviderFailure> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        read_answer(answer.body(body.as_bytes().to_vec()).expect("a response"))
    }

    /// The class as one word, and what decides about it.
    fn class(answer: Result<TokenResponse, ProviderFailure>) -> String {
        match answer {
            Ok(_) => "success".to_owned(),
            Err(ProviderFailure::Denied { error, is_token_dead: true, .. }) => format!("dead {error}"),
            Err(ProviderFailure::Denied { error, .. }) => format!("denied {error}"),
            Err(ProviderFailure::NotProcessed { .. }) => "not processed".to_owned(),
            Err(ProviderFailure::NotUnderstood { .. }) => "not understood".to_owned(),
            Err(ProviderFailure::Busy { retry_after: None, .. }) => "busy".to_owned(),
            Err(ProviderFailure::Busy { retry_after: Some(time), .. }) => format!("busy {}", time.as_secs()),
            Err(ProviderFailure::Unknown { .. }) => "unknown".to_owned(),
            Err(ProviderFailure::NotSent { .. }) => "not sent".to_owned(),
        }
    }

    #[test]
    fn every_answer_has_its_class() {
        let date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT");
        let html = ("content-type", "text/html; charset=utf-8");
        let later = ("retry-after", "Tue, 24 Nov 2026 10:01:30 GMT");
        let long_error = format!(r#"{{"error":"{}"}}"#, "a".repeat(41));
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(u16, Headers<'_>, &str, &str)] = &[
            (200, &[], r#"{"access_token":"a"}"#, "success"),
            (201, &[], r#"{"access_token":"a","error":null}"#, "success"),
            (200, &[], r#"{"access_token":"a","error":"beaten","code":0,"ok":true}"#, "success"),
            (200, &[], r#"{"status":0,"body":{"access_token":"a","refresh_token":"r"}}"#, "success"),
            (200, &[], "\u{feff}{\"access_token\":\"a\"}", "success"),
            (200, &[], "access_token=a&refresh_token=r", "success"),
            (200, &[html], r#"{"access_token":"a"}"#, "success"),
            (200, &[], r#"{"error":"bad_refresh_token"}"#, "dead bad_refresh_token"),
            (200, &[], "error=bad_refresh_token", "dead bad_refresh_token"),
            (200, &[], r#"{"error":"expired"}"#, "denied expired"),
            (200, &[], "<html>", "unknown"),
            (200, &[html], "come back later", "unknown"),
            (200, &[html], r#"{"tokens":7}"#, "not understood"),
            (200, &[html], r#"<html><script>t = {"access_token" : "a"}</script>"#, "not understood"),
            (200, &[html], "<html><pre>{&quot;refresh_token&quot;:&quot;r2&quot;}</pre>", "not understood"),
            (200, &[html], r#"<html><script>keep("access_token"); t = {"refresh_token": ""}</script>"#, "unknown"),
            (200, &[], "", "not understood"),
            (204, &[], "", "not understood"),
            (200, &[], r#"{"accessToken":"a","code":0,"error":""}"#, "success"),
            (200, &[], r#"callback({"access_token":"a"});"#, "success"),
            (200, &[html], r#"callback( {"error":100015} );"#, "denied 100015"),
            (200, &[html], "<r><access_token>a</access_token></r>", "success"),
            (200, &[html], "<r><access_token>a</acces", "not understood"),
            (200, &[html], r#"<r accessToken="a"/>"#, "not understood"),
            (200, &[html], "access_token: a\nrefresh_token: r", "not understood"),
            (200, &[html], "{'access_token':'a'}", "not understood"),
            (200, &[html], r#"<br /><b>Warning</b>: x<br />{"refreshToken":"r"}"#, "not understood"),
            (200, &[html], "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "not understood"),
            (200, &[html], "\u{1}\u{2}\u{3}", "not understood"),
            (200, &[html], "<script>location='/login?access_token='</script>", "unknown"),
            (200, &[html], r#"<html><a href="/login?x=1&access_token=a&refresh_token=r">"#, "unknown"),
            (200, &[], r#"{"error":"expired","error_uri":"https://x/?a=1&access_token=a"}"#, "denied expired"),
            (202, &[("x-amzn-waf-action", "challenge")], "", "not processed"),
            (202, &[("x-amzn-waf-action", "challenge"), html], "<html>", "not processed"),
            (200, &[], r#"{"success":false,"message":"x"}"#, "denied unnamed_error"),
            (200, &[("content-encoding", "zstd")], "x", "not understood"),
            (200, &[], r#"{"error":"E1","accessToken":"a","refreshToken":"r"}"#, "success"),
            (200, &[], r#"{"errcode":7,"a":{"b":{"access_token":"a"}}}"#, "success"),
            (200, &[], r#"{"errorCode":"00000","data":{"AccessToken":"a"}}"#, "success"),
            (200, &[], r#"{"error":"E1","access_token":"","accessToken":null}"#, "denied E1"),
            (200, &[], r#"{"error":"invalid_grant","accessToken":""}"#, "dead invalid_grant"),
            (400, &[], r#"{"error":"invalid_grant","error_description":"x"}"#, "dead invalid_grant"),
            (400, &[], r#"{"status":"BAD_REFRESH_TOKEN"}"#, "dead BAD_REFRESH_TOKEN"),
            (429, &[], r#"{"error":"invalid_grant"}"#, "dead invalid_grant"),
            (401, &[], r#"{"error":"invalid_client"}"#, "denied invalid_client"),
            (400, &[], r#"{"error":"use_dpop_nonce"}"#, "denied use_dpop_nonce"),
            (400, &[], "", "denied http_400"),
            (403, &[("retry-after", "5")], "<html>", "denied http_403"),
            (400, &[], r#"{"error":{"code":1}}"#, "denied 1"),
            (400, &[], r#"{"error":"the token t0k3n is bad"}"#, "denied unnamed_error"),
            (400, &[], &long_error, "denied unnamed_error"),
            (429, &[], "", "busy"),
            (429, &[("retry-after", "7")], r#"{"error":"slow_down"}"#, "busy 7"),
            (429, &[("retry-after", "soon")], "", "busy"),
            (429, &[later, date], "", "busy 90"),
            (429, &[("retry-after", "Tue, 24 Nov 2020 10:00:00 GMT")], "", "busy 0"),
            (503, &[("retry-after", "7")], "", "busy 7"),
            (503, &[("x-ratelimit-reset", "7")], "", "busy 7"),
            (503, &[], "no healthy upstream", "not processed"),
            (503, &[], "upstream connect error; reset reason: connection termination", "unknown"),
            (503, &[("retry-after", "soon")], "", "not processed"),
            (408, &[], "", "not processed"),
            (521, &[html], "<html>", "not processed"),
            (523, &[("retry-after", "7")], "", "not processed"),
            (525, &[], "", "not processed"),
            (526, &[], "", "not processed"),
            (530, &[], "error code: 1016", "not processed"),
            (501, &[], "", "not processed"),
            (502, &[], "no healthy upstream", "not processed"),
            (504, &[], "disconnect/reset before headers. reset reason: connection failure", "not processed"),
            (504, &[], "upstream request timeout", "unknown"),
            (505, &[], "", "not processed"),
            (511, &[html], "<html>", "not processed"),
            (520, &[], "", "unknown"),
            (522, &[], "", "unknown"),
            (524, &[], "", "unknown"),
            (421, &[], "", "not processed"),
            (425, &[], r#"{"error":"too_early"}"#, "not processed"),
            (303, &[("location", "/done")], "", "unknown"),
            (307, &[("location", "/elsewhere")], "", "not processed"),
            (500, &[("retry-after", "7")], "", "unknown"),
            (502, &[], r#"{"error":"invalid_grant"}"#, "unknown"),
            (302, &[("location", "/login")], "", "not processed"),
        ];

        for (status, headers, body, expected) in cases {
            assert_eq!(class(read(*status, headers, body)), *expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn gateway_that_has_not_reached_the_provider_speaks_against_its_health() {
        let health = |status| Outcome::Failure(read(status, &[], "").expect_err("no tokens")).health();

        assert_eq!([503, 521, 523, 525, 526, 530].map(health), [ProviderHealth::Failing; 6]);
        assert_eq!([307, 408, 421, 425].map(health), [ProviderHealth::Neutral; 4]);
    }

    #[test]
    fn status_body_and_meaningful_headers_are_kept() {
        let sent = [
            ("content-type", "application/json;charset=UTF-8"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic"),
            ("www-authenticate", "DPoP"),
            ("dpop-nonce", "n"),
            ("connection", "close"),
        ];

        let failure = read(401, &sent, "{ \"error\" : \"invalid_client\" }\n").expect_err("a 401");

        let response = failure.response().expect("kept");
        assert_eq!((response.status(), response.body()), (401, "{ \"error\" : \"invalid_client\" }\n".as_bytes()));
        assert_eq!(response.headers().collect::<Vec<_>>(), [sent[0], sent[2], sent[3], sent[4]]);
    }

    #[test]
    fn dead_token_is_known_by_what_the_provider_of_the_preset_says() {
        let read = |preset: &str, status, body: &str| {
            let dialect = Preset::named(preset).expect("known").applied_to(Config::default()).dialect;
            let answer = Response::builder().status(status).body(body.as_bytes().to_vec()).expect("a response");
            class(read_answer_in(answer, &dialect, &Accepted::anything()))
        };
        let atlassian = r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#;

        assert_eq!(read("atlassian", 403, atlassian), "dead refresh_token is invalid");
        assert_eq!(read("auth0", 403, atlassian), "dead refresh_token is invalid", "it is plain, whoever says so");
        assert_eq!(
            read("atlassian", 403, r#"{"error":"unauthorized_client","error_description":"x"}"#),
            "denied unauthorized_client"
        );
        assert_eq!(
            read("twitch", 400, r#"{"status":400,"message":"Invalid refresh token"}"#),
            "dead Invalid refresh token"
        );
        assert_eq!(read("twitch", 403, r#"{"status":403,"message":"invalid client secret"}"#), "denied 403");
        let firebase = r#"{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(read("firebase", 400, firebase), "dead TOKEN_EXPIRED");
        assert_eq!(read("google", 400, firebase), "denied 400");
        assert_eq!(read("zoho", 200, r#"{"error":"invalid_code"}"#), "dead invalid_code");
        let limited =
            r#"{"error":"Access Denied","error_description":"You have made too many requests continuously."}"#;
        assert_eq!(read("zoho", 400, limited), "not processed");
    }

    #[test]
    fn what_only_the_user_can_help_with_says_nothing_of_the_token() {
        let entra = |body: &str| {
            let dialect = Preset::named("entra").expect("known").applied_to(Config::default()).dialect;
            let answer = Response::builder().status(400).body(body.as_bytes().to_vec()).expect("a response");
            class(read_answer_in(answer, &dialect, &Accepted::anything()))
        };

        let of = |error: &str, code: &str, suberror: &str| {
            entra(&format!(
                r#"{{"error":"{error}","error_description":"AADSTS{code}: x","error_codes":[{code}],"suberror":"{suberror}"}}"#
            ))
        };
        assert_eq!(of("interaction_required", "50076", "basic_action"), "denied interaction_required");
        assert_eq!(of("invalid_grant", "65001", "consent_required"), "denied consent_required");
        assert_eq!(of("invalid_grant", "50076", "basic_action"), "denied interaction_required");
        assert_eq!(of("invalid_grant", "53003", "message_only"), "denied interaction_required");
        assert_eq!(of("invalid_grant", "700082", "bad_token"), "dead invalid_grant");
        assert_eq!(of("invalid_grant", "50173", ""), "dead invalid_grant");
        assert_eq!(of("login_required", "50058", ""), "dead login_required");
        assert_eq!(of("invalid_grant", "50196", ""), "not processed", "it is asked too often");
    }

    #[test]
    fn provider_is_read_in_its_own_dialect() {
        let dialect = Dialect {
            dead_token_errors: vec!["TOKEN_GONE".to_owned()],
            passing_refusals: vec!["already being processed".to_owned()],
            gateway_texts: vec!["lost my backend".to_owned()],
        };
        let read = |status, body: &str| {
            let answer = Response::builder().status(status).body(body.as_bytes().to_vec()).expect("a response");
            class(read_answer_in(answer, &dialect, &Accepted::anything()))
        };

        assert_eq!(read(400, r#"{"code":"token_gone"}"#), "dead token_gone");
        assert_eq!(read(503, "we have Lost my backend"), "unknown");
        let passing = r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#;
        assert_eq!(read(400, passing), "not processed");
        assert_eq!(read(400, r#"{"error":"invalid_grant"}"#), "dead invalid_grant");
    }
}
