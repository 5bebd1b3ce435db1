//! What a token request asks for: a refresh, with everything its answer depends on, or something else.

use http::{HeaderMap, Request};

use super::body::{self, Body, Dress};
use super::options::ExchangeOptions;
use super::pair::MARK;
use super::parameters::{Parameters, Unreadable};
use super::proven::DpopKey;
use super::trust::Trust;
use super::{client, form};
use crate::request::Refresh;

#[derive(Debug)]
pub(super) enum Asked {
    Refresh(Refresh),
    /// A refresh without a refresh token: the provider's to refuse.
    NoToken,
    /// Another grant, or nothing that could be read as one: the provider's to judge.
    Other,
    /// It cannot be read, and speaks of a refresh token: the provider's to judge, uncoordinated.
    Unread,
}

/// Reads a token request. What a provider may tolerate is read as it may read it; refused is only what leaves open which
/// token would be presented.
pub(super) fn read(request: &Request<Vec<u8>>, options: &ExchangeOptions, trust: &Trust) -> Result<Asked, Unreadable> {
    let query = request.uri().query().unwrap_or_default();
    let Body { dress, pairs } = Body::read(request);
    let mut parameters = Parameters::of(pairs.into_iter().chain(form::pairs(query.as_bytes())));
    if !parameters.ask_for_refresh() {
        // Where another grant is asked for, that is what it speaks of.
        let is_open = dress == Dress::Unknown || parameters.given("grant_type").next().is_none();
        if is_open && request.body().windows(13).any(|part| part == b"refresh_token") {
            return Ok(Asked::Unread);
        }
        return Ok(Asked::Other);
    }
    parameters.check(&["grant_type", "refresh_token"])?;
    let Some(token) = parameters.take("refresh_token") else { return Ok(Asked::NoToken) };
    let grant = parameters.take("grant_type").filter(|grant| grant.expose() != "refresh_token");

    let refresh = of_client(Refresh::new(token), request, &mut parameters, options, trust);
    let refresh = refresh.parameters(parameters.rest());
    // Whether a provider reads it depends on how it is written, too.
    let written = [
        ("grant_type", grant),
        ("query", Some(query).filter(|query| !query.is_empty()).map(Into::into)),
        ("type", dress.unusual(request.headers()).map(Into::into)),
        ("encoding", body::encoding(request.headers()).map(Into::into)),
        ("body", (dress == Dress::Unknown).then(|| request.body().escape_ascii().to_string().into())),
    ];
    let refresh =
        refresh.parameters(written.into_iter().filter_map(|(name, value)| Some((format!("{MARK}\n{name}"), value?))));
    with_session(refresh, request.headers(), options).map(Asked::Refresh)
}

/// Adds the client, its credential and its key, and takes them out of the parameters.
pub(super) fn of_client(
    refresh: Refresh,
    request: &Request<Vec<u8>>,
    parameters: &mut Parameters,
    options: &ExchangeOptions,
    trust: &Trust,
) -> Refresh {
    let refresh = client::authenticated(refresh, request.headers(), parameters, options, trust);
    match trust.dpop_key(request) {
        DpopKey::Absent => refresh,
        DpopKey::Proven(thumbprint) => refresh.dpop_key(thumbprint),
        DpopKey::Doubtful => refresh.alone(),
    }
}

/// What stands in body and query.
pub(super) fn parameters(request: &Request<Vec<u8>>) -> Parameters {
    Parameters::of(
        Body::read(request).pairs.into_iter().chain(form::pairs(request.uri().query().unwrap_or_default().as_bytes())),
    )
}

