//! Plain HTTP/1.1, straight to where the URL points.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::times::Times;
use super::unanswered::Unanswered;

/// How long a connection may rest and still be used: for less than a server keeps it (refreshd 30 s), or it is closed as the request
/// is sent.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Plain {
    http: Arc<legacy::Client<HttpConnector, Full<Bytes>>>,
    limit: Duration,
}

impl Plain {
    pub(super) fn new(connections: usize, times: Times) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(times.connect));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(IDLE)
            // A token is presented once, also where the connection was closed before anything was sent.
            .retry_canceled_requests(false)
            .build(connector);
        Self { http: Arc::new(http), limit: times.whole }
    }

    pub(super) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unanswered> {
        let answer = async {
            let answer = self.http.request(request.map(Full::from)).await;
            let (parts, body) = answer.map_err(|error| Unanswered::new(!error.is_connect(), &error))?.into_parts();
            let body = body.collect().await.map_err(|error| Unanswered::new(true, &error))?;
            Ok(Response::from_parts(parts, body.to_bytes().into()))
        };
        let in_time = tokio::time::timeout(self.limit, answer).await;
        in_time.unwrap_or_else(|late| Err(Unanswered::new(true, &late)))
    }
}
