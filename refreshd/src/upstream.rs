//! The way to the provider: a token request is sent once.
//!
//! It never retries what the provider may have processed, follows no redirect and probes nothing (a token request is not
//! idempotent, RFC 9110 section 9.2.2). It goes straight to the provider, or by `--upstream-proxy`: proxies named in the
//! environment are not used, since a secret must not take a way that nobody configured here. TLS is verified against the
//! certificates of the system, or against `--ca-file` alone.

mod address;
mod answer;
mod chain;
mod connections;
mod connectors;
mod counted;
mod document;
mod failed;
mod faults;
mod framing;
mod head;
mod http1;
mod http2;
mod open;
mod outgoing;
mod proxy;
mod reach;
mod revocation;
mod route;
mod share;
mod tls;
mod untidy;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri};
use refresh_coordinator::exchange::{Purpose, SendError};
use refresh_coordinator::{Attempt, Config, Secret};
use refresh_coordinator_cli::{BadSetting, Size, Span, secret};
use url::{Position, Url};

use crate::stamps::Stamps;

pub(crate) use document::{Document, document_url};
pub(crate) use reach::Unreached;
pub(crate) use share::leave_places_to_refreshes;

use connections::{Bounds, Connections, Target};
use outgoing::outgoing;
use reach::reach;
use revocation::{By, Revocation};
use share::Share;
use tls::ClientFiles;

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(crate) struct UpstreamSettings {
    // Not a doc comment, which rustdoc would read for links.
    #[arg(
        long,
        value_name = "URL",
        env = "REFRESHD_UPSTREAM",
        required_unless_present = "config",
        help = "The provider's token endpoint, such as https://idp.example/oauth2/token"
    )]
    upstream: Option<String>,
    // Not a doc comment, which rustdoc would read for links.
    #[arg(
        long,
        value_name = "URL",
        env = "REFRESHD_REVOCATION_UPSTREAM",
        help = "The provider's revocation endpoint, such as https://idp.example/oauth2/revoke. Then a logout is taken at POST \
                /revoke and at this URL's path: it ends the session for the whole fleet [default: none, no revocation is taken]"
    )]
    revocation_upstream: Option<String>,
    /// The provider's name: pods that share a namespace have the same, whatever the URL each of them asks
    /// [default: the host of --upstream, with the port where the URL has one]
    #[arg(long, value_name = "NAME", env = "REFRESHD_PROVIDER_NAME")]
    provider_name: Option<String>,
    /// Trust these certificates (PEM) for the upstream and its proxy, and no others [default: those of the system]
    #[arg(long, value_name = "FILE", env = "REFRESHD_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM, with its chain) to show to an upstream that asks for one
    #[arg(long, value_name = "FILE", env = "REFRESHD_CLIENT_CERT", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The private key (PEM) of --client-cert
    #[arg(long, value_name = "FILE", env = "REFRESHD_CLIENT_KEY", requires = "client_cert")]
    client_key: Option<PathBuf>,
    // Not a doc comment, which rustdoc would read for links.
    #[arg(long, value_name = "URL", env = "REFRESHD_UPSTREAM_PROXY", hide_env_values = true, value_parser = secret(),
        help = "The forward proxy on the way to the upstream: http://[user:password@]host:port, or https:// where it is spoken \
                to over TLS. A URL with a password is taken from the environment only [default: none, whatever \
                HTTPS_PROXY says]")]
    upstream_proxy: Option<Secret>,
    /// How large an answer of the upstream may be; of a larger one nobody knows what it says
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_ANSWER", default_value_t = Size(1024 * 1024))]
    max_answer: Size,
    /// How many requests that are no refreshes ask the upstream at once; four times as many wait for --connect-timeout, and
    /// more are refused. Refreshes have connections of their own, and --max-concurrent-refreshes
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_PASSED_ON", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_passed_on: u32,
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

/// The token endpoint beside the upstream's own path.
pub(crate) const TOKEN_PATH: &str = "/token";

/// How long a connection to the provider may stay unused.
const IDLE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);

/// The provider's token endpoint, and the connections to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: Url,
    /// The same, as requests need it.
    uri: Uri,
    refreshes: Connections,
    revocation: Option<Revocation>,
    others: Share,
    stamps: Stamps,
}

