//! `refreshd ready`: asks a refreshd whether it is ready. For health checks where nothing else speaks HTTP, such as in
//! an image that holds this program alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use refresh_coordinator_cli::{BadSetting, Span, complain, print_line};
use tokio::net::TcpStream;
use url::Url;

/// Asks a refreshd whether it is ready
///
/// Exit code 0: it serves, and reaches its store. 1: it does not, or nobody answers. 2: a setting is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ready {
    /// What is asked, an http:// URL [default: /readyz where --admin says, or --listen]
    #[arg(long, value_name = "URL", env = "REFRESHD_READY_URL")]
    url: Option<String>,
    /// Where that refreshd listens; an address that stands for all of a machine is asked on the loopback
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_LISTEN", default_value = "127.0.0.1:8400")]
    listen: String,
    /// Where it is asked instead, where that refreshd has --admin
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_ADMIN")]
    admin: Option<String>,
    /// Given where that refreshd speaks TLS at --listen: only its --admin can be asked then
    #[arg(long, value_name = "FILE", env = "REFRESHD_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// How long the answer may take. A refreshd that waits for its store answers within twice --store-timeout
    #[arg(long, value_name = "TIME", env = "REFRESHD_READY_TIMEOUT", default_value = "3s")]
    timeout: Span,
}

/// More than /readyz ever says.
const LARGEST_ANSWER: usize = 4096;

impl Ready {
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        let url = self.asked()?;
        let answer = tokio::time::timeout(self.timeout.0, ask(&url)).await;
        let (is_ready, said) = match answer {
            Ok(Ok((response, body))) => (response.status().is_success(), told(&response, &body)),
            Ok(Err(error)) => (false, format!("not ready: {url} cannot be asked: {error}")),
            Err(_) => (false, format!("not ready: {url} did not answer within {}", self.timeout)),
        };
        if is_ready {
            print_line(said);
            return Ok(ExitCode::SUCCESS);
        }
        complain(format_args!("refreshd: {said}"));
        Ok(ExitCode::FAILURE)
    }

    fn asked(&self) -> Result<Url, BadSetting> {
        let Some(url) = &self.url else {
            let (flag, address) = match (&self.admin, &self.tls_cert) {
                (Some(admin), _) => ("--admin", admin),
                (None, None) => ("--listen", &self.listen),
                (None, Some(_)) => {
                    return Err(BadSetting::new(
                        "with --tls-cert, --listen speaks TLS, and this asks in clear: give that refreshd an --admin such as \
                         127.0.0.1:8401, and this the same",
                    ));
                }
            };
            let url = format!("http://{}/readyz", on_loopback(address));
            return Url::parse(&url).map_err(|_| {
                BadSetting::new(format!("{flag} {address} is no address: give one such as 127.0.0.1:8400"))
            });
        };
        let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "http" && url.has_host());
        // Not repeated: it may hold a password.
        let parsed = parsed.filter(|url| url.username().is_empty() && url.password().is_none());
        parsed.ok_or_else(|| {
            BadSetting::new("--url is no plain http:// URL: expected one such as http://127.0.0.1:8400/readyz")
        })
    }
}

/// An address that stands for all addresses of this machine can be listened at, not asked.
fn on_loopback(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            let loopback: IpAddr =
                if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(loopback, address.port()).to_string()
        }
        Ok(_) | Err(_) => listen.to_owned(),
    }
}

async fn ask(url: &Url) -> io::Result<(Response<()>, Bytes)> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        unreachable!("BUG: only http:// URLs with a host are asked");
    };
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let request = Request::get(path).header(header::HOST, authority).body(Empty::<Bytes>::new());
    // It ends with this process; what goes wrong with it is told by the request.
    tokio::spawn(connection);
    let sent = sender.send_request(request.map_err(io::Error::other)?).await;
    let (parts, body) = sent.map_err(io::Error::other)?.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(io::Error::other)?;
    Ok((Response::from_parts(parts, ()), body.to_bytes()))
}

/// What it says of itself, as one line.
fn told(response: &Response<()>, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match response.status() {
        status if status.is_success() || line.starts_with("not ready") => line,
        status => format!("not ready: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_machine_are_asked_on_its_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8400", "127.0.0.1:8400"),
            ("[::]:1", "[::1]:1"),
            ("10.1.2.3:8400", "10.1.2.3:8400"),
            ("localhost:8400", "localhost:8400"),
        ] {
            assert_eq!(on_loopback(listen), asked);
        }
    }
}
