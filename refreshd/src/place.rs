//! Where a provider is served: at a host, below a path, or wherever no other is.

use http::Request;
use http::header::HOST;
use http::uri::Authority;
use refresh_coordinator_cli::BadSetting;

/// What a request must have to be for a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In lower case. None: at every host.
    host: Option<String>,
    /// Empty: at every path. Else it begins with `/`, and does not end with one.
    path: String,
}

impl Place {
    /// Reads what the operator gave.
    pub(crate) fn read(host: Option<&str>, path: Option<&str>) -> Result<Self, BadSetting> {
        let path = path.unwrap_or_default();
        let is_path = |path: &str| {
            let mut bytes = path.bytes();
            path.starts_with('/')
                && !path.ends_with('/')
                && bytes.all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        };
        if !path.is_empty() && !is_path(path) {
            return Err(BadSetting::new(format!(
                "--path is {path:?}: it must begin with / and not end with it, as in /okta"
            )));
        }
        let is_host = |host: &str| !host.ends_with('.') && host.parse::<Authority>().is_ok_and(|it| it.host() == host);
        match host {
            Some(host) if !is_host(host) => Err(BadSetting::new(format!(
                "--host is {host:?}: it must be a name without a port and without a dot at its end, as in okta.tokens.internal"
            ))),
            host => Ok(Self { host: host.map(str::to_lowercase), path: path.to_owned() }),
        }
    }

    /// Whether requests for this path below another place come here, because this one is the larger.
    pub(crate) fn takes(&self, other: &Self, below: &str) -> bool {
        self.precision() > other.precision()
            && self.below(other.host.as_deref(), &format!("{}{below}", other.path)).is_some()
    }

    /// What is left of the path of a request for this host, if the provider is asked.
    pub(crate) fn below<'a>(&self, host: Option<&str>, path: &'a str) -> Option<&'a str> {
        let is_here = match (&self.host, host) {
            (None, _) => true,
            (Some(own), Some(host)) => own.eq_ignore_ascii_case(host),
            (Some(_), None) => false,
        };
        let rest = path.strip_prefix(&self.path[..]).filter(|_| is_here)?;
        rest.starts_with('/').then_some(rest)
    }

    pub(crate) fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// Of two places that a request fits, that of the larger one is meant: a host first, then the longer path.
    pub(crate) fn precision(&self) -> (bool, usize) {
        (self.host.is_some(), self.path.len())
    }

    /// For people, with a path below it.
    pub(crate) fn shown(&self, below: &str) -> String {
        format!("{}{}{below}", self.host.as_deref().unwrap_or_default(), self.path)
    }
}

/// The host that a request is for, without its port (RFC 9112 section 3.2.2: that of the target counts where there is one), and
/// without the dot at the end of a name that is whole (RFC 1034 section 3.1).
pub(crate) fn host_of<T>(request: &Request<T>) -> Option<String> {
    let whole = |host: &str| host.strip_suffix('.').unwrap_or(host).to_owned();
    if let Some(host) = request.uri().host() {
        return Some(whole(host));
    }
    let authority: Authority = request.headers().get(HOST)?.as_bytes().try_into().ok()?;
    Some(whole(authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_for_a_provider_where_host_and_path_fit() {
        let place = |host, path| Place::read(host, path).expect("a place");
        let (any, okta) = (place(None, None), place(None, Some("/okta")));
        let (host, both) = (place(Some("Okta.internal"), None), place(Some("okta.internal"), Some("/a/b")));

        assert_eq!(any.below(None, "/token"), Some("/token"));
        assert_eq!(okta.below(Some("x"), "/okta/token"), Some("/token"));
        for path in ["/okta", "/oktatoken", "/token", "/OKTA/token", "/x/okta/token"] {
            assert_eq!(okta.below(Some("x"), path), None, "{path}");
        }
        assert_eq!(host.below(Some("OKTA.internal"), "/token"), Some("/token"));
        assert_eq!((host.below(Some("okta"), "/token"), host.below(None, "/token")), (None, None));
        assert_eq!(both.below(Some("okta.internal"), "/a/b/token"), Some("/token"));
        assert!(both.precision() > host.precision() && host.precision() > okta.precision());
    }

    #[test]
    fn longer_place_takes_what_was_another_providers() {
        let place = |host, path| Place::read(host, path).expect("a place");
        let (idp, v1, host) = (place(None, Some("/idp")), place(None, Some("/idp/v1")), place(Some("a"), None));

        assert!(v1.takes(&idp, "/v1/token"));
        assert!(!v1.takes(&idp, "/token") && !idp.takes(&v1, "/token"));
        // Only of requests for this host.
        assert!(!host.takes(&idp, "/token"));
    }

    #[test]
    fn host_is_that_of_the_target_else_that_of_the_header_without_port() {
        let request = |target: &str, host: &str| {
            host_of(&Request::post(target).header("host", host).body(()).expect("a request"))
        };

        assert_eq!(request("/token", "a.example:8400").as_deref(), Some("a.example"));
        assert_eq!(request("http://b.example:1/token", "a.example").as_deref(), Some("b.example"));
        assert_eq!(request("/token", "[::1]:8400").as_deref(), Some("[::1]"));
        assert_eq!(request("/token", "a.example.:8400").as_deref(), Some("a.example"));
        assert_eq!(request("/token", "a b"), None);
    }

    #[test]
    fn what_is_no_place_is_told() {
        for (host, path) in [(None, Some("okta")), (None, Some("/okta/")), (None, Some("/")), (None, Some("/a?b"))] {
            assert!(Place::read(host, path).expect_err("no place").to_string().contains("--path"), "{path:?}");
        }
        for host in ["a:80", "a:", "a:99999", "a.", "a/b", "u@a", "", "a b"] {
            assert!(Place::read(Some(host), None).expect_err("no place").to_string().contains("--host"), "{host}");
        }
    }
}
