//! A document beside the token endpoint, read by GET: the keys of clients at their URL.

use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::Full;

use super::connections::{Bounds, Connections, Target};

/// How long reading it may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// How large it may be.
const MOST: usize = 1024 * 1024;

/// Where it is, and the way there.
#[derive(Debug)]
pub(crate) struct Document {
    url: Uri,
    connections: Connections,
}

impl Document {
    pub(super) fn at(target: Target, connect: Duration) -> Self {
        let bounds = Bounds { connect: connect.min(LIMIT), whole: LIMIT, idle: Duration::ZERO, max_answer: MOST };
        Self { url: target.url.clone(), connections: Connections::new(target, bounds) }
    }

    /// Its text; else its URL and why it cannot be read.
    pub(crate) async fn read(&self) -> Result<Vec<u8>, String> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.url.clone();
        let answer = self.connections.ask(request, None).await.map_err(|error| format!("{}: {error}", self.url))?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(format!("{}: status {}", self.url, status.as_u16())),
        }
    }
}
