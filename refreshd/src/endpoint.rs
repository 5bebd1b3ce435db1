//! What is answered at which path: the token endpoint, the revocation endpoint, health, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use refresh_coordinator::exchange::{FenceOf, Served, oauth_error};
use tokio::sync::watch;

use crate::callers::Caller;
use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::provider::{Asked, Provider};
use crate::providers::Providers;
use crate::refusals::Refusals;

const AT_ONCE: Duration = Duration::ZERO;

/// What is asked at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Tokens, health and metrics.
    All,
    /// Tokens only: health and metrics have a port of their own.
    Tokens,
    /// Health and metrics.
    Admin,
}

/// Everything a request meets.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) providers: watch::Receiver<Arc<Providers>>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    /// Set when no new work is wanted; never taken back.
    pub(crate) is_draining: AtomicBool,
}

impl Endpoint {
    /// Answers any request. Nothing of an answer may be stored on the way.
    pub(crate) async fn answer(&self, request: Request<Incoming>, port: Port, caller: &Caller) -> Response<Vec<u8>> {
        let mut answer = self.routed(request, port, caller).await;
        if self.is_draining.load(Ordering::Relaxed) || caller.age() > self.limits.max_connection_age.0 {
            // The next request of this caller goes to another pod, or comes over another connection.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn routed(&self, request: Request<Incoming>, port: Port, caller: &Caller) -> Response<Vec<u8>> {
        let providers = Arc::clone(&self.providers.borrow());
        let found = if port == Port::Admin { None } else { providers.of(&request) };
        let asked = found.and_then(|(provider, below)| Some((provider, provider.asked(below)?)));
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match (asked, request.uri().path()) {
            // First, as the upstream's path is the operator's choice and may be any.
            (Some((provider, Asked::Token)), _) if request.method() == Method::POST => {
                self.token(provider, request, caller).await
            }
            (Some((provider, Asked::Revocation)), _) if request.method() == Method::POST => {
                self.revocation(provider, request, caller).await
            }
            (None, _) if port == Port::Tokens => not_found(&providers, port),
            (_, "/healthz") if is_read => text(StatusCode::OK, "alive\n"),
            (_, "/readyz") if is_read => {
                let _answering = caller.answering();
                self.readiness(&providers).await
            }
            (_, "/metrics") if is_read => self.rendered_metrics(&providers),
            (_, "/healthz" | "/readyz" | "/metrics") => not_allowed("GET, HEAD"),
            (Some(_), _) => not_allowed("POST"),
            (None, _) => not_found(&providers, port),
        }
    }

    async fn token(&self, provider: &Provider, request: Request<Incoming>, caller: &Caller) -> Response<Vec<u8>> {
        let start = Instant::now();
        let mut answer = match self.whole(request).await {
            Ok(request) => {
                let _answering = caller.answering();
                let upstream = Arc::clone(&provider.upstream.borrow());
                provider.exchange.exchange(request, |request| async move { upstream.send(request).await }).await
            }
            Err(refused) => refused,
        };
        let served = answer.extensions().get::<Served>().map_or("refused", |served| served.word());
        tell_of_fence(&mut answer, served);
        let (status, time) = (answer.status(), start.elapsed());
        metrics::answered(provider.name.as_ref(), served, status, time);
        tracing::debug!(
            provider = provider.name.as_deref(),
            served,
            status = status.as_u16(),
            ?time,
            "token request answered"
        );
        answer
    }

    async fn revocation(&self, provider: &Provider, request: Request<Incoming>, caller: &Caller) -> Response<Vec<u8>> {
        let start = Instant::now();
        let answer = match self.whole(request).await {
            Ok(request) => {
                let _answering = caller.answering();
                let exchange = provider.exchange.clone();
                // In a task of its own: a logout that has begun goes on without its caller.
                let revoking = tokio::spawn(async move { exchange.revoke(request).await });
                revoking.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "a revocation ended without an answer");
                    oauth_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "try again", Some(AT_ONCE))
                })
            }
            Err(refused) => refused,
        };
        let served = answer.extensions().get::<Served>().map_or("refused", |served| served.word());
        let (status, time) = (answer.status(), start.elapsed());
        metrics::answered(provider.name.as_ref(), served, status, time);
        tracing::debug!(
            provider = provider.name.as_deref(),
            served,
            status = status.as_u16(),
            ?time,
            "revocation request answered"
        );
        answer
    }

    /// The request with its body, within the limits of size and time.
    async fn whole(&self, request: Request<Incoming>) -> Result<Request<Vec<u8>>, Response<Vec<u8>>> {
        let most = self.limits.max_body.0;
        let refused = |status: StatusCode, description: &str| {
            self.refusals.tell(status, description);
            let mut answer = oauth_error(status, "invalid_request", description, None);
            // What was not read would be taken for the next request.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            answer
        };
        let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("the request has more than {most} bytes"));

        let (parts, body) = request.into_parts();
        // Before anything is read, so that a caller that asks first (Expect: 100-continue) need not send it.
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        match tokio::time::timeout(self.limits.read_timeout.0, Limited::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes().into())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "the request ended early")),
            Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive")),
        }
    }

    async fn readiness(&self, providers: &Providers) -> Response<Vec<u8>> {
        const NOT: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        if self.is_draining.load(Ordering::Relaxed) {
            return text(NOT, "not ready: draining\n");
        }
        match providers.check().await {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(NOT, &format!("not ready: {why}\n")),
        }
    }

    fn rendered_metrics(&self, providers: &Providers) -> Response<Vec<u8>> {
        let coordinators = providers.iter().map(|provider| (provider.name.as_ref(), &provider.coordinator));
        let mut answer = text(StatusCode::OK, &self.metrics.render(coordinators));
        let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, format);
        answer
    }
}

/// Tells a caller that got tokens how it came to them, and in which order they were obtained.
fn tell_of_fence(answer: &mut Response<Vec<u8>>, role: &'static str) {
    const FENCE: HeaderName = HeaderName::from_static("refresh-fence");
    const ROLE: HeaderName = HeaderName::from_static("refresh-role");
    if let Some(FenceOf(fence)) = answer.extensions().get().copied() {
        answer.headers_mut().insert(FENCE, HeaderValue::from(fence));
        answer.headers_mut().insert(ROLE, HeaderValue::from_static(role));
    }
}

fn text(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    let mut answer = Response::new(text.as_bytes().to_vec());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn not_found(providers: &Providers, port: Port) -> Response<Vec<u8>> {
    let what = match port {
        Port::All | Port::Tokens if providers.are_named() => "not found: no provider is served at this host and path\n",
        Port::All | Port::Admin => "not found\n",
        Port::Tokens => "not found: only tokens are asked for here\n",
    };
    text(StatusCode::NOT_FOUND, what)
}

fn not_allowed(allowed: &'static str) -> Response<Vec<u8>> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}
