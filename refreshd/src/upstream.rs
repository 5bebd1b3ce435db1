//! The way to the provider: a token request is sent once.
//!
//! It never retries, follows no redirect and probes nothing (a token request is not idempotent, RFC 9110 section
//! 9.2.2), asks for no encoding, and goes straight to the provider: proxies named in the environment are not used,
//! since a secret must not take a way that nobody configured here. TLS is verified against the certificates of the
//! system, or against `--ca-file` alone.

mod chain;
mod connections;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use refresh_coordinator::Config;
use refresh_coordinator::exchange::SendError;
use refresh_coordinator_cli::{BadSetting, Span};
use url::Url;

use connections::{Connections, Times};

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(crate) struct UpstreamSettings {
    // Not a doc comment, which rustdoc would read for links.
    #[arg(
        long,
        value_name = "URL",
        env = "REFRESHD_UPSTREAM",
        help = "The provider's token endpoint, such as https://idp.example/oauth2/token"
    )]
    upstream: String,
    /// Trust these certificates (PEM) for the upstream, and no others [default: those of the system]
    #[arg(long, value_name = "FILE", env = "REFRESHD_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// How long connecting may take, TLS included
    #[arg(long, value_name = "TIME", env = "REFRESHD_CONNECT_TIMEOUT", default_value = "5s")]
    connect_timeout: Span,
    /// How long a request to the upstream may take in all [default: as --call-limit]
    #[arg(long, value_name = "TIME", env = "REFRESHD_UPSTREAM_TIMEOUT")]
    upstream_timeout: Option<Span>,
    /// How long an idle connection is kept. Shorter than the provider keeps it: a request that meets the closing of
    /// its connection may have been lost or not, and nobody knows
    #[arg(long, value_name = "TIME", env = "REFRESHD_UPSTREAM_IDLE", default_value = "4s")]
    upstream_idle: Span,
    /// Do not connect to the upstream at start to see whether it is there
    #[arg(long, env = "REFRESHD_NO_CHECK_UPSTREAM")]
    no_check_upstream: bool,
}

/// The provider's token endpoint, and the connections to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: Url,
    /// The same, as requests need it.
    uri: Uri,
    connections: Connections,
}

const EXPECTED: &str = "expected such as https://idp.example/oauth2/token";

impl UpstreamSettings {
    /// The client, checked as far as it can be without the provider.
    pub(crate) fn build(&self, config: &Config) -> Result<Upstream, BadSetting> {
        let url = self.url()?;
        let limit = config.call_limit();
        let timeout = self.upstream_timeout.map_or(limit, |span| span.0);
        if timeout > limit {
            return Err(longer("--upstream-timeout", timeout, "--call-limit", limit));
        }
        if self.connect_timeout.0 > timeout {
            return Err(longer("--connect-timeout", self.connect_timeout.0, "--upstream-timeout", timeout));
        }
        let tls = match &self.ca_file {
            Some(file) => tls::of_file(file)?,
            None if url.scheme() == "http" => tls::of_nobody(),
            None => tls::of_system()?,
        };
        let unusable = || BadSetting::new(format!("--upstream cannot be asked for over HTTP; {EXPECTED}"));
        let uri: Uri = url.as_str().parse().map_err(|_| unusable())?;
        let host = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let times = Times { connect: self.connect_timeout.0, whole: timeout, idle: self.upstream_idle.0 };
        let connections = Connections::new(tls, uri.clone(), host.ok_or_else(unusable)?, times);
        Ok(Upstream { url, uri, connections })
    }

    fn url(&self) -> Result<Url, BadSetting> {
        // The text itself is not repeated: it may hold a password.
        let url = Url::parse(&self.upstream)
            .map_err(|error| BadSetting::new(format!("--upstream is not a URL: {error}; {EXPECTED}")))?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(BadSetting::new(format!("--upstream is a {} URL; {EXPECTED}", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadSetting::new(
                "--upstream holds a user or a password: leave it out, clients authenticate themselves",
            ));
        }
        if url.fragment().is_some() {
            return Err(BadSetting::new(format!("--upstream ends with a fragment (#...); {EXPECTED}")));
        }
        Ok(url)
    }

    /// Connects to the provider once, and sends nothing.
    pub(crate) async fn check(&self, upstream: &Upstream) -> Result<(), BadSetting> {
        if self.no_check_upstream {
            return Ok(());
        }
        let (host, port) = upstream.address();
        let connect = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port));
        let reason = match tokio::time::timeout(self.connect_timeout.0, connect).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {}", self.connect_timeout),
        };
        Err(BadSetting::new(format!(
            "--upstream: {host}:{port} cannot be reached: {reason}; correct the URL, or start without looking by \
             --no-check-upstream"
        )))
    }
}

impl Upstream {
    /// The provider's own path of the token endpoint.
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    /// What the fleet must agree on.
    pub(crate) fn name(&self) -> String {
        self.url.to_string()
    }

    /// Host and port, for people.
    pub(crate) fn address(&self) -> (&str, u16) {
        let host = self.url.host_str().expect("BUG: checked when it was built");
        (host, self.url.port_or_known_default().expect("BUG: http and https have one"))
    }

    /// Whether secrets would cross a network in clear.
    pub(crate) fn is_in_clear(&self) -> bool {
        let host = self.address().0.trim_matches(['[', ']']);
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        self.url.scheme() == "http" && !is_loopback
    }

    /// Sends a request, once, and takes the whole answer.
    ///
    /// # Errors
    ///
    /// `NotSent` only where no connection came about, or where it closed before anything of the request was written;
    /// whatever else happens on one may have reached the provider.
    ///
    /// # Cancellation
    ///
    /// The request may have been sent, in part or whole.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        let (parts, body) = request.into_parts();
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = parts.method;
        *request.headers_mut() = parts.headers;
        *request.uri_mut() = match parts.uri.query() {
            None => self.uri.clone(),
            Some(query) => self.with_query(query).map_err(|error| SendError::NotSent(error.to_string()))?,
        };
        self.connections.ask(request).await
    }

    /// Closes connections that were not used for a while. Never ends.
    pub(crate) async fn close_idle(&self) {
        self.connections.close_idle().await;
    }

    /// The URL with the parameters of a request behind its own.
    fn with_query(&self, query: &str) -> Result<Uri, http::Error> {
        let path = self.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(format!("{path}{separator}{query}").try_into()?);
        Ok(Uri::from_parts(parts)?)
    }
}

fn longer(flag: &str, value: Duration, other: &str, bound: Duration) -> BadSetting {
    let (value, bound) = (Span(value), Span(bound));
    BadSetting::new(format!("{flag} is {value}: it must not be longer than {other} ({bound})"))
}
