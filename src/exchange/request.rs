//! What a token request asks for: a refresh, with everything its answer depends on, or something else.

use http::{Request, header};

use super::form::{Form, Unreadable};
use super::options::ExchangeOptions;
use super::{client, dpop};
use crate::request::Refresh;

pub(super) enum Asked {
    Refresh(Refresh),
    /// Another grant, or nothing that could be read as one: the provider's to judge.
    Other,
}

/// Reads a token request.
pub(super) fn read(request: &Request<Vec<u8>>, options: &ExchangeOptions) -> Result<Asked, Unreadable> {
    let query = request.uri().query().unwrap_or_default();
    // A provider that reads it there would be asked past the coordinator.
    if Form::parse(query.as_bytes()).asks_for_refresh() {
        return Err("the parameters of a refresh belong into the body (RFC 6749 section 3.2)".into());
    }
    if !is_form(request) {
        if request.body().windows(13).any(|part| part == b"refresh_token") {
            tracing::warn!("a request that is not form-encoded speaks of a refresh token: passed on uncoordinated");
        }
        return Ok(Asked::Other);
    }
    let form = Form::parse(request.body());
    if !form.all("grant_type").any(|grant| grant == "refresh_token") {
        return Ok(Asked::Other);
    }
    form.check()?;
    let token = form.get("refresh_token").ok_or("refresh_token is missing")?;

    let mut refresh = Refresh::new(token).parameters(form.others());
    refresh = client::authenticated(refresh, request.headers(), &form, options)?;
    refresh = dpop::bound(refresh, request.headers());
    if !query.is_empty() {
        // No checked form has a parameter of this name.
        refresh = refresh.parameters([("\u{fffd}query", query)]);
    }
    if let Some(name) = &options.session_header {
        let mut values = request.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => {}
            (Some(id), None) if id.is_empty() => {}
            (Some(id), None) => refresh = refresh.session(id.as_bytes().escape_ascii().to_string()),
            (Some(_), Some(_)) => return Err(Unreadable(format!("{name} is there more than once"))),
        }
    }
    Ok(Asked::Refresh(refresh))
}

