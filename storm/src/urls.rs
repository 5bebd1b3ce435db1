//! Which URLs this build can ask, and how requests name them.

use http::Uri;
use http::uri::InvalidUri;
use url::Url;

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
pub(crate) fn beyond_plain(url: &str) -> Option<String> {
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

pub(crate) fn is_here(url: &Url) -> bool {
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
