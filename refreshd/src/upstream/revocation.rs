//! The provider's revocation endpoint (RFC 7009): asked as its token endpoint is, over connections of its own, so that a logout
//! waits for nothing that is passed on.

use http::{Request, Response, Uri};
use refresh_coordinator::exchange::SendError;
use refresh_coordinator_cli::{BadSetting, Span};
use url::Url;

use super::address;
use super::connections::{Bounds, Target};
use super::outgoing::outgoing;
use super::reach::{Unreached, reach};
use super::share::Share;

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
    of_callers: Share,
    /// Callers with tokens that they made up cannot have its places.
    of_coordinator: Share,
}

/// By whom a token is revoked.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// As it was asked for.
    Caller,
    /// For a session that was ended: nobody asks for it again.
    Coordinator,
}

impl Revocation {
    /// A quarter of so many places is the coordinator's.
    pub(super) fn at(url: Url, target: Target, bounds: Bounds, most: u32) -> Self {
        let own = (most / 4).max(1);
        let others = most.saturating_sub(own).max(1);
        let uri = target.url.clone();
        let of_coordinator = Share::of_nobody(target.clone(), bounds, own);
        Self { url, uri, of_callers: Share::new(target, bounds, others), of_coordinator }
    }

    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is of the same server.
    pub(super) fn is_beside(&self, upstream: &Url) -> bool {
        self.url.origin() == upstream.origin()
    }

    pub(super) async fn reach(&self, within: Span) -> Result<(), Unreached> {
        reach(FLAG, &self.url, self.of_callers.connections(), within).await
    }

    pub(super) fn is_in_clear(&self) -> bool {
        address::is_in_clear(&self.url)
    }

    /// Sends a request, once, and takes the whole answer.
    pub(super) async fn send(&self, request: Request<Vec<u8>>, by: By) -> Result<Response<Vec<u8>>, SendError> {
        let (request, _) = outgoing(request, &self.uri)?;
        match by {
            By::Caller => self.of_callers.ask(request).await,
            By::Coordinator => self.of_coordinator.ask(request).await,
        }
    }

    pub(super) async fn close_idle(&self) {
        tokio::join!(self.of_callers.close_idle(), self.of_coordinator.close_idle());
    }
}
