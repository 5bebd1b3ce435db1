//! Token revocation (RFC 7009): what a client would send to a revocation endpoint, and what is sent to the provider's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};

use super::options::ExchangeOptions;
use super::parameters::Unreadable;
use super::presented::Place;
use super::purpose::Purpose;
use super::request;
use super::send_error::SendError;
use super::trust::Trust;
use crate::request::Refresh;
use crate::secret::Secret;

type Sending = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, SendError>> + Send>>;

/// The provider's revocation endpoint: a function that asks it once.
#[derive(Clone)]
pub(super) struct RevocationEndpoint(Arc<dyn Fn(Request<Vec<u8>>) -> Sending + Send + Sync>);

/// What a revocation request asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// That a session ends, with the token that may be one of its refresh tokens.
    Session(Box<Session>),
    /// Anything else: the provider's alone.
    Other,
}

#[derive(Debug)]
pub(super) struct Session {
    /// By client and credential.
    pub(super) refresh: Refresh,
    /// Where the token stands, if a newer one can be written there.
    pub(super) place: Option<Place>,
    /// Whether the provider may be asked twice: nothing in the request counts only once, and a token that is over is no failure.
    pub(super) is_repeatable: bool,
}

/// Parameters by which a client authenticates (RFC 6749 section 2.3.1, RFC 7521 section 4.2).
const OF_CLIENT: [&str; 4] = ["client_id", "client_secret", "client_assertion_type", "client_assertion"];

/// Headers that speak of the body or of the address that the refresh was sent to.
const OF_REFRESH: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    HeaderName::from_static("dpop"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("signature"),
    HeaderName::from_static("signature-input"),
];

/// Reads a revocation request (RFC 7009 section 2.1), or one to a logout endpoint, such as Keycloak's, that takes `refresh_token`.
pub(super) fn read(request: &Request<Vec<u8>>, options: &ExchangeOptions, trust: &Trust) -> Result<Asked, Unreadable> {
    let mut parameters = request::parameters(request);
    parameters.check(&["token"])?;
    let is_assertion = parameters.given("client_assertion").next().is_some();
    let hint = parameters.take("token_type_hint");
    let (token, place, is_logout) = if let Some(token) = parameters.take("token") {
        let place = Place::of_revoked(&token, request);
        (token, place, false)
    } else {
        parameters.check(&["refresh_token"])?;
        let Some(token) = parameters.take("refresh_token") else { return Ok(Asked::Other) };
        let place = Place::of(&token, request);
        (token, place, true)
    };
    if hint.is_some_and(|hint| hint.expose() == "access_token") {
        return Ok(Asked::Other);
    }
    // What revokes says success of a token that is over (RFC 7009 section 2.2). A logout endpoint does not: with the newest one it is done.
    let is_repeatable = !is_logout && !is_assertion && !request.headers().contains_key("dpop");
    let refresh = request::of_client(Refresh::new(token), request, &mut parameters, options, trust);
    Ok(Asked::Session(Box::new(Session { refresh, place, is_repeatable })))
}

impl RevocationEndpoint {
    pub(super) fn new<S, F>(send: S) -> Self
    where
        S: Fn(Request<Vec<u8>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(send(request))))
    }

    /// As it came.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        self.send_for(Purpose::Revocation, request).await
    }

    /// With a token that the coordinator knows.
    pub(super) async fn send_own(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        self.send_for(Purpose::OwnRevocation, request).await
    }

    async fn send_for(&self, purpose: Purpose, mut request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        request.extensions_mut().insert(purpose);
        (self.0)(request).await
    }

    /// Has the pod of this refresh revoke what it brings for a session that was ended meanwhile, as the client that asks here.
    /// Only then is the request read for what its client authenticates by: nearly no refresh comes to that.
    pub(super) fn revoking(&self, refresh: Refresh, onward: Arc<Request<Vec<u8>>>) -> Refresh {
        let endpoint = self.clone();
        refresh.revoking(move |token| {
            let (endpoint, request) = (endpoint.clone(), OfClient::of(&onward).revoking(&token));
            async move {
                let reason = match endpoint.send_own(request).await {
                    Ok(answer) if answer.status().is_success() => return Ok(()),
                    Ok(answer) => format!("status {}", answer.status().as_u16()),
                    Err(error) => error.to_string(),
                };
                tracing::info!(reason, "a refresh token of a session that was ended is not revoked yet");
                Err(reason)
            }
        })
    }
}

