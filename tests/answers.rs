//! Answers of token endpoints in every dress: each has the class that its meaning has, whatever it wears, and reaches every
//! caller byte for byte. But for a redirect: that is nobody's.
#![cfg(feature = "http")]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use proptest::prelude::*;
use proptest::sample::select;
use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange, read_answer};
use refresh_coordinator::{Config, ProviderFailure, RefreshCoordinator};

/// What a provider means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Tokens,
    /// The token is dead, under one of the names that are known of all providers.
    Dead(&'static str),
    Refused,
    Page,
    /// Something that is not understood, and neither an error nor a page.
    Other,
}

#[derive(Clone, Debug)]
struct Dress {
    meaning: Meaning,
    status: u16,
    /// Picks one of the forms that this meaning can have.
    form: usize,
    encoding: Option<&'static str>,
    content_type: Option<&'static str>,
    limit: Option<(&'static str, &'static str)>,
}

const STATUSES: [u16; 28] = [
    200, 200, 200, 201, 202, 204, 206, 300, 301, 302, 303, 307, 400, 401, 403, 408, 421, 425, 429, 500, 502, 503, 504,
    520, 418, 521, 524, 530,
];
const DEAD: [&str; 6] = [
    "invalid_grant",
    "bad_refresh_token",
    "BAD_REFRESH_TOKEN",
    "invalid_refresh_token",
    "refresh_token_reused",
    "refresh_token_already_used",
];

