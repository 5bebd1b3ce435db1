//! What `--upstream-proxy` says, and what the environment says that is not listened to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderValue, Uri};
use refresh_coordinator::Secret;
use refresh_coordinator_cli::{BadSetting, is_shown_to_everybody};
use rustls::ClientConfig;
use url::Url;

use super::route::Proxy;
use super::tls;

const EXPECTED: &str = "expected such as http://proxy.example:3128";

/// The proxy of this URL. The text itself is never repeated: it may hold a password. `tls` is asked for where the proxy is
/// spoken to over TLS, with the flag that wants it.
pub(super) fn read(
    text: &Secret,
    tls: impl FnOnce(&str) -> Result<ClientConfig, BadSetting>,
) -> Result<Proxy, BadSetting> {
    if is_shown_to_everybody(text) {
        return Err(BadSetting::new(
            "--upstream-proxy holds a password, which everybody on this machine can read in the list of processes: give \
             the URL by the environment variable REFRESHD_UPSTREAM_PROXY",
        ));
    }
    let url = Url::parse(text.expose())
        .map_err(|error| BadSetting::new(format!("--upstream-proxy is not a URL: {error}; {EXPECTED}")))?;
    let wrong = |what: &str| BadSetting::new(format!("--upstream-proxy {what}; {EXPECTED}"));
    let tls = match url.scheme() {
        "http" => tls::of_nobody(),
        "https" => tls("--upstream-proxy")?,
        _ => return Err(wrong("is no http:// or https:// URL")),
    };
    let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| wrong("names no port"))?;
    let address = format!("{}://{host}:{port}/", url.scheme());
    let address: Uri = address.parse().map_err(|_| wrong("cannot be asked for"))?;
    Ok(Proxy { address, tls, authorization: authorization(&url) })
}

/// User and password of the URL (RFC 7617).
fn authorization(url: &Url) -> Option<HeaderValue> {
    let decoded = |text: &str| {
        let name = format!("{}=", text.replace('+', "%2B"));
        form_urlencoded::parse(name.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
    };
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let credentials = Secret::from(format!("{}:{}", decoded(url.username()), decoded(password.unwrap_or_default())));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials.expose())))
        .expect("BUG: base64 is visible ASCII");
    value.set_sensitive(true);
    Some(value)
}

/// The variables by which HTTP clients are told of a proxy, as far as they are set.
pub(super) fn named_by_environment() -> Vec<&'static str> {
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    names.into_iter().filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())).collect()
}
