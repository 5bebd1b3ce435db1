//! What is answered at which path: the token endpoint, health, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator::exchange::{Served, TokenExchange, oauth_error};

use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::upstream::Upstream;

/// The token endpoint beside the upstream's own path.
const TOKEN_PATH: &str = "/token";

/// Everything a request meets.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) exchange: TokenExchange,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) coordinator: RefreshCoordinator,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    /// Set when no new work is wanted; never taken back.
    pub(crate) is_draining: AtomicBool,
}

impl Endpoint {
    /// Answers any request. Nothing of an answer may be stored on the way.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Vec<u8>> {
        let path = request.uri().path();
        let is_token = path == TOKEN_PATH || path == self.upstream.path();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            // First, as the upstream's path is the operator's choice and may be any.
            _ if is_token && request.method() == Method::POST => self.token(request).await,
            "/healthz" if is_read => text(StatusCode::OK, "alive\n"),
            "/readyz" if is_read => self.readiness().await,
            "/metrics" if is_read => self.rendered_metrics(),
            "/healthz" | "/readyz" | "/metrics" => not_allowed("GET, HEAD"),
            _ if is_token => not_allowed("POST"),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn token(&self, request: Request<Incoming>) -> Response<Vec<u8>> {
        let start = Instant::now();
        let answer = match self.whole(request).await {
            Ok(request) => {
                let upstream = Arc::clone(&self.upstream);
                self.exchange.exchange(request, |request| async move { upstream.send(request).await }).await
            }
            Err(refused) => refused,
        };
        let served = answer.extensions().get::<Served>().map_or("refused", |served| served.word());
        let (status, time) = (answer.status(), start.elapsed());
        metrics::answered(served, status, time);
        tracing::debug!(served, status = status.as_u16(), ?time, "token request answered");
        answer
    }

    /// The request with its body, within the limits of size and time.
    async fn whole(&self, request: Request<Incoming>) -> Result<Request<Vec<u8>>, Response<Vec<u8>>> {
        let most = self.limits.max_body.0;
        let refused = |status, description: &str| {
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

    async fn readiness(&self) -> Response<Vec<u8>> {
        const NOT: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        if self.is_draining.load(Ordering::Relaxed) {
            return text(NOT, "not ready: draining\n");
        }
        match self.coordinator.check_store().await {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(error) => {
                tracing::warn!(%error, "not ready");
                text(NOT, "not ready: the store is out of reach\n")
            }
        }
    }

    fn rendered_metrics(&self) -> Response<Vec<u8>> {
        let mut answer = text(StatusCode::OK, &self.metrics.render(&self.coordinator));
        let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, format);
        answer
    }
}

fn text(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    let mut answer = Response::new(text.as_bytes().to_vec());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn not_allowed(allowed: &'static str) -> Response<Vec<u8>> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}
