//! The HTTP client of driver and pods: one attempt, no redirect, whatever the answer.
//!
//! What is asked over plain HTTP, as the built-in provider is, goes straight over hyper. TLS and proxies are the matter
//! of the feature `tls`: a first storm needs neither, and would have to wait for them to be built.

mod plain;
#[cfg(feature = "tls")]
mod tls;

use std::error::Error;
use std::time::Duration;

use http::uri::InvalidUri;
use http::{Request, Response, Uri};
use url::Url;

use plain::Plain;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What all presentations of a pod share.
#[derive(Clone)]
pub(crate) enum Client {
    Plain(Plain),
    #[cfg(feature = "tls")]
    Tls(tls::Tls),
}

/// Why there is no answer. Neither URL nor token is in it.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Whether the other side can have seen anything of the request.
    pub(crate) may_have_arrived: bool,
    /// From what failed to what it failed for.
    causes: Vec<String>,
}

impl Client {
    /// Asks these URLs, which were [checked](check), and waits for an answer for no longer than `limit`.
    pub(crate) fn new(urls: &[String], connections: usize, limit: Duration) -> Result<Self, Unanswered> {
        if urls.iter().all(|url| beyond_plain(url).is_none()) {
            return Ok(Self::Plain(Plain::new(connections, limit)));
        }
        #[cfg(feature = "tls")]
        return tls::Tls::new(urls, connections, limit).map(Self::Tls);
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

impl Unanswered {
    fn new(may_have_arrived: bool, error: &dyn Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self { may_have_arrived, causes }
    }

    /// All of it.
    pub(crate) fn reason(&self) -> String {
        self.causes.join(": ")
    }

    /// The innermost cause says what happened; the outer ones say that something did.
    pub(crate) fn cause(&self) -> &str {
        self.causes.last().map_or("", String::as_str)
    }
}

/// Whether this build can ask such a URL; if not, what is wrong with it, as a clause.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let expected = || format!("{url:?} is no URL of HTTP: expected https://host/path");
    let parsed = Url::parse(url).map_err(|_| expected())?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(expected());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // Not repeated: the password is in it.
        return Err("holds a user or a password: leave it out, clients authenticate themselves".to_owned());
    }
    match beyond_plain(url) {
        Some(what) if !cfg!(feature = "tls") => {
            Err(format!("{url} {what}, which this build leaves out to be built sooner: build it with --features tls"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The URL as requests name it: with the host in ASCII, and without a fragment.
pub(crate) fn target(url: &str) -> Result<Uri, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    url.as_str().parse().map_err(|error: InvalidUri| error.to_string())
}

/// What asking this URL takes beside plain HTTP, if anything.
fn beyond_plain(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    if url.scheme() == "https" {
        return Some("needs TLS".to_owned());
    }
    // `HTTP_PROXY` and its like are heeded, but not for this machine itself.
    const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxy = PROXIES.into_iter().find(is_set).filter(|_| !is_here(&url))?;
    Some(format!("is asked through the proxy that {proxy} names"))
}

fn is_here(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host == "localhost" || host == "[::1]" || host.starts_with("127."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_is_asked_by_builds_with_tls_only() {
        assert_eq!(check("http://127.0.0.1:1/token"), Ok(()));
        assert_eq!(check("https://idp.example/token").is_ok(), cfg!(feature = "tls"));
        for url in ["ftp://x/", "idp.example/token", "http://"] {
            assert!(check(url).is_err_and(|wrong| wrong.contains("no URL of HTTP")), "{url}");
        }
    }
}