const EXPECTED: &str = "expected such as https://idp.example/oauth2/token";

impl UpstreamSettings {
    /// What the fleet must agree on.
    pub(crate) fn provider_name(&self, upstream: &Upstream) -> String {
        // As the URL has it: a port only where it is not the scheme's.
        self.provider_name.clone().unwrap_or_else(|| upstream.url[Position::BeforeHost..Position::AfterPort].to_owned())
    }

    /// The client, checked as far as it can be without the provider.
    pub(crate) fn build(&self, config: &Config) -> Result<Upstream, BadSetting> {
        let stamps = Stamps::of(self.files());
        let missing = || BadSetting::new(format!("--upstream is not given; {EXPECTED}"));
        let url = address::read("--upstream", self.upstream.as_deref().ok_or_else(missing)?, EXPECTED)?;
        let limit = config.call_limit();
        let timeout = self.upstream_timeout.map_or(limit, |span| span.0);
        if timeout > limit {
            return Err(longer("--upstream-timeout", timeout, "--call-limit", limit));
        }
        if self.connect_timeout.0 > timeout {
            return Err(longer("--connect-timeout", self.connect_timeout.0, "--upstream-timeout", timeout));
        }
        let max_answer = self.max_answer.0;
        if !(1024..=64 * 1024 * 1024).contains(&max_answer) {
            return Err(BadSetting::new(format!("--max-answer is {}: it must be 1KiB to 64MiB", self.max_answer)));
        }
        let client = self.client_cert.as_ref().zip(self.client_key.as_ref());
        let target = self.target("--upstream", &url, client)?;
        let target =
            target.ok_or_else(|| BadSetting::new(format!("--upstream cannot be asked for over HTTP; {EXPECTED}")))?;
        if !IDLE.contains(&self.upstream_idle.0) {
            let (least, most) = (Span(*IDLE.start()), Span(*IDLE.end()));
            return Err(BadSetting::new(format!(
                "--upstream-idle is {}: it must be {least} to {most}",
                self.upstream_idle
            )));
        }
        let bounds = Bounds { connect: self.connect_timeout.0, whole: timeout, idle: self.upstream_idle.0, max_answer };
        let revocation = match &self.revocation_upstream {
            Some(address) => Some(self.revocation(address, &url, bounds, client)?),
            None => None,
        };
        Ok(Upstream {
            revocation,
            url,
            uri: target.url.clone(),
            refreshes: Connections::new(target.clone(), bounds),
            others: Share::new(target, bounds, self.max_passed_on),
            stamps,
        })
    }

    fn revocation(
        &self,
        address: &str,
        upstream: &Url,
        bounds: Bounds,
        client: ClientFiles<'_>,
    ) -> Result<Revocation, BadSetting> {
        let url = revocation::read(address, &[upstream.path(), TOKEN_PATH])?;
        let target = self.target(revocation::FLAG, &url, client)?.ok_or_else(revocation::not_over_http)?;
        Ok(Revocation::at(url, target, bounds, self.max_passed_on))
    }

    /// What it reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.client_cert, &self.client_key].into_iter().flatten()
    }

    /// The way to a URL, as it is to the upstream. None: it cannot be asked for over HTTP.
    fn target(&self, flag: &str, url: &Url, client: ClientFiles<'_>) -> Result<Option<Target>, BadSetting> {
        let tls = match &self.ca_file {
            Some(file) => tls::of_file(file, client)?,
            None if url.scheme() == "http" => tls::of_nobody(),
            None => tls::of_system(flag, client)?,
        };
        let to_proxy = |flag: &str| match &self.ca_file {
            Some(file) => tls::of_file(file, None).map(tls::http1_only),
            None => tls::of_system(flag, None).map(tls::http1_only),
        };
        let proxy = self.upstream_proxy.as_ref().map(|url| proxy::read(url, to_proxy)).transpose()?;
        let Ok(url) = url.as_str().parse::<Uri>() else { return Ok(None) };
        let host = url.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        Ok(host.map(|host| Target { url, host, tls, proxy }))
    }

    /// A document at another URL, which is asked for as the upstream is, but without a certificate of our own.
    pub(crate) fn document(&self, flag: &str, url: &str) -> Result<Document, BadSetting> {
        let url = document_url(flag, url)?;
        let target =
            self.target(flag, &url, None)?.ok_or_else(|| document::wrong(flag, "cannot be asked for over HTTP"))?;
        Ok(Document::at(target, self.connect_timeout.0))
    }

    /// Names the proxies of the environment that are not used, where there are any.
    pub(crate) fn tell_of_unused_proxies(&self) {
        let unused = proxy::named_by_environment();
        if self.upstream_proxy.is_none() && !unused.is_empty() {
            tracing::warn!(
                variables = unused.join(", "),
                "the proxy that the environment names is not used: name it by --upstream-proxy if it is wanted"
            );
        }
    }

    /// Connects to the provider once, as requests do, and sends nothing.
    pub(crate) async fn check(&self, upstream: &Upstream) -> Result<(), Unreached> {
        if self.no_check_upstream {
            return Ok(());
        }
        let within = self.connect_timeout;
        reach("--upstream", &upstream.url, &upstream.refreshes, within).await?;
        match &upstream.revocation {
            Some(revocation) if !revocation.is_beside(&upstream.url) => revocation.reach(within).await,
            Some(_) | None => Ok(()),
        }
    }
}