fn with_session(refresh: Refresh, headers: &HeaderMap, options: &ExchangeOptions) -> Result<Refresh, Unreadable> {
    let Some(name) = &options.session_header else { return Ok(refresh) };
    let mut values = headers.get_all(name).iter();
    match values.next() {
        Some(first) if values.any(|value| value != first) => {
            Err(Unreadable(format!("{name} is there with different values")))
        }
        Some(id) if !id.is_empty() => Ok(refresh.session(id.as_bytes().escape_ascii().to_string())),
        _ => Ok(refresh),
    }
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

    fn options() -> ExchangeOptions {
        ExchangeOptions {
            session_header: Some("x-session".parse().unwrap()),
            claim_headers: vec!["x-tenant".parse().unwrap()],
            ..Default::default()
        }
    }

    fn refresh(headers: &[(&str, &str)], body: &str) -> Result<Option<Identity>, Unreadable> {
        identity(&request(headers, body))
    }

    fn identity(request: &Request<Vec<u8>>) -> Result<Option<Identity>, Unreadable> {
        Ok(match read(request, &options(), &Trust::by(&options()))? {
            Asked::Refresh(refresh) => Some(Identity::of(refresh, None).expect("a token")),
            Asked::NoToken | Asked::Other | Asked::Unread => None,
        })
    }

    fn json(target: &str, body: &str) -> Request<Vec<u8>> {
        let request = Request::post(target).header("content-type", "application/json; charset=utf-8");
        request.body(body.as_bytes().to_vec()).expect("a request")
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
        let (by_basic, unencoded) = (basic("my+app", "p%26%3Aw%2B"), basic("my app", "p&:w+"));

        let claims = [
            claim(&[("authorization", &by_basic)], ""),
            claim(&[("authorization", &by_basic)], "&client_id=my+app"),
            claim(&[("authorization", &by_basic.replace("Basic", "basic"))], "&client_secret="),
            claim(&[("authorization", &by_basic), ("authorization", &by_basic)], ""),
            claim(&[("authorization", &unencoded)], ""),
            claim(&[("authorization", &by_basic), ("authorization", &unencoded)], "&client_secret=p%26:w%2b"),
            claim(&[("authorization", &unencoded)], "&client_id=my+app&client_secret=p%26:w%2b"),
            claim(&[], "&client_id=my%20app&client_secret=p%26:w%2b"),
            claim(&[], "&client_id=my%20app&client_secret=p%26:w%2b&client_id=my+app&client_secret=p%26:w%2b"),
            claim(&[("authorization", "Bearer expired")], "&client_id=my%20app&client_secret=p%26:w%2b"),
        ];

        assert!(claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
    }

    #[test]
    fn client_without_a_secret_is_the_same_however_it_names_itself() {
        let claims = [
            claim(&[], "&client_id=app"),
            claim(&[], "&client_id=app&client_secret="),
            claim(&[("authorization", &basic("app", ""))], ""),
            claim(&[("authorization", "Bearer one")], "&client_id=app"),
            claim(&[("authorization", "bearer two")], "&client_id=app"),
            claim(&[("authorization", "DPoP three")], "&client_id=app"),
        ];

        assert!(claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
    }

    #[test]
    fn equal_doubles_are_one() {
        let claims = ["", "&scope=openid+email", "&scope=openid+email&refresh_token=r", "&scope=email+openid"]
            .map(|more| claim(&[], &format!("&client_id=app&scope=openid+email{more}")));

        assert_eq!((claims[0], claims[0]), (claims[1], claims[2]));
        assert_ne!(claims[0], claims[3], "written differently, so a provider may tell them apart");
    }

    #[test]
    fn refresh_is_read_wherever_it_stands() {
        let with_charset = |target: &str, body: &str| {
            let request =
                Request::post(target).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
            request.body(body.as_bytes().to_vec()).expect("a request")
        };
        let requests = [
            request(&[], "grant_type=refresh_token&refresh_token=r"),
            with_charset("/token?grant_type=refresh_token", "refresh_token=r"),
            with_charset("/token?refresh_token=r", "grant_type=refresh_token"),
            with_charset("/token?grant_type=refresh_token&refresh_token=r", ""),
            request(&[], "refresh_token=r"),
            request(&[], "grant_type=&refresh_token=r"),
            request(&[], "Grant_Type=Refresh_Token&RefreshToken=r"),
            request(&[], "\u{feff}{\"grant_type\":\"refresh_token\",\"refresh_token\":\"r\"}"),
            json("/token", r#" {"grant_type":"refresh_token","refresh_token":"\u0072","x":[1,{"b":2}],"n":null}"#),
            json("/token?grant_type=refresh_token", r#"{"refresh_token":"r"}"#),
            json("/token", r#"{"refreshToken":"r"}"#),
            json("/token", "grant_type=refresh_token&refresh_token=r"),
            json("/token", r#"{"meta":{"a":1},"data":{"grant_type":"refresh_token","refresh_token":"r"}}"#),
            json("/token", r#"{"grant_type":"refresh_token","data":{"refresh_token":"r"}}"#),
            json("/token", r#"{"data":{"type":"t","attributes":{"grant_type":"refresh_token","refresh_token":"r"}}}"#),
            json("/token?grant_type=refresh_token", r#"{"data":{"refreshToken":"r"}}"#),
        ];

        for request in requests {
            let identity = identity(&request).expect("readable").unwrap_or_else(|| panic!("no refresh: {request:?}"));
            assert_eq!(identity.flight, Hash::unkeyed("r"), "{request:?}");
        }
    }

    #[test]
    fn encoded_body_is_read_as_the_one_that_it_stands_for() {
        use std::io::Write;
        let encoded = |body: &str, level: u32, encoding: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            encoder.write_all(body.as_bytes()).expect("memory");
            let body = encoder.finish().expect("memory");
            let request = Request::post("/token").header("content-type", FORM).header("content-encoding", encoding);
            identity(&request.body(body).expect("a request")).expect("readable")
        };
        let body = "grant_type=refresh_token&refresh_token=r&client_id=app";

        let (one, other) = (encoded(body, 0, "gzip"), encoded(body, 9, "gzip"));

        let (one, other) = (one.expect("a refresh"), other.expect("a refresh"));
        assert_eq!((one.flight, one.claim), (Hash::unkeyed("r"), other.claim));
        assert_ne!(one.claim, claim(&[], "&client_id=app"), "whether a provider reads it is another question");
        assert!(encoded(body, 9, "zstd").is_none(), "it cannot be undone");
        for encoding in ["utf-8", "gzip", "Identity"] {
            let plain = refresh(&[("content-encoding", encoding)], body).expect("readable").expect("a refresh");
            assert_eq!(plain.flight, one.flight, "{encoding}");
        }
    }

    #[test]
    fn json_shares_an_answer_where_its_members_are_equal() {
        let claim = |body| identity(&json("/token", body)).expect("readable").expect("a refresh").claim;

        let equal = [
            claim(r#"{"refresh_token":"r","client_id":7,"scope":"a b"}"#),
            claim(r#"{ "scope" : "b a", "client_id" : "7","refresh_token":"r","scope":"b a" }"#),
        ];
        let others = [
            claim(r#"{"refresh_token":"r","client_id":8,"scope":"a b"}"#),
            claim(r#"{"refresh_token":"r","client_id":7,"scope":["a","b"]}"#),
            claim(r#"{"refresh_token":"r","client_id":7,"scope":"a b","client_secret":"s"}"#),
            refresh(&[], "refresh_token=r&client_id=7&scope=a+b").expect("readable").expect("a refresh").claim,
        ];

        assert_eq!(equal[0], equal[1]);
        assert!(!others.contains(&equal[0]));
    }

    #[test]
    fn parts_of_a_form_share_an_answer_whatever_their_boundary() {
        let of = |boundary: &str, client: &str| {
            let part = |name, value| {
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
            };
            let parts = [part("grant_type", "refresh_token"), part("refresh_token", "r"), part("client_id", client)];
            let request = Request::post("/token")
                .header("content-type", format!("multipart/form-data; boundary={boundary}"))
                .body(format!("{}--{boundary}--\r\n", parts.concat()).into_bytes());
            identity(&request.expect("a request")).expect("readable").expect("a refresh")
        };

        assert_eq!(of("x", "app").flight, Hash::unkeyed("r"));
        assert_eq!(of("x", "app").claim, of("----y", "app").claim);
        assert_ne!(of("x", "app").claim, of("x", "other").claim);
        assert_ne!(
            of("x", "app").claim,
            claim(&[], "&client_id=app"),
            "whether a provider reads it is another question"
        );
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
            claim(&[("authorization", "Bearer a")], ""),
            claim(&[("authorization", "Bearer b")], ""),
            claim(&[("authorization", &basic("gateway", "pw"))], "&client_id=app"),
            claim(&[("authorization", &basic("gateway", "pw"))], "&client_id=app&client_secret=a"),
            claim(&[("authorization", &basic("app", "pw"))], "&client_id=app&client_secret=a"),
            claim(&[], "&client_id=app&client_secret=a&client_secret=b"),
            claim(&[], "&client_id=app&client_secret=b&client_secret=a"),
            claim(&[], "&client_id=app&scope=a&scope=b"),
            claim(&[], "&client_id=app&scope=b&scope=a"),
            claim(&[], "&client_id=app&x=%ff"),
            claim(&[], "&client_id=app&x=%fe"),
            claim(&[("x-tenant", "a")], "&client_id=app"),
            claim(&[("x-tenant", "b")], "&client_id=app"),
            claim(&[("x-tenant", "b")], "&client_id=app&client_secret=a"),
        ];

        let different: std::collections::HashSet<_> = claims.iter().collect();

        assert_eq!(different.len(), claims.len(), "{claims:?}");
    }

    #[test]
    fn assertions_are_shared_where_callers_are_trusted() {
        let options = ExchangeOptions { trust_callers: true, ..Default::default() };
        let claims = ["one", "two"].map(|assertion| {
            let body = format!("grant_type=refresh_token&refresh_token=r&client_assertion={assertion}");
            match read(&request(&[], &body), &options, &Trust::by(&options)).expect("readable") {
                Asked::Refresh(refresh) => Identity::of(refresh, None).expect("a token").claim,
                Asked::NoToken | Asked::Other | Asked::Unread => panic!("it is a refresh"),
            }
        });

        assert_eq!(claims[0], claims[1]);
    }

    #[test]
    fn only_what_leaves_open_what_is_asked_is_refused() {
        let many = format!("grant_type=refresh_token&refresh_token=a{}", "&x=1".repeat(199));
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[], "grant_type=refresh_token&refresh_token=a&refresh_token=b"),
            (&[], r#"{"refresh_token":"a","refresh_token":"b"}"#),
            (&[], "grant_type=password&grant_type=refresh_token&refresh_token=a"),
            (&[("x-session", "a"), ("x-session", "b")], "grant_type=refresh_token&refresh_token=a"),
            (&[], &many),
        ];

        for (headers, body) in cases {
            assert!(refresh(headers, body).is_err(), "{headers:?} {body}");
        }
        let mut elsewhere = request(&[], "grant_type=refresh_token&refresh_token=a");
        *elsewhere.uri_mut() = "/token?refresh_token=b".parse().unwrap();
        assert!(identity(&elsewhere).is_err());
        assert!(refresh(&[], many.strip_suffix("&x=1").expect("the last of them")).is_ok());
    }

    #[test]
    fn refresh_without_a_token_is_the_providers_to_refuse() {
        for body in [
            "grant_type=refresh_token",
            "refresh_token=&grant_type=refresh_token",
            r#"{"grant_type":"refresh_token","refresh_token":null}"#,
        ] {
            let asked = read(&request(&[], body), &options(), &Trust::by(&options()));
            assert!(matches!(asked, Ok(Asked::NoToken)), "{body}");
        }
    }

    #[test]
    fn what_is_no_refresh_is_the_providers_to_judge() {
        for body in
            ["", "grant_type=authorization_code&code=a", "grant_type=password&x=1&x=2&refresh_token=a", "{", "[]"]
        {
            assert!(refresh(&[], body).expect("readable").is_none(), "{body}");
        }
        assert!(
            identity(&json("/token", r#"{"grant_type":"refresh_token","refresh_token":"r""#))
                .expect("readable")
                .is_none()
        );
    }

    #[test]
    fn what_speaks_of_a_refresh_token_and_cannot_be_read_is_told() {
        let asked = |request| read(&request, &options(), &Trust::by(&options()));
        for body in [
            "<a><grant_type>refresh_token</grant_type><refresh_token>r</refresh_token></a>",
            r#"{"a":{"refresh_token":"r"},"b":{"refresh_token":"r"}}"#,
            r#"[{"refresh_token":"r"}]"#,
        ] {
            assert!(matches!(asked(request(&[], body)), Ok(Asked::Unread)), "{body}");
        }
        for body in ["grant_type=authorization_code&scope=refresh_token", "code=a"] {
            assert!(matches!(asked(request(&[], body)), Ok(Asked::Other)), "{body}");
        }
    }

    #[test]
    fn forgotten_content_type_is_taken_for_a_form() {
        let body = "grant_type=refresh_token&refresh_token=r";
        let request = Request::post("/token").body(body.as_bytes().to_vec()).expect("a request");

        let forgotten = identity(&request).expect("readable").expect("a refresh");

        assert_eq!(forgotten.claim, claim(&[], ""));
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