impl fmt::Debug for RevocationEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationEndpoint")
    }
}

/// What a client authenticates by in one request, to send it in another.
struct OfClient {
    headers: HeaderMap,
    parameters: Vec<(&'static str, Secret)>,
}

impl OfClient {
    fn of(onward: &Request<Vec<u8>>) -> Self {
        let mut headers = onward.headers().clone();
        for name in OF_REFRESH {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut given = request::parameters(onward);
        let parameters = OF_CLIENT.iter().filter_map(|name| Some((*name, given.take(name)?))).collect();
        Self { headers, parameters }
    }

    fn revoking(self, token: &Secret) -> Request<Vec<u8>> {
        let hint = Secret::from("refresh_token");
        let own = [("token", token), ("token_type_hint", &hint)];
        let all = own.into_iter().chain(self.parameters.iter().map(|(name, value)| (*name, value)));
        let mut request = Request::new(super::form::written(all));
        *request.method_mut() = http::Method::POST;
        *request.headers_mut() = self.headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::RefreshCoordinator;
    use crate::config::Config;
    use crate::exchange::{Served, TokenExchange};

    type Seen = Arc<Mutex<Vec<Request<Vec<u8>>>>>;

    /// An exchange in front of a provider that revokes with this status, and what that was sent.
    fn exchange(status: u16) -> (TokenExchange, Seen) {
        let coordinator = RefreshCoordinator::in_memory(Config::default()).expect("the defaults");
        let seen = Seen::default();
        let sent = Arc::clone(&seen);
        let exchange = TokenExchange::new(coordinator, ExchangeOptions::default()).revoking_by(move |request| {
            sent.lock().expect("no panic").push(request);
            async move { Ok(Response::builder().status(status).body(b"its own".to_vec()).expect("a response")) }
        });
        (exchange, seen)
    }

    fn request(headers: &[(&str, &str)], body: &str) -> Request<Vec<u8>> {
        let request = headers.iter().fold(Request::post("/"), |request, (name, value)| request.header(*name, *value));
        request.body(body.as_bytes().to_vec()).expect("a request")
    }

    fn bodies(seen: &Seen) -> Vec<String> {
        let seen = seen.lock().expect("no panic");
        seen.iter().map(|request| String::from_utf8_lossy(request.body()).into_owned()).collect()
    }

    /// A refresh of `r1` that brings `r2`.
    async fn refresh(exchange: &TokenExchange, headers: &[(&str, &str)], body: &str) -> u16 {
        let body = format!("grant_type=refresh_token&refresh_token=r1{body}");
        let tokens = || Response::new(br#"{"access_token":"a2","refresh_token":"r2"}"#.to_vec());
        exchange.exchange(request(headers, &body), move |_| async move { Ok(tokens()) }).await.status().as_u16()
    }

    #[tokio::test]
    async fn session_ends_for_the_same_client_however_it_authenticates_and_is_written() {
        let basic = [("authorization", "Basic YXBwOnB3")];
        for (headers, body) in [
            (&basic[..], "token=r1"),
            (&[][..], "client_id=app&token=r1&client_secret=pw"),
            (&[][..], r#"{"token":"r1","client_id":"app","client_secret":"pw"}"#),
        ] {
            let (exchange, seen) = exchange(200);
            let answer = exchange.revoke(request(headers, body)).await;

            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"its own"[..]), "{body}");
            assert_eq!(answer.extensions().get(), Some(&Served::Revocation));
            assert_eq!(answer.headers()["cache-control"], "no-store");
            assert_eq!(bodies(&seen), [body], "as it came");
            assert_eq!(refresh(&exchange, &basic, "").await, 400, "{body}");
            assert_eq!(refresh(&exchange, &[("authorization", "Basic YXBwOnB4")], "").await, 200, "another secret");
        }
    }

    #[tokio::test]
    async fn what_counts_once_is_sent_once_with_the_newest_token_and_a_failure_is_the_answer() {
        for (status, headers, sent) in [
            (200, &[][..], &["token=r2&client_id=a", "token=r1&client_id=a"][..]),
            (503, &[][..], &["token=r2&client_id=a"][..]),
            (200, &[("signature-input", "sig=()")][..], &["token=r1&client_id=a"][..]),
        ] {
            let (exchange, seen) = exchange(status);
            assert_eq!(refresh(&exchange, &[], "&client_id=a").await, 200);

            let answer = exchange.revoke(request(headers, "token=r1&client_id=a")).await;

            assert_eq!(
                (answer.status().as_u16(), bodies(&seen)),
                (status, sent.iter().map(|s| (*s).to_owned()).collect())
            );
            assert_eq!(refresh(&exchange, &[], "&client_id=a").await, 400);
        }
        let (exchange, seen) = exchange(200);
        let assertion = "&client_id=a&client_assertion_type=t&client_assertion=";
        assert_eq!(refresh(&exchange, &[], &format!("{assertion}1")).await, 200);
        exchange.revoke(request(&[], &format!("token=r1{assertion}2"))).await;
        assert_eq!(bodies(&seen), [format!("token=r2{assertion}2")]);
    }

    #[tokio::test]
    async fn only_the_token_that_no_caller_sent_is_revoked_as_the_coordinators_own() {
        let (exchange, seen) = exchange(200);
        assert_eq!(refresh(&exchange, &[], "&client_id=a").await, 200);

        for token in ["r1", "made-up"] {
            exchange.revoke(request(&[], &format!("token={token}&client_id=a"))).await;
        }

        let seen = seen.lock().expect("no panic");
        let purposes: Vec<_> = seen.iter().filter_map(|request| request.extensions().get::<Purpose>()).collect();
        assert_eq!(purposes, [&Purpose::OwnRevocation, &Purpose::Revocation, &Purpose::Revocation]);
    }

    #[tokio::test]
    async fn session_ends_at_a_logout_endpoint_too_which_is_asked_once_with_the_newest_token() {
        for (rotates, sent) in [(false, "client_id=a&refresh_token=r1"), (true, "client_id=a&refresh_token=r2")] {
            let (exchange, seen) = exchange(204);
            if rotates {
                assert_eq!(refresh(&exchange, &[], "&client_id=a").await, 200);
            }

            let answer = exchange.revoke(request(&[], "client_id=a&refresh_token=r1")).await;

            assert_eq!((answer.status().as_u16(), bodies(&seen)), (204, vec![sent.to_owned()]));
            assert_eq!(answer.extensions().get(), Some(&Served::Revocation));
            assert_eq!(refresh(&exchange, &[], "&client_id=a").await, 400);
        }
        let (exchange, seen) = exchange(204);
        let answer = exchange.revoke(request(&[], "refresh_token=r1&refresh_token=r2")).await;
        assert_eq!((answer.status().as_u16(), bodies(&seen)), (400, vec![]));
    }

    #[tokio::test]
    async fn what_ends_no_session_is_passed_on() {
        for body in ["token=r1&token_type_hint=access_token", "token_type_hint=refresh_token", ""] {
            let (exchange, seen) = exchange(400);
            let answer = exchange.revoke(request(&[], body)).await;

            assert_eq!((answer.status().as_u16(), bodies(&seen)), (400, vec![body.to_owned()]));
            assert_eq!(answer.extensions().get(), Some(&Served::PassedOn));
            assert_eq!(refresh(&exchange, &[], "").await, 200);
        }
        let (exchange, seen) = exchange(200);
        let answer = exchange.revoke(request(&[], "token=r1&token=r2")).await;
        assert_eq!((answer.status().as_u16(), bodies(&seen)), (400, vec![]));
    }

    #[test]
    fn client_of_a_refresh_authenticates_its_revocation_and_nothing_of_the_refresh_goes_with_it() {
        let headers =
            [("authorization", "Basic YTpi"), ("content-type", "application/json"), ("dpop", "proof"), ("x-key", "k")];
        let body = r#"{"grant_type":"refresh_token","refresh_token":"r1","client_id":"a b","scope":"s"}"#;

        let revocation = OfClient::of(&request(&headers, body)).revoking(&Secret::from("r&2"));

        assert_eq!(revocation.body(), b"token=r%262&token_type_hint=refresh%5Ftoken&client_id=a%20b");
        let headers = revocation.headers();
        assert_eq!(
            (&headers["authorization"], &headers["x-key"]),
            (&"Basic YTpi".parse().unwrap(), &"k".parse().unwrap())
        );
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        assert!(!headers.contains_key("dpop"));
        assert_eq!(revocation.method(), http::Method::POST);
    }
}
