//! The URL of an endpoint of the provider: what it must be, and what a caller may add to it.

use http::Uri;
use http::uri::PathAndQuery;
use refresh_coordinator_cli::BadSetting;
use url::Url;

/// Reads what the operator gave.
pub(super) fn read(flag: &str, address: &str, expected: &str) -> Result<Url, BadSetting> {
    // The text itself is not repeated: it may hold a password.
    let url =
        Url::parse(address).map_err(|error| BadSetting::new(format!("{flag} is not a URL: {error}; {expected}")))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(BadSetting::new(format!("{flag} is a {} URL; {expected}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadSetting::new(format!(
            "{flag} holds a user or a password: leave it out, clients authenticate themselves"
        )));
    }
    if url.fragment().is_some() {
        return Err(BadSetting::new(format!("{flag} ends with a fragment (#...); {expected}")));
    }
    Ok(url)
}

/// Of a URL that was read here.
pub(super) fn host_and_port(url: &Url) -> (String, u16) {
    let host = url.host_str().expect("BUG: checked when it was read");
    (host.to_owned(), url.port_or_known_default().expect("BUG: http and https have one"))
}

/// Whether secrets would cross a network in clear on the way there.
pub(super) fn is_in_clear(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    url.scheme() == "http" && !is_loopback
}

/// The URL with the parameters of a request behind its own, but for those of the same name: what the operator wrote
/// stands.
pub(super) fn with_query(uri: &Uri, query: &str) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let own = path.split_once('?').map_or("", |(_, own)| own);
    let name = |pair: &str| {
        let decoded = form_urlencoded::parse(pair.as_bytes()).next();
        decoded.map(|(name, _)| name.trim().to_lowercase()).unwrap_or_default()
    };
    let own: Vec<String> = own.split('&').map(name).collect();
    let added: Vec<&str> = query.split('&').filter(|pair| !own.contains(&name(pair))).collect();
    if added.is_empty() {
        return Ok(uri.clone());
    }
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{separator}{}", added.join("&")).try_into()?);
    Ok(Uri::from_parts(parts)?)
}
