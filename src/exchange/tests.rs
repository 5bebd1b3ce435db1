//! The exchange as a whole, in front of a provider that is a closure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::Config;

const TOKENS: &[u8] = b"{ \"access_token\":\"a2\",\n\"refresh_token\":\"r2\" }";

fn exchange(options: ExchangeOptions) -> TokenExchange {
    TokenExchange::new(RefreshCoordinator::in_memory(Config::default()).expect("the defaults"), options)
}

fn form(body: &str) -> Request<Vec<u8>> {
    Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.as_bytes().to_vec())
        .expect("a request")
}

/// A provider that gives one answer, and how often it was asked.
async fn answered(
    options: ExchangeOptions,
    request: Request<Vec<u8>>,
    answer: Result<Response<Vec<u8>>, SendError>,
) -> (Response<Vec<u8>>, u32) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let answer = exchange(options)
        .exchange(request, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::ready(answer)
        })
        .await;
    (answer, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn provider_answer_reaches_the_caller_byte_for_byte() {
    let sent = Response::builder()
        .status(200)
        .header("content-type", "application/json;charset=UTF-8")
        .header("cache-control", "no-store, private")
        .header("set-cookie", "a=b");

    let request = form("grant_type=refresh_token&refresh_token=r1");
    let (answer, asked) = answered(Default::default(), request, Ok(sent.body(TOKENS.to_vec()).unwrap())).await;

    assert_eq!((asked, answer.status().as_u16(), answer.body().as_slice()), (1, 200, TOKENS));
    assert_eq!(answer.headers()["content-type"], "application/json;charset=UTF-8");
    assert_eq!(answer.headers()["cache-control"], "no-store, private");
    assert!(!answer.headers().contains_key("set-cookie"));
    assert!(matches!(answer.extensions().get(), Some(Served::Tokens(_))));
}

#[tokio::test]
async fn denial_of_the_provider_reaches_the_caller() {
    let body = b"{\"error\":\"invalid_client\"}".to_vec();
    let sent = Response::builder().status(401).header("www-authenticate", "Basic realm=\"x\"").body(body.clone());

    let request = form("grant_type=refresh_token&refresh_token=r1");
    let (answer, _) = answered(Default::default(), request, Ok(sent.unwrap())).await;

    assert_eq!((answer.status().as_u16(), answer.body()), (401, &body));
    assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"x\"");
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn leaders_request_goes_to_the_provider_as_it_is() {
    let mut request = form("scope=b+a&refresh_token=r1&grant_type=refresh_token");
    request.headers_mut().insert("authorization", "Basic YTpi".parse().unwrap());

    let answer = exchange(Default::default())
        .exchange(request, async |request: Request<Vec<u8>>| {
            assert_eq!(request.body(), b"scope=b+a&refresh_token=r1&grant_type=refresh_token");
            assert_eq!(request.headers()["authorization"], "Basic YTpi");
            Ok(Response::new(TOKENS.to_vec()))
        })
        .await;

    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn refresh_without_a_token_gets_the_providers_own_answer() {
    for only_refresh in [false, true] {
        for body in ["grant_type=refresh_token", "grant_type=refresh_token&refresh_token="] {
            let sent = Response::builder().status(400).body(b"{ \"error\": \"invalid_request\" }\n".to_vec()).unwrap();
            let options = ExchangeOptions { only_refresh, ..Default::default() };
            let (answer, asked) = answered(options, form(body), Ok(sent.clone())).await;

            assert_eq!((answer.status().as_u16(), asked, answer.body()), (400, 1, sent.body()), "{body}");
        }
    }
}

#[tokio::test]
async fn what_leaves_open_which_token_is_presented_is_refused_without_asking() {
    let request = form("grant_type=refresh_token&refresh_token=a&refresh_token=b");

    let (answer, asked) = answered(Default::default(), request, Ok(Response::new(TOKENS.to_vec()))).await;

    assert_eq!((answer.status().as_u16(), asked), (400, 0));
    assert!(answer.body().starts_with(br#"{"error":"invalid_request""#));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.extensions().get(), Some(&Served::Refused));
}

/// A provider that takes the client's secret in the body only, once it is let go on.
async fn in_the_body_only(request: Request<Vec<u8>>, go_on: impl Future<Output = ()>) -> Response<Vec<u8>> {
    go_on.await;
    if request.headers().contains_key("authorization") {
        return Response::builder().status(401).body(br#"{"error":"invalid_client"}"#.to_vec()).expect("a response");
    }
    Response::new(TOKENS.to_vec())
}

fn with_basic(mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    request.headers_mut().insert("authorization", "Basic YXBwOnB3".parse().expect("a value"));
    request
}

const PROBED: &str = "grant_type=refresh_token&refresh_token=r1";
const IN_THE_BODY: &str = "grant_type=refresh_token&refresh_token=r1&client_id=app&client_secret=pw";

#[tokio::test]
async fn client_that_finds_out_how_to_authenticate_is_not_handed_the_refusal_of_another_way() {
    let exchange = exchange(Default::default());
    let asked = Arc::new(AtomicU32::new(0));
    let ask = async |request: Request<Vec<u8>>| {
        let counter = Arc::clone(&asked);
        let send = move |request| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(in_the_body_only(request, std::future::ready(())).await) }
        };
        exchange.exchange(request, send).await.status().as_u16()
    };

    assert_eq!([ask(with_basic(form(PROBED))).await, ask(with_basic(form(PROBED))).await], [401, 401]);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "in the same way it is not asked again");
    assert_eq!([ask(form(IN_THE_BODY)).await, ask(with_basic(form(PROBED))).await], [200, 200]);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a success is for both");
}

#[tokio::test]
async fn client_that_waits_for_the_refusal_of_another_way_then_asks_itself() {
    let exchange = exchange(Default::default());
    let (go_on, gate) = tokio::sync::oneshot::channel::<()>();
    let first = exchange.exchange(with_basic(form(PROBED)), async move |request| {
        Ok(in_the_body_only(request, async { gate.await.expect("it is told") }).await)
    });
    let send = async |request| Ok(in_the_body_only(request, std::future::ready(())).await);
    let second = exchange.exchange(form(IN_THE_BODY), send);
    let both = async { tokio::join!(first, second) };
    let told = async {
        while exchange.coordinator.metrics().joined_fleet == 0 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).expect("it waits");
    };

    let ((first, second), ()) = tokio::join!(both, told);

    assert_eq!((first.status().as_u16(), second.status().as_u16()), (401, 200));
}

#[tokio::test]
async fn answer_of_a_type_that_a_caller_does_not_take_is_not_its_answer() {
    let exchange = exchange(Default::default());
    let asked = Arc::new(AtomicU32::new(0));
    let ask = |accept: &'static str| {
        let (exchange, asked) = (exchange.clone(), Arc::clone(&asked));
        async move {
            let mut request = form("grant_type=refresh_token&refresh_token=r1");
            request.headers_mut().insert("accept", accept.parse().unwrap());
            exchange
                .exchange(request, move |_| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let sent = Response::builder().header("content-type", "application/json; charset=utf-8");
                    std::future::ready(Ok(sent.body(TOKENS.to_vec()).unwrap()))
                })
                .await
        }
    };

    let first = ask("application/*").await;
    let (other, third) = (ask("application/x-www-form-urlencoded").await, ask("application/json, */*").await);

    assert_eq!((first.status().as_u16(), other.status().as_u16(), third.status().as_u16()), (200, 503, 200));
    assert_eq!(other.headers()["retry-after"], "1");
    assert!(!String::from_utf8_lossy(other.body()).contains("r2"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn request_for_the_scope_that_was_granted_shares_the_answer() {
    const GRANTED: &[u8] = br#"{"access_token":"a2","refresh_token":"r2","scope":"email openid"}"#;
    let exchange = exchange(Default::default());
    let asked = Arc::new(AtomicU32::new(0));
    let ask = |more: &'static str| {
        let (exchange, asked) = (exchange.clone(), Arc::clone(&asked));
        async move {
            let request = form(&format!("grant_type=refresh_token&refresh_token=r1&client_id=app{more}"));
            let send = move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok(Response::new(GRANTED.to_vec())))
            };
            exchange.exchange(request, send).await
        }
    };

    let told = tokio::join!(
        ask(""),
        ask("&scope=openid+email"),
        ask("&scope=openid"),
        ask("&scope=openid+email+x"),
        ask("&scope=email+openid&resource=a")
    );
    let told = [told.0, told.1, told.2, told.3, told.4].map(|answer| answer.status().as_u16());
    let late = ask("&scope=email++openid").await;

    assert_eq!((told, late.status().as_u16()), ([200, 200, 503, 503, 503], 200));
    assert_eq!((late.body().as_slice(), asked.load(Ordering::SeqCst)), (GRANTED, 1));
}

