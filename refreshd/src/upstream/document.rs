//! A document beside the token endpoint, read by GET: the keys of clients at their URL.

use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use refresh_coordinator_cli::BadSetting;
use url::Url;

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

    pub(crate) fn url(&self) -> &Uri {
        &self.url
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

/// The URL of a document by which others are believed.
pub(crate) fn document_url(flag: &str, url: &str) -> Result<Url, BadSetting> {
    let wrong = |what: &str| wrong(flag, what);
    let url = Url::parse(url).map_err(|_| wrong("is not a URL"))?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => {}
        "http" if is_local => {}
        // Who could change it on the way could make himself a client.
        _ => return Err(wrong("is no https:// URL")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user or a password"));
    }
    Ok(url)
}

pub(super) fn wrong(flag: &str, what: &str) -> BadSetting {
    BadSetting::new(format!("{flag} {what}; expected a file, or such as https://app.example/jwks"))
}