fn dresses() -> impl Strategy<Value = Dress> {
    let meaning = prop_oneof![
        3 => Just(Meaning::Tokens),
        2 => select(DEAD.to_vec()).prop_map(Meaning::Dead),
        2 => Just(Meaning::Refused),
        1 => Just(Meaning::Page),
        2 => Just(Meaning::Other),
    ];
    let types = select(vec![
        None,
        Some("application/json"),
        Some("application/json; charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
        Some("application/octet-stream"),
    ]);
    let limits = select(vec![
        None,
        None,
        None,
        Some(("retry-after", "30")),
        Some(("x-ratelimit-reset", "30")),
        Some(("ratelimit", "limit=10, remaining=0, reset=30")),
    ]);
    let encodings = select(vec![None, None, Some("gzip"), Some("deflate"), Some("br"), Some("identity")]);
    let parts = (meaning, select(STATUSES.to_vec()), 0..20_usize, encodings, types, limits);
    parts.prop_map(|(meaning, status, form, encoding, content_type, limit)| Dress {
        meaning,
        status,
        form,
        encoding,
        // Servers call much of what they send text/html; a page is one whatever it is called.
        content_type: if meaning == Meaning::Page && form % 2 == 0 { Some("text/html") } else { content_type },
        limit,
    })
}

impl Dress {
    fn text(&self) -> String {
        let forms: Vec<String> = match self.meaning {
            Meaning::Tokens => {
                let tokens = r#""access_token":"a2","expires_in":"3600","refresh_token":"r2""#;
                vec![
                    format!("{{{tokens}}}"),
                    format!("\u{feff}{{{tokens}}}"),
                    format!("\r\n{{\"ok\":true,\"code\":0,\"error\":null, {tokens} }}\n"),
                    format!(r#"{{{tokens},"error":"none of your business"}}"#),
                    format!(r#"{{"status":0,"body":{{{tokens}}}}}"#),
                    format!(r#"{{"error":"","data":{{{tokens}}}}}"#),
                    format!("[{{{tokens}}}]"),
                    "access_token=a2&expires_in=28800&refresh_token=r%32&scope=".to_owned(),
                    r#"{"access_token":"a2","refresh_token":null}"#.to_owned(),
                    r#"{"access_token":"a2","refresh_token":false,"access_token":"a3"}"#.to_owned(),
                    format!(r#"{{{tokens},"expires_in":-1.5,"error":["invalid_grant"]}}"#),
                    r#"{"access_token":"a2","refresh_token":{"value":"r2"},"expires_in":1e400}"#.to_owned(),
                    "\u{feff}refresh_token=r1&%61ccess_token=a2&refresh_token=r2".to_owned(),
                    r#"{"accessToken":"a2","refreshToken":"r2","code":0,"error":false}"#.to_owned(),
                    r#"{"error":"E1","accessToken":"a2","refreshToken":"r2"}"#.to_owned(),
                    r#"{"errcode":7,"a":{"b":{"access_token":"a2"}}}"#.to_owned(),
                    r#")]}', {"access_token":"a2"}"#.to_owned(),
                    r#"keep({"access_token":"a2","refresh_token":"r2"})"#.to_owned(),
                    r#"{"access_token":"a2","expires_in":9223372036854775807,"refresh_token":"r2"}"#.to_owned(),
                ]
            }
            Meaning::Dead(name) => vec![
                format!(r#"{{"error":"{name}","error_description":"x"}}"#),
                format!("\u{feff}{{\"error\":\"{name}\"}}"),
                format!(r#"{{"error":{{"code":"{name}","message":"x"}}}}"#),
                format!(r#"{{"status":"{name}"}}"#),
                format!(r#"{{"code":400,"error_code":"{name}","msg":"x"}}"#),
                format!(r#"{{"errors":[{{"code":"{name}"}}]}}"#),
                format!(r#"{{"data":{{"error":"{name}"}}}}"#),
                format!("error={name}&error_description=x"),
                format!("{name}\n"),
                format!("\"{name}\""),
            ],
            Meaning::Refused => vec![
                r#"{"error":"invalid_scope"}"#.to_owned(),
                r#"{"error":"expired_token"}"#.to_owned(),
                r#"{"error":{"code":7}}"#.to_owned(),
                r#"{"errcode":40030,"errmsg":"x"}"#.to_owned(),
                r#"{"error":"the token t0k3n is bad"}"#.to_owned(),
                "error=invalid_request".to_owned(),
            ],
            Meaning::Page => vec![
                "<!DOCTYPE html><html><title>Sign in</title></html>".to_owned(),
                "\n<html><body>error=1</body></html>".to_owned(),
            ],
            Meaning::Other => vec![
                String::new(),
                "ok".to_owned(),
                "{}".to_owned(),
                r#"{"status":"active","error":"0"}"#.to_owned(),
                "\u{0}\u{1}\u{2}".to_owned(),
                r#"{"access_token":"a2","refresh_token":"r2"} <!-- by a proxy -->"#.to_owned(),
                r#"keep({"access_token":"a2","refresh_token":"r2"}, 7)"#.to_owned(),
                r#"<html><script>keep({"refresh_token":"r2"})</script></html>"#.to_owned(),
                r#"{"errors":[null],"error":[]}"#.to_owned(),
                r#"{"errorCode":"00000","data":{"token":"a2"}}"#.to_owned(),
            ],
        };
        forms[self.form % forms.len()].clone()
    }

    fn body(&self) -> Vec<u8> {
        let text = self.text().into_bytes();
        match self.encoding {
            Some("gzip") => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&text).expect("memory");
                encoder.finish().expect("memory")
            }
            Some("deflate") => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&text).expect("memory");
                encoder.finish().expect("memory")
            }
            Some("br") => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 20);
                encoder.write_all(&text).expect("memory");
                encoder.into_inner()
            }
            _ => text,
        }
    }

    fn answer(&self) -> Response<Vec<u8>> {
        let headers = [
            self.content_type.map(|value| ("content-type", value)),
            self.encoding.map(|value| ("content-encoding", value)),
            self.limit,
            self.is_followed().then_some(("location", "/elsewhere")),
        ];
        let bare = Response::builder().status(self.status);
        let answer = headers.into_iter().flatten().fold(bare, |answer, (name, value)| answer.header(name, value));
        answer.body(self.body()).expect("a response")
    }

    /// An HTTP client would send its request there once more, with the token.
    fn is_followed(&self) -> bool {
        (300..400).contains(&self.status) && self.status != 303
    }

    /// The table.
    fn class(&self) -> &'static str {
        match (self.status, self.meaning) {
            (200..300, Meaning::Tokens) => "success",
            // What stands beside the tokens counts where they do not.
            (400..500, Meaning::Tokens) if self.text().contains("invalid_grant") => "dead",
            (200..300 | 400..500, Meaning::Dead(_)) => "dead",
            (200..300, Meaning::Refused) => "denied",
            (200..300, Meaning::Page) => "unknown",
            (200..300, Meaning::Other) => "not understood",
            (429, _) => "busy",
            (503, _) if self.limit.is_some() => "busy",
            (408 | 421 | 425 | 503 | 521 | 530, _) => "not processed",
            (303, _) => "unknown",
            (300..400, _) => "not processed",
            (400..500, _) => "denied",
            _ => "unknown",
        }
    }
}

fn class_of(answer: Response<Vec<u8>>) -> &'static str {
    match read_answer(answer) {
        Ok(_) => "success",
        Err(ProviderFailure::Denied { is_token_dead: true, .. }) => "dead",
        Err(ProviderFailure::Denied { .. }) => "denied",
        Err(ProviderFailure::Busy { .. }) => "busy",
        Err(ProviderFailure::NotProcessed { .. }) => "not processed",
        Err(ProviderFailure::NotUnderstood { .. }) => "not understood",
        Err(ProviderFailure::Unknown { .. }) => "unknown",
        Err(other) => panic!("it was sent: {other}"),
    }
}

/// What two callers, one after the other, get of it, and how often the provider was asked.
async fn handed_on(dress: &Dress) -> ([Response<Vec<u8>>; 2], usize) {
    let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
    let exchange = TokenExchange::new(coordinator, ExchangeOptions::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = || async {
        let (asked, answer) = (Arc::clone(&asked), dress.answer());
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(b"grant_type=refresh_token&refresh_token=r1&client_id=app".to_vec());
        let send = |_| async move {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(answer)
        };
        exchange.exchange(request.expect("a request"), send).await
    };
    ([ask().await, ask().await], asked.load(Ordering::Relaxed))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answer_has_the_class_of_its_meaning_and_reaches_callers_byte_for_byte(dress in dresses()) {
        prop_assert_eq!(class_of(dress.answer()), dress.class());

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let (answers, asked) = runtime.block_on(handed_on(&dress));

        for answer in &answers {
            if dress.is_followed() {
                prop_assert_eq!((answer.status().as_u16(), answer.headers().get("location")), (503, None));
                prop_assert!(answer.headers().contains_key("retry-after"));
                continue;
            }
            prop_assert_eq!((answer.status().as_u16(), answer.body()), (dress.status, &dress.body()));
            for (name, sent) in [("content-type", dress.content_type), ("content-encoding", dress.encoding)] {
                let got = answer.headers().get(name).map(|value| value.to_str().expect("ASCII"));
                prop_assert_eq!(got, sent, "{}", name);
            }
        }
        prop_assert_eq!(asked, 1, "the second caller comes at once");
    }
}