#[tokio::test]
async fn answer_of_a_provider_that_heeds_no_accept_is_everybodys() {
    let exchange = exchange(Default::default());
    let asked = Arc::new(AtomicU32::new(0));
    let ask = |accept: &'static str| {
        let (exchange, asked) = (exchange.clone(), Arc::clone(&asked));
        async move {
            let mut request = form("grant_type=refresh_token&refresh_token=r1");
            request.headers_mut().insert("accept", accept.parse().unwrap());
            let send = move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                let sent = Response::builder().header("content-type", "text/html; charset=utf-8");
                std::future::ready(Ok(sent.body(TOKENS.to_vec()).unwrap()))
            };
            exchange.exchange(request, send).await
        }
    };

    // The tabs of one application, which all take JSON, and of another one.
    for accept in ["application/json", "application/json", "application/xml", "*/*"] {
        let answer = ask(accept).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (200, TOKENS), "{accept}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_refresh_is_passed_on_once_as_it_is() {
    let sent = Response::builder().status(418).header("x-more", "1").header("connection", "close");

    let request = form("grant_type=client_credentials");
    let (answer, asked) = answered(Default::default(), request, Ok(sent.body(b"tea".to_vec()).unwrap())).await;

    assert_eq!((asked, answer.status().as_u16(), answer.body().as_slice()), (1, 418, b"tea".as_slice()));
    assert_eq!(answer.headers()["x-more"], "1");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(answer.extensions().get(), Some(&Served::PassedOn));
}

