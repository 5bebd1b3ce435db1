//! The way to the provider's address: straight, or by the forward proxy that the operator named.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// A forward proxy.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    /// `http://host:port`, or `https://host:port` where it is spoken to over TLS.
    pub(super) address: Uri,
    /// For an `https` one.
    pub(super) tls: ClientConfig,
    /// What it wants as Proxy-Authorization.
    pub(super) authorization: Option<HeaderValue>,
}

/// What leads to the provider or its proxy: TLS only to a proxy that has it.
pub(super) type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects over TCP, and over TLS to a proxy that has it.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Straight(HttpConnector),
    /// To a provider with TLS: the proxy sees names and sizes, and no token (RFC 9110 section 9.3.6).
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
    /// To a provider in clear: the proxy is sent the requests.
    ToProxy(HttpsConnector<HttpConnector>, Uri),
}

impl Route {
    pub(super) fn to(url: &Uri, proxy: Option<&Proxy>, connect_timeout: Duration) -> Self {
        let http = tcp(connect_timeout);
        let Some(Proxy { address, authorization, tls }) = proxy else { return Self::Straight(http) };
        let to_proxy = HttpsConnector::from((http, tls.clone()));
        if url.scheme_str() != Some("https") {
            return Self::ToProxy(to_proxy, address.clone());
        }
        let tunnel = Tunnel::new(address.clone(), to_proxy);
        Self::Tunnel(match authorization {
            Some(authorization) => tunnel.with_auth(authorization.clone()),
            None => tunnel,
        })
    }
}

fn tcp(connect_timeout: Duration) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    // Shared among the addresses of a name, so that a dead one leaves time for the next.
    http.set_connect_timeout(Some(connect_timeout));
    // A machine that vanished while its provider was thinking is noticed within a minute.
    http.set_keepalive(Some(Duration::from_secs(15)));
    http.set_keepalive_interval(Some(Duration::from_secs(15)));
    http.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    http.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    http
}

impl Service<Uri> for Route {
    type Response = Hop;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Straight(http) => http.poll_ready(cx).map_err(Into::into),
            Self::ToProxy(to_proxy, _) => to_proxy.poll_ready(cx),
            Self::Tunnel(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        match self {
            Self::Straight(http) => {
                let connecting = http.call(url);
                Box::pin(async { connecting.await.map(MaybeHttpsStream::Http).map_err(Into::into) })
            }
            Self::ToProxy(to_proxy, address) => to_proxy.call(address.clone()),
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(url);
                Box::pin(async { connecting.await.map_err(Into::into) })
            }
        }
    }
}
