//! What is answered at which path: the token endpoint, the revocation endpoint, health, metrics, status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use refresh_coordinator::exchange::{FenceOf, Served, oauth_error};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::caller::Caller;
use crate::gauges;
use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::provider::{Asked, Provider};
use crate::providers::Providers;
use crate::recent::Recent;
use crate::refusals::Refusals;
use crate::spans;
use crate::status::{Status, page};
use crate::survey::Survey;
use crate::together::Together;

const AT_ONCE: Duration = Duration::ZERO;

/// What is asked at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Tokens, health and metrics.
    All,
    /// Tokens only: health and metrics have a port of their own.
    Tokens,
    /// Health, metrics and status.
    Admin,
}

/// Everything a request meets.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) providers: watch::Receiver<Arc<Providers>>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    pub(crate) survey: Survey,
    pub(crate) readiness: Together<Result<(), String>>,
    /// To render them takes a while, of which nobody is to have as much as it likes.
    pub(crate) rendered: Together<Arc<str>>,
    /// Logouts, which go on without their callers.
    pub(crate) revoking: TaskTracker,
    pub(crate) recent: Recent,
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
        // Whoever stands in front may have gone by the other one (RFC 9112 section 3.2).
        if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
            return self.refused(StatusCode::BAD_REQUEST, "the request has more than one Host");
        }
        let providers = Arc::clone(&self.providers.borrow());
        let found = if port == Port::Admin { None } else { providers.of(&request) };
        let asked = found.and_then(|(provider, below)| Some((provider, provider.asked(below)?)));
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match (asked, request.uri().path()) {
            // First, as the upstream's path is the operator's choice and may be any.
            (Some((provider, Asked::Token)), _) if request.method() == Method::POST => {
                let span = spans::of_request(provider.name.as_deref(), request.headers());
                self.token(provider, request, caller, &span).instrument(span.clone()).await
            }
            (Some((provider, Asked::Revocation)), _) if request.method() == Method::POST => {
                self.revocation(provider, request, caller).await
            }
            (None, _) if port == Port::Tokens => not_found(&providers, port),
            (_, "/healthz") if is_read => text(StatusCode::OK, "alive\n"),
            (_, "/readyz") if is_read => {
                let _answering = caller.answering().await;
                self.readiness(&providers).await
            }
            (_, "/metrics") if is_read => {
                let _answering = caller.answering().await;
                self.rendered_metrics(&providers).await
            }
            // Only there: it names the pods and the flights of all.
            (_, path @ ("/status" | "/status.json")) if port == Port::Admin => {
                if !is_read {
                    return not_allowed("GET, HEAD");
                }
                let _answering = caller.answering().await;
                let status = self.status(&providers).await;
                if path == "/status" { status_page(&status) } else { status_json(&status) }
            }
            (_, "/healthz" | "/readyz" | "/metrics") => not_allowed("GET, HEAD"),
            (Some(_), _) => not_allowed("POST"),
            (None, _) => not_found(&providers, port),
        }
    }

    async fn token(
        &self,
        provider: &Provider,
        request: Request<Incoming>,
        caller: &Caller,
        span: &Span,
    ) -> Response<Vec<u8>> {
        let start = Instant::now();
        let mut answer = match self.whole(provider, request).await {
            Ok(request) => {
                let _answering = caller.answering().await;
                let (upstream, name) = (Arc::clone(&provider.upstream.borrow()), provider.name.clone());
                let send = |request| async move {
                    let span = spans::of_sending(name.as_deref(), upstream.address().0);
                    let answered = upstream.send(request).instrument(span.clone()).await;
                    spans::note_answer(&span, &answered);
                    answered
                };
                provider.exchange.exchange(request, send).await
            }
            Err(refused) => refused,
        };
        let served = answer.extensions().get::<Served>().map_or("refused", |served| served.word());
        tell_of_fence(&mut answer, served);
        let (status, time) = (answer.status(), start.elapsed());
        span.record("served", served).record("status", status.as_u16());
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
        let answer = match self.whole(provider, request).await {
            Ok(request) => {
                let _answering = caller.answering().await;
                let exchange = provider.exchange.clone();
                // In a task of its own: a logout that has begun goes on without its caller.
                let revoking = self.revoking.spawn(async move { exchange.revoke(request).await });
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

    /// An answer to what is not read to its end.
    fn refused(&self, status: StatusCode, description: &str) -> Response<Vec<u8>> {
        self.refusals.tell(status, description);
        let mut answer = oauth_error(status, "invalid_request", description, None);
        // What was not read would be taken for the next request.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    /// The request with its body, within the limits of size and time.
    async fn whole(
        &self,
        provider: &Provider,
        request: Request<Incoming>,
    ) -> Result<Request<Vec<u8>>, Response<Vec<u8>>> {
        let most = self.limits.max_body.0;
        let too_large =
            || self.refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("the request has more than {most} bytes"));

        let (parts, body) = request.into_parts();
        // Its caller's fault, and not that of the provider, which cannot be sent it.
        if !provider.upstream.borrow().has_room_for(parts.uri.query()) {
            return Err(self.refused(StatusCode::URI_TOO_LONG, "the query is too long"));
        }
        // Before anything is read, so that a caller that asks first (Expect: 100-continue) need not send it.
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        match tokio::time::timeout(self.limits.read_timeout.0, Limited::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes().into())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(self.refused(StatusCode::BAD_REQUEST, "the request ended early")),
            Err(_) => Err(self.refused(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive")),
        }
    }

    async fn readiness(&self, providers: &Providers) -> Response<Vec<u8>> {
        const NOT: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        if self.is_draining.load(Ordering::Relaxed) {
            return text(NOT, "not ready: draining\n");
        }
        match self.readiness.of(async || providers.check().await).await {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(NOT, &format!("not ready: {why}\n")),
        }
    }

    /// Within a bounded time, whether the stores answer or not.
    async fn status(&self, providers: &Providers) -> Status {
        let surveyed = self.survey.of(providers).await;
        Status::new(&surveyed, &self.recent, self.is_draining.load(Ordering::Relaxed))
    }

    /// As `status`.
    async fn rendered_metrics(&self, providers: &Providers) -> Response<Vec<u8>> {
        let rendered = self.rendered.of(async || {
            let read_now = gauges::text(&self.survey.of(providers).await);
            let coordinators = providers.iter().map(|provider| &provider.coordinator);
            self.metrics.render(coordinators, &read_now).into()
        });
        let mut answer = text(StatusCode::OK, &rendered.await);
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

fn status_page(status: &Status) -> Response<Vec<u8>> {
    let mut answer = text(StatusCode::OK, &status.html());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn status_json(status: &Status) -> Response<Vec<u8>> {
    let mut answer = text(StatusCode::OK, &status.json());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
