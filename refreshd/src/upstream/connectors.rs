//! Which HTTP a connection may speak: HTTP/2 where the provider offers it, until it shows that it does not speak that well.

use std::error::Error;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use rustls::{AlertDescription, ClientConfig};
use tower_service::Service;

use super::route::{Hop, Route};
use super::tls;

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connectors {
    any: HttpsConnector<Route>,
    http1: HttpsConnector<Route>,
    is_http1_only: AtomicBool,
}

impl Connectors {
    pub(super) fn new(route: Route, tls: ClientConfig) -> Self {
        let http1 = HttpsConnector::from((route.clone(), tls::http1_only(tls.clone())));
        Self { any: HttpsConnector::from((route, tls)), http1, is_http1_only: AtomicBool::new(false) }
    }

    pub(super) async fn connect(&self, url: &Uri) -> Result<MaybeHttpsStream<Hop>, Box<dyn Error + Send + Sync>> {
        let is_http1_only = !self.may_speak_http2();
        let mut connector = if is_http1_only { self.http1.clone() } else { self.any.clone() };
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        let connected = connector.call(url.clone()).await;
        if is_http1_only && connected.as_ref().is_err_and(|error| speaks_another_protocol(&**error)) {
            // HTTP/2 with its faults is more than nothing.
            self.is_http1_only.store(false, Ordering::Relaxed);
        }
        connected
    }

    pub(super) fn may_speak_http2(&self) -> bool {
        !self.is_http1_only.load(Ordering::Relaxed)
    }

    /// No further connection speaks HTTP/2, where the provider takes another.
    pub(super) fn leave_http2(&self) {
        if !self.is_http1_only.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the provider's HTTP/2 breaks the rules, or it wants HTTP/1.1: that is spoken to it from now on"
            );
        }
    }
}

/// Whether the provider has none of the protocols that it was offered (RFC 7301 section 3.2).
fn speaks_another_protocol(error: &(dyn Error + 'static)) -> bool {
    let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    tls::fault_in(error).is_some_and(|fault| *fault == alert)
}