#[tokio::test]
async fn only_refresh_refuses_everything_else() {
    let options = ExchangeOptions { only_refresh: true, ..Default::default() };

    let (answer, asked) = answered(options, form("grant_type=password"), Ok(Response::new(Vec::new()))).await;

    assert_eq!((answer.status().as_u16(), asked), (400, 0));
    assert!(answer.body().starts_with(br#"{"error":"unsupported_grant_type""#));
}

#[tokio::test]
async fn provider_out_of_reach_is_transient() {
    let refresh = "grant_type=refresh_token&refresh_token=r1";
    let cases = [
        (refresh, SendError::NotSent("hush".to_owned()), 503, true),
        (refresh, SendError::NotProcessed("hush".to_owned()), 503, true),
        (refresh, SendError::Unknown("hush".to_owned()), 503, true),
        ("grant_type=password", SendError::NotSent("hush".to_owned()), 503, true),
        ("grant_type=password", SendError::NotProcessed("hush".to_owned()), 503, true),
        ("grant_type=password", SendError::Unknown("hush".to_owned()), 502, false),
    ];

    for (body, error, status, again) in cases {
        let (answer, _) = answered(Default::default(), form(body), Err(error)).await;

        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.headers().contains_key("retry-after"), again, "{body}");
        assert!(!String::from_utf8_lossy(answer.body()).contains("hush"));
    }
}
