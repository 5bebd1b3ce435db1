//! The provider's revocation endpoint (RFC 7009): asked as its token endpoint is, over connections of its own, so that a logout
//! waits for nothing that is passed on.

use std::time::Duration;

use http::{Request, Response, Uri};
use refresh_coordinator::exchange::SendError;
use refresh_coordinator_cli::BadSetting;
use tokio::sync::Semaphore;
use url::Url;

use super::address;
use super::connections::{Bounds, Connections, Target};
use super::outgoing::outgoing;

pub(super) const FLAG: &str = "--revocation-upstream";
const EXPECTED: &str = "expected such as https://idp.example/oauth2/revoke";

/// Reads what the operator gave. Its path is to be another one than those at which tokens are asked for.
pub(super) fn read(address: &str, taken: &[&str]) -> Result<Url, BadSetting> {
    let url = address::read(FLAG, address, EXPECTED)?;
    match taken.contains(&url.path()) {
        true => Err(wrong(&format!("has the path {}, at which tokens are asked for", url.path()))),
        false => Ok(url),
    }
}

pub(super) fn not_over_http() -> BadSetting {
    wrong("cannot be asked for over HTTP")
}

fn wrong(what: &str) -> BadSetting {
    BadSetting::new(format!("{FLAG} {what}; {EXPECTED}"))
}

#[derive(Debug)]
pub(super) struct Revocation {
    url: Url,
    uri: Uri,
    connections: Connections,
    places: Semaphore,
    connect_timeout: Duration,
}

impl Revocation {
    pub(super) fn at(url: Url, target: Target, bounds: Bounds, places: u32) -> Self {
        Self {
            url,
            uri: target.url.clone(),
            connections: Connections::new(target, bounds),
            places: Semaphore::new(places as usize),
            connect_timeout: bounds.connect,
        }
    }

    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn address(&self) -> (String, u16) {
        address::host_and_port(&self.url)
    }

    pub(super) fn is_in_clear(&self) -> bool {
        address::is_in_clear(&self.url)
    }

    /// Sends a request, once, and takes the whole answer.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        let (request, _) = outgoing(request, &self.uri)?;
        let Ok(Ok(_place)) = tokio::time::timeout(self.connect_timeout, self.places.acquire()).await else {
            return Err(SendError::NotSent("all places are taken (setting --max-passed-on)".to_owned()));
        };
        self.connections.ask(request, None).await
    }

    pub(super) async fn close_idle(&self) {
        self.connections.close_idle().await;
    }
}
