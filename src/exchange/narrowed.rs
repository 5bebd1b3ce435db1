//! Warns once of each client whose refresh tokens seem to get narrower: a newer token than the caller's own was presented, and the
//! provider says `invalid_scope`. RFC 6749 section 6 has the next refresh token keep the scope of the one presented; where it has
//! only the scope that was asked for, other claims must not follow the chain.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use super::granted::is_scope;
use crate::config::OtherClaims;
use crate::outcome::ProviderFailure;
use crate::request::Refresh;
use crate::{Attempt, RefreshCoordinator};

/// Clients that are warned of in a process; of more nobody is told, for the advice is the same.
const MOST: usize = 64;

/// Hashes of the clients that were warned of.
#[derive(Debug, Default)]
pub(super) struct Narrowed(Mutex<HashSet<u64>>);

/// A request by which it may be noticed.
#[derive(Debug)]
pub(super) struct Watched {
    narrowed: Arc<Narrowed>,
    client: String,
}

impl Narrowed {
    /// None where the request names no scope, which is never too wide, and where other claims are refused anyway.
    pub(super) fn watched(self: &Arc<Self>, refresh: &Refresh, by: &RefreshCoordinator) -> Option<Watched> {
        let client = refresh.client.as_ref().filter(|_| by.config().other_claims == OtherClaims::Follow)?;
        let names_scope = refresh.parameters.iter().any(|(name, value)| is_scope(name) && !value.expose().is_empty());
        names_scope.then(|| Watched { narrowed: Arc::clone(self), client: client.id.clone() })
    }

    fn is_new(&self, client: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = told.hasher().hash_one(client);
        told.len() < MOST && told.insert(client)
    }
}

impl Watched {
    /// None where the caller's own token is presented: whether that ever had the scope, nobody here knows.
    pub(super) fn past_own(self, attempt: &Attempt) -> Option<Self> {
        (!attempt.passed().is_empty()).then_some(self)
    }

    pub(super) fn see(&self, failure: &ProviderFailure, by: &RefreshCoordinator, flight: impl Display, fence: u64) {
        let is_too_wide = matches!(failure, ProviderFailure::Denied { error, .. } if error == "invalid_scope");
        if is_too_wide && self.narrowed.is_new(&self.client) {
            tracing::warn!(
                namespace = by.config().namespace.as_str(),
                pod = by.pod(),
                flight = tracing::field::display(flight),
                fence,
                client = self.client,
                setting = "other_claims",
                "a newer refresh token than the caller's own lacks the scope that was asked for: if the provider narrows refresh tokens \
                 to the scope of each refresh, set other_claims to refuse (--other-claims refuse)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, Response};

    use super::*;
    use crate::config::Config;
    use crate::exchange::{ExchangeOptions, TokenExchange};
    use crate::test_log::Log;

    const WIDE: &[u8] = br#"{"access_token":"a2","refresh_token":"r2","expires_in":60,"scope":"read write"}"#;
    const TOO_WIDE: &[u8] = br#"{"error":"invalid_scope"}"#;

    fn exchange(others: OtherClaims) -> TokenExchange {
        let config = Config { other_claims: others, keep_refusal: Duration::ZERO, ..Config::default() };
        TokenExchange::new(RefreshCoordinator::in_memory(config).expect("possible"), ExchangeOptions::default())
    }

    /// Comes with the first token of a login, and returns which token the provider was asked with.
    async fn ask(exchange: &TokenExchange, client: &str, more: &str, answer: &'static [u8]) -> String {
        let asked = Arc::new(Mutex::new(String::new()));
        let body =
            format!("grant_type=refresh_token&refresh_token=r1{client}&client_id={client}&client_secret=pw{more}");
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let noted = Arc::clone(&asked);
        let send = async move |request: Request<Vec<u8>>| {
            let sent = String::from_utf8(request.into_body()).expect("UTF-8");
            let token = sent.split('&').find_map(|pair| pair.strip_prefix("refresh_token="));
            *noted.lock().expect("nobody panics") = token.expect("a token").to_owned();
            let status = if answer == TOO_WIDE { 400 } else { 200 };
            let answer = String::from_utf8(answer.to_vec())
                .expect("UTF-8")
                .replace("r2", &format!("r2{}", &token.expect("a token")[2..]));
            Ok(Response::builder().status(status).body(answer.into_bytes()).expect("an answer"))
        };
        exchange.exchange(request.body(body.into_bytes()).expect("a request"), send).await;
        asked.lock().expect("nobody panics").clone()
    }

    #[tokio::test(start_paused = true)]
    async fn client_whose_newer_token_lacks_its_scope_is_warned_of_once_where_others_follow() {
        let (log, _listening) = Log::of_this_thread();
        let told = || log.lines(&["WARN", "other_claims"]);
        let later = || tokio::time::sleep(Duration::from_secs(120));
        let following = exchange(OtherClaims::Follow);
        for client in ["one", "two"] {
            ask(&following, client, "&scope=read+write", WIDE).await;
        }
        ask(&following, "plain", "", WIDE).await;
        let refusing = exchange(OtherClaims::Refuse);
        ask(&refusing, "one", "&scope=read+write", WIDE).await;
        later().await;

        assert_eq!(ask(&following, "own", "&scope=admin", TOO_WIDE).await, "r1own");
        assert_eq!(ask(&following, "plain", "", TOO_WIDE).await, "r2plain");
        assert_eq!(ask(&refusing, "one", "&scope=read+write", TOO_WIDE).await, "r2one");
        assert!(told().is_empty(), "its own token, no scope, or nobody follows: {:?}", told());
        for _ in 0..2 {
            for client in ["one", "two"] {
                assert_eq!(ask(&following, client, "&scope=read+write", TOO_WIDE).await, format!("r2{client}"));
                later().await;
            }
        }

        let told = told();
        assert_eq!(told.len(), 2, "{told:?}");
        for (line, client) in told.iter().zip(["one", "two"]) {
            assert!(line.contains(&format!("client=\"{client}\"")) && line.contains("--other-claims refuse"), "{line}");
            assert!(!["r1one", "r2one", "r1two", "r2two", "pw"].iter().any(|secret| line.contains(secret)), "{line}");
        }
    }

    #[test]
    fn clients_without_end_are_warned_of_within_bounds() {
        let narrowed = Narrowed::default();

        let told = (0..1000).filter(|client| narrowed.is_new(&client.to_string())).count();

        assert_eq!((told, narrowed.is_new("0"), narrowed.0.lock().expect("no panic").len()), (MOST, false, MOST));
    }
}
