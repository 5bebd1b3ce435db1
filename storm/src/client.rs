//! The HTTP client of driver and pods: one attempt, no redirect, whatever the answer.
//!
//! What is asked over plain HTTP, as the built-in provider is, goes straight over hyper. TLS and proxies are the matter
//! of the feature `tls`: a first storm needs neither, and would have to wait for them to be built.

mod unanswered;
mod times;
mod plain;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use http::{Request, Response};

use crate::urls;
use plain::Plain;
use times::Times;
pub(crate) use unanswered::Unanswered;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What all presentations of a pod share.
#[derive(Clone)]
pub(crate) enum Client {
    Plain(Plain),
    #[cfg(feature = "tls")]
    Tls(tls::Tls),
}

impl Client {
    /// Asks these URLs, which were [checked](urls::check), and waits for an answer for no longer than `limit`.
    pub(crate) fn new(urls: &[String], connections: usize, limit: Duration) -> Result<Self, Unanswered> {
        let times = Times { connect: CONNECT, whole: limit };
        if urls.iter().all(|url| urls::beyond_plain(url).is_none()) {
            return Ok(Self::Plain(Plain::new(connections, times)));
        }
        #[cfg(feature = "tls")]
        return tls::Tls::new(urls, connections, times).map(Self::Tls);
        #[cfg(not(feature = "tls"))]
        unreachable!("BUG: such URLs are refused before anything runs");
    }

    /// Sends the request once and takes the whole answer.
    ///
    /// # Cancellation
    ///
    /// The request may have been sent, in part or whole.
    pub(crate) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unanswered> {
        match self {
            Self::Plain(plain) => plain.ask(request).await,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.ask(request).await,
        }
    }
}