/// Whether the body is to be read as a form. Clients that forget to say so are taken for what they mean: providers
/// do, too, and a refresh must not slip past.
fn is_form(request: &Request<Vec<u8>>) -> bool {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter().peekable();
    types.peek().is_none()
        || types.filter_map(|value| value.to_str().ok()).any(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Hash, Identity};

    const FORM: &str = "application/x-www-form-urlencoded";

    fn request(headers: &[(&str, &str)], body: &str) -> Request<Vec<u8>> {
        let mut request = Request::post("/token").header("content-type", FORM);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.as_bytes().to_vec()).expect("a request")
    }

    fn refresh(headers: &[(&str, &str)], body: &str) -> Result<Option<Identity>, Unreadable> {
        let options = ExchangeOptions { session_header: Some("x-session".parse().unwrap()), ..Default::default() };
        Ok(match read(&request(headers, body), &options)? {
            Asked::Refresh(refresh) => Some(Identity::of(refresh, None).expect("a token")),
            Asked::Other => None,
        })
    }

    fn claim(headers: &[(&str, &str)], more: &str) -> Hash {
        let body = format!("grant_type=refresh_token&refresh_token=r{more}");
        refresh(headers, &body).expect("readable").expect("a refresh").claim
    }

    fn basic(user: &str, password: &str) -> String {
        use base64::Engine;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    }

    #[test]
    fn client_is_the_same_however_it_authenticates() {
        let by_basic = basic("my+app", "p%26%3Aw");

        let claims = [
            claim(&[("authorization", &by_basic)], ""),
            claim(&[("authorization", &by_basic)], "&client_id=my+app"),
            claim(&[("authorization", &by_basic.replace("Basic", "basic"))], "&client_secret="),
            claim(&[], "&client_id=my%20app&client_secret=p%26:w"),
        ];

        assert!(claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
    }

    #[test]
    fn claims_differ_where_an_answer_must_not_be_shared() {
        let assertion = "&client_assertion=x&client_assertion_type=y";
        let claims = [
            claim(&[], ""),
            claim(&[], "&client_id=app"),
            claim(&[], "&client_id=app&client_secret=a"),
            claim(&[], "&client_id=app&client_secret=b"),
            claim(&[], "&client_id=other&client_secret=b"),
            claim(&[("authorization", "Negotiate abc")], "&client_id=app"),
            claim(&[("authorization", "Negotiate abd")], "&client_id=app"),
            claim(&[("authorization", "Basic ???")], "&client_id=app"),
            claim(&[], "&client_id=app&scope=a"),
            claim(&[], "&client_id=app&scope="),
            claim(&[], "&client_id=app&resource=a"),
            claim(&[], "&client_id=app&resource=a&resource=b"),
            claim(&[], assertion),
            claim(&[], assertion),
            claim(&[("dpop", "malformed")], ""),
            claim(&[("dpop", "malformed")], ""),
        ];

        let different: std::collections::HashSet<_> = claims.iter().collect();

        assert_eq!(different.len(), claims.len(), "{claims:?}");
    }

    #[test]
    fn assertions_are_shared_where_callers_are_trusted() {
        let options = ExchangeOptions { trust_callers: true, ..Default::default() };
        let claims = ["one", "two"].map(|assertion| {
            let body = format!("grant_type=refresh_token&refresh_token=r&client_assertion={assertion}");
            match read(&request(&[], &body), &options).expect("readable") {
                Asked::Refresh(refresh) => Identity::of(refresh, None).expect("a token").claim,
                Asked::Other => panic!("it is a refresh"),
            }
        });

        assert_eq!(claims[0], claims[1]);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let app = basic("app", "pw");
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[], "grant_type=refresh_token"),
            (&[], "grant_type=refresh_token&refresh_token=a&refresh_token=b"),
            (&[], "grant_type=refresh_token&refresh_token=a&refresh_token=a"),
            (&[], "grant_type=password&grant_type=refresh_token&refresh_token=a"),
            (&[], "grant_type=refresh_token&refresh_token=a&x=%ff"),
            (&[("authorization", &app)], "grant_type=refresh_token&refresh_token=a&client_secret=pw"),
            (&[("authorization", &app)], "grant_type=refresh_token&refresh_token=a&client_id=other"),
            (&[("authorization", &app), ("authorization", &app)], "grant_type=refresh_token&refresh_token=a"),
            (&[], "grant_type=refresh_token&refresh_token=a&client_secret=pw&client_assertion=x"),
            (&[("x-session", "a"), ("x-session", "b")], "grant_type=refresh_token&refresh_token=a"),
        ];

        for (headers, body) in cases {
            assert!(refresh(headers, body).is_err(), "{headers:?} {body}");
        }
    }

    #[test]
    fn refresh_in_the_query_does_not_slip_past() {
        let mut request = request(&[], "grant_type=client_credentials");

        *request.uri_mut() = "/token?refresh_token=a".parse().unwrap();

        assert!(read(&request, &ExchangeOptions::default()).is_err());
    }

    #[test]
    fn what_is_no_refresh_is_the_providers_to_judge() {
        for body in ["", "grant_type=authorization_code&code=a", "refresh_token=a", "grant_type=password&x=1&x=2"] {
            assert!(refresh(&[], body).expect("readable").is_none(), "{body}");
        }
        let json = Request::post("/token").header("content-type", "application/json");
        let json = json.body(br#"{"grant_type":"refresh_token"}"#.to_vec()).expect("a request");
        assert!(matches!(read(&json, &ExchangeOptions::default()), Ok(Asked::Other)));
    }

    #[test]
    fn forgotten_content_type_is_taken_for_a_form() {
        let request = Request::post("/token").body(b"grant_type=refresh_token&refresh_token=a".to_vec());

        let asked = read(&request.expect("a request"), &ExchangeOptions::default());

        assert!(matches!(asked, Ok(Asked::Refresh(_))));
    }

    #[test]
    fn session_comes_from_its_header_or_is_the_flight() {
        let body = "grant_type=refresh_token&refresh_token=r";
        let of = |headers: &[(&str, &str)]| refresh(headers, body).expect("readable").expect("a refresh");

        let (named, empty, none) = (of(&[("x-session", "s")]), of(&[("x-session", "")]), of(&[]));

        assert_ne!(named.session, named.flight);
        assert_eq!(empty.session, empty.flight);
        assert_eq!(none.session, none.flight);
        assert_eq!(named.claim, none.claim);
    }
}