impl Upstream {
    /// The provider's own path of the token endpoint.
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    /// The provider's token endpoint, as it was given.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Host and port, for people.
    pub(crate) fn address(&self) -> (&str, u16) {
        let host = self.url.host_str().expect("BUG: checked when it was built");
        (host, self.url.port_or_known_default().expect("BUG: http and https have one"))
    }

    /// Its files, as they were when they were read.
    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// The path of the revocation endpoint, where there is one.
    pub(crate) fn revocation_path(&self) -> Option<&str> {
        self.revocation.as_ref().map(Revocation::path)
    }

    /// The addresses that proofs of clients may be made for: those of its endpoints.
    pub(crate) fn urls(&self) -> Vec<String> {
        let revocation = self.revocation.as_ref().map(Revocation::url);
        [Some(self.url()), revocation].into_iter().flatten().map(str::to_owned).collect()
    }

    /// Whether a request with this query can be written to its endpoints.
    pub(crate) fn has_room_for(&self, query: Option<&str>) -> bool {
        let uris = || [Some(&self.uri), self.revocation.as_ref().map(Revocation::uri)].into_iter().flatten();
        query.is_none_or(|query| uris().all(|uri| address::with_query(uri, query).is_ok()))
    }

    /// Whether secrets would cross a network in clear.
    pub(crate) fn is_in_clear(&self) -> bool {
        address::is_in_clear(&self.url) || self.revocation.as_ref().is_some_and(Revocation::is_in_clear)
    }

    /// Sends a request, once, and takes the whole answer. A refresh asks its attempt for leave when the connection is
    /// there.
    ///
    /// # Errors
    ///
    /// `NotSent` only where no connection came about, where it closed before anything of the request was written, or where another
    /// process may lead the refresh by then. `NotProcessed` where the provider vouches for that, twice. Whatever else happens on a
    /// connection is `Unknown`: it may have reached the provider.
    ///
    /// # Cancellation
    ///
    /// The request may have been sent, in part or whole.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendError> {
        if let Some(revocation) = &self.revocation {
            match request.extensions().get() {
                Some(Purpose::Revocation) => return revocation.send(request, By::Caller).await,
                Some(Purpose::OwnRevocation) => return revocation.send(request, By::Coordinator).await,
                _ => {}
            }
        }
        let (request, mut extensions) = outgoing(request, &self.uri)?;
        let attempt = extensions.remove::<Attempt>();
        if extensions.get() == Some(&Purpose::Refresh) {
            return self.refreshes.ask(request, attempt.as_ref()).await;
        }
        self.others.ask(request).await
    }

    /// Closes connections that were not used for a while. Never ends.
    pub(crate) async fn close_idle(&self) {
        let revocation = async {
            match &self.revocation {
                Some(revocation) => revocation.close_idle().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.refreshes.close_idle(), self.others.close_idle(), revocation);
    }
}

fn longer(flag: &str, value: Duration, other: &str, bound: Duration) -> BadSetting {
    let (value, bound) = (Span(value), Span(bound));
    BadSetting::new(format!("{flag} is {value}: it must not be longer than {other} ({bound})"))
}
