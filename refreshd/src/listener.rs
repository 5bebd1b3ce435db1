//! Connections of callers: accepted up to a limit, read within a time, drained at the end.
//!
//! HTTP/1.1 only, in clear or over TLS: its reading can be bounded from the first byte on.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use refresh_coordinator_cli::BadSetting;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::caller_tls;
use crate::callers::Callers;
use crate::endpoint::{Endpoint, Port};
use crate::limits::Limits;
use crate::metrics::{Connection, NO_TLS, REFUSED};
use crate::noted::Noted;

/// Whether this can be an address, which this flag says: seen without a network.
pub(crate) fn can_be_address(flag: &str, address: &str) -> Result<(), BadSetting> {
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte))
    };
    match address.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(BadSetting::new(format!(
            "{flag} {address} is no address with a port: give one such as 127.0.0.1:8400, or [::]:8400 for all of this machine"
        ))),
    }
}

/// Takes an address, which this flag says.
pub(crate) async fn bind(flag: &str, address: &str) -> Result<TcpListener, BadSetting> {
    listening(address).await.map_err(|error| {
        BadSetting::new(format!(
            "{flag} {address} cannot be listened at: {error}; give a free address of this machine, such as \
             127.0.0.1:8400"
        ))
    })
}

async fn listening(address: &str) -> std::io::Result<TcpListener> {
    let mut refused = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no address");
    for address in tokio::net::lookup_host(address).await? {
        let listening = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.set_send_buffer_size(UNREAD)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match listening() {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Serves until `stop`, then gives back what is left to drain. The listener is closed by then.
pub(crate) async fn serve(
    listener: TcpListener,
    callers: Arc<Callers>,
    endpoint: Arc<Endpoint>,
    port: Port,
    limits: &Limits,
    tls: caller_tls::Current,
    stop: CancellationToken,
) -> GracefulShutdown {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout.0)
        .max_header_size(limits.max_headers.0)
        .max_buf_size(2 * limits.max_headers.0)
        .max_headers(100);
    let open = GracefulShutdown::new();

    let serve_caller = |stream: TcpStream, peer: IpAddr| {
        // Answers are one small write: waiting for more only adds delay.
        let _ = stream.set_nodelay(true);
        let (endpoint, stop, admitted) = (Arc::clone(&endpoint), stop.clone(), callers.admit(peer));
        let told = Arc::clone(&endpoint);
        let (write_timeout, patience) = (limits.write_timeout.0, limits.read_timeout.0);
        let (http, tls) = (http.clone(), tls.borrow().clone().map(|shown| shown.config));
        // It counts as open from now on.
        let watcher = open.watcher();
        tokio::spawn(async move {
            let place = tokio::select! {
                place = admitted => place,
                // Where there are no places, the drain is not held up.
                () = a_moment_after(&stop) => None,
            };
            let Some(place) = place else { return metrics::counter!(REFUSED).increment(1) };
            let counted = Connection::open();
            let caller = Arc::clone(&place.caller);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let (endpoint, caller) = (Arc::clone(&endpoint), Arc::clone(&caller));
                async move {
                    let answer = endpoint.answer(request, port, &caller).await;
                    Ok::<_, std::convert::Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
                }
            });
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(write_timeout));
            let stream = Noted::new(stream, Arc::clone(&place.caller));
            let is_over_tls = tls.is_some();
            let served = async {
                let stream = match tls {
                    None => Either::Left(stream),
                    Some(tls) => match tokio::time::timeout(patience, TlsAcceptor::from(tls).accept(stream)).await {
                        Ok(Ok(stream)) => Either::Right(stream),
                        failed => {
                            let error = failed.ok().and_then(Result::err);
                            match error.as_ref().and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>()) {
                                Some(rustls::Error::InvalidMessage(_)) => {
                                    told.refusals
                                        .tell_of_handshake("no TLS is spoken, as --tls-cert wants it: send https://");
                                }
                                Some(wrong) => told.refusals.tell_of_handshake(&wrong.to_string()),
                                // As those are that look whether somebody listens.
                                None => tracing::debug!(
                                    error = error.map(display),
                                    "a caller did not come to speak TLS in time"
                                ),
                            }
                            return metrics::counter!(NO_TLS).increment(1);
                        }
                    },
                };
                match watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await {
                    Ok(()) => {}
                    // Answered by the HTTP server with 400 or 431. The error quotes nothing of it.
                    Err(error) if error.is_parse() => {
                        let otherwise = place.caller.speaks_otherwise().filter(|_| !is_over_tls);
                        let reason = otherwise.map_or_else(|| error.to_string(), str::to_owned);
                        told.refusals.tell(StatusCode::BAD_REQUEST, &reason);
                    }
                    Err(error) => tracing::debug!(%error, "a connection ended early"),
                }
            };
            tokio::select! {
                biased;
                // First: what is cut begins nothing more.
                () = place.caller.is_cut() => tracing::debug!("a connection that waited for its caller is cut"),
                () = served => {}
            }
            drop((counted, place));
        });
    };
    let accepting = async {
        let mut told = None;
        while let Some((stream, peer)) = stop.run_until_cancelled(accept(&listener, &mut told)).await {
            serve_caller(stream, peer);
        }
    };
    tokio::select! {
        () = accepting => {}
        () = callers.make_way() => unreachable!("BUG: it never ends"),
    }
    // Last: those that the kernel has taken already would be reset with what they have sent, and a proxy sends no POST twice.
    if let Ok(listener) = listener.into_std() {
        for (stream, address) in std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG as usize) {
            if let Ok(()) = stream.set_nonblocking(true)
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serve_caller(stream, peer_of(address.ip()));
            }
        }
    }
    open
}

/// So many connections the kernel keeps for a listener, or as many as it is allowed to (net.core.somaxconn). Beyond that a newcomer
/// tries again after a second: many that come at once are not to make others do that.
const BACKLOG: u32 = 4096;
/// How many bytes of answers the kernel takes for a caller that does not read them (Linux takes twice as many). By itself it takes
/// megabytes, for each connection, and so many requests in a row are answered before one that reads nothing is noticed.
const UNREAD: u32 = 128 * 1024;
/// How long the last connections may wait for places.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

async fn a_moment_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(A_MOMENT).await;
}

/// Who counts as one: an address, and of IPv6 a /64, all addresses of which one machine may have.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// The next connection, and whose it is. That there is none is told once a second at most.
async fn accept(listener: &TcpListener, told: &mut Option<Instant>) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, peer_of(address.ip())),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
                    tracing::warn!(%error, "no connection could be accepted");
                    *told = Some(Instant::now());
                }
                // Out of files, most likely: they come back as connections end, not by asking at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_an_address_is_seen_without_a_network() {
        for address in ["127.0.0.1:0", "[::]:8400", "[fe80::1%eth0]:8400", "::1:8400", "refreshd-1.internal:80"] {
            can_be_address("--listen", address).expect(address);
        }
        for address in ["", "8400", ":8400", "*:8400", "http://a:80", "/run/a:80", " a:80", "a:80\n", "a:65536", "a:"] {
            assert!(can_be_address("--listen", address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn address_counts_as_one_and_of_ipv6_its_64() {
        let peer = |text: &str| peer_of(text.parse().expect("an address")).to_string();

        assert_eq!(peer("192.0.2.7"), "192.0.2.7");
        assert_eq!(peer("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    }
}
