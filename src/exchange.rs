//! Token request in, token response out: the way of a refresh over HTTP (feature `http`).
//!
//! A [`TokenExchange`] reads what a client would send to a token endpoint, has the coordinator refresh, and answers
//! what the provider answered, byte for byte, to every caller of the flight. It knows OAuth 2.0 (RFC 6749) and its
//! outcome classes, and no socket: the HTTP call itself is a closure. `refreshd` is made of it; a coordinated
//! client can be, too.

mod accept;
mod answer;
mod body;
mod client;
mod complaint;
mod failure_log;
mod form;
mod granted;
mod headers;
mod json;
mod multipart;
mod narrowed;
mod options;
mod page;
mod pause;
mod pair;
mod parameters;
mod presented;
mod proven;
mod purpose;
mod reply;
mod request;
mod revocation;
mod send_error;
mod trust;
mod whole;
mod withheld;

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response, header};

pub use answer::read_answer;
pub use options::ExchangeOptions;
pub use purpose::Purpose;
pub use reply::{FenceOf, Served, oauth_error};
pub use send_error::SendError;
#[cfg(feature = "signatures")]
pub use trust::{ClientKeys, UnusableKeys};
pub use whole::tells_its_end;

use crate::coordinator::RefreshCoordinator;
use crate::dialect::Dialect;
use crate::error::RefreshError;
use crate::error::Refusal;
use crate::flight::before_told::BeforeTold;
use crate::flight::ending::Role;
use crate::flight::refreshed::Refreshed;
use crate::leader::Attempt;
use crate::secret::Secret;
use crate::told::Told;
use accept::Accepted;
use failure_log::tell;
use granted::Unscoped;
use narrowed::Narrowed;
use parameters::Unreadable;
use presented::Place;
use request::Asked;
use revocation::{RevocationEndpoint, Session};
use trust::Trust;

/// Answers token requests: a refresh goes to the provider once per flight, anything else once, as it is.
///
/// ```
/// use http::{Request, Response};
/// use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
/// use refresh_coordinator::{Config, RefreshCoordinator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
/// let exchange = TokenExchange::new(coordinator, ExchangeOptions::default());
///
/// let request = Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(b"grant_type=refresh_token&refresh_token=r1&client_id=app".to_vec())?;
/// let answer = exchange
///     .exchange(request, async |request: Request<Vec<u8>>| {
///         // Here stands the HTTP call. It runs once, for all callers of the flight.
///         assert!(request.headers().contains_key("content-type"));
///         Ok(Response::new(br#"{"access_token":"a2","refresh_token":"r2"}"#.to_vec()))
///     })
///     .await;
/// assert_eq!(answer.body(), br#"{"access_token":"a2","refresh_token":"r2"}"#);
/// assert_eq!(answer.headers()["cache-control"], "no-store");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokenExchange {
    coordinator: RefreshCoordinator,
    options: ExchangeOptions,
    dialect: Arc<Dialect>,
    trust: Arc<Trust>,
    told: Arc<Told>,
    narrowed: Arc<Narrowed>,
    revocation: Option<RevocationEndpoint>,
}

/// A hook, when it is told the token that the caller came with.
type HookOfToken = Box<dyn FnOnce(Secret) -> BeforeTold + Send>;

impl TokenExchange {
    /// An exchange in front of this coordinator.
    pub fn new(coordinator: RefreshCoordinator, options: ExchangeOptions) -> Self {
        let dialect = Arc::new(coordinator.config().dialect.clone());
        let trust = Arc::new(Trust::by(&options));
        Self { coordinator, options, dialect, trust, told: Arc::default(), narrowed: Arc::default(), revocation: None }
    }

    /// Sets the HTTP call to the provider's revocation endpoint (RFC 7009), with the duties that `send` of [`exchange`](Self::exchange)
    /// has. Its requests carry [`Purpose::Revocation`] or [`Purpose::OwnRevocation`]. With it [`revoke`](Self::revoke) ends sessions,
    /// and what a refresh brings for an ended session is revoked with the credentials of that refresh. Default: none.
    #[must_use]
    pub fn revoking_by<S, F>(mut self, send: S) -> Self
    where
        S: Fn(Request<Vec<u8>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
    {
        self.revocation = Some(RevocationEndpoint::new(send));
        self
    }

    /// Answers one token request. `send` performs the HTTP call, once: without retries, redirects or decompression. It
    /// is given the request without Host, Content-Length, Expect, the session header and the headers that belong to one
    /// connection only, and with a [`Purpose`] among its extensions. A refresh carries its [`Attempt`] there, too: once the
    /// connection is there, and before anything is written, ask it for leave ([`before_sending`](Attempt::before_sending)).
    ///
    /// A caller that comes with a token that was rotated may be answered by a newer one
    /// ([`keep_until_used`](crate::Config::keep_until_used)): then the request that `send` is given holds that, in place of
    /// the caller's. Not where the request is signed, or where the token stands in more than one place.
    ///
    /// Every answer says `Cache-Control: no-store` and carries a [`Served`] among its extensions, one with tokens a
    /// [`FenceOf`], too. The answers of the
    /// exchange's own are OAuth errors, and none is a 401: clients drop their session for it.
    ///
    /// # Cancellation
    ///
    /// A refresh that has begun goes on without its caller, and its outcome is there for the caller that asks next. A
    /// request that is passed on is dropped with its caller.
    pub async fn exchange<S, F>(&self, request: Request<Vec<u8>>, send: S) -> Response<Vec<u8>>
    where
        S: FnOnce(Request<Vec<u8>>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
    {
        self.answer(request, send, None).await
    }

    /// As [`exchange`](Self::exchange), with something to be done before any caller hears of new tokens: mostly to write them to the
    /// session store.
    ///
    /// `before_told` is handed the refresh token that the caller came with, and what it brought; it may run more than once, on several
    /// pods, as [`refresh_with`](RefreshCoordinator::refresh_with) says. It does not run for what is passed on.
    ///
    /// # Cancellation
    ///
    /// As [`exchange`](Self::exchange); `before_told` runs.
    pub async fn exchange_with<S, F, H, W, E>(
        &self,
        request: Request<Vec<u8>>,
        send: S,
        before_told: H,
    ) -> Response<Vec<u8>>
    where
        S: FnOnce(Request<Vec<u8>>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
        H: Fn(Secret, Refreshed) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
    {
        let hook = |asked: Secret| BeforeTold::new(move |refreshed| before_told(asked.clone(), refreshed));
        self.answer(request, send, Some(Box::new(hook))).await
    }

    async fn answer<S, F>(
        &self,
        request: Request<Vec<u8>>,
        send: S,
        before_told: Option<HookOfToken>,
    ) -> Response<Vec<u8>>
    where
        S: FnOnce(Request<Vec<u8>>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Vec<u8>>, SendError>> + Send + 'static,
    {
        let asked = request::read(&request, &self.options, &self.trust);
        if matches!(asked, Ok(Asked::NoToken | Asked::Other | Asked::Unread)) {
            self.trust.tell_of_another_address(&request);
        }
        if matches!(asked, Ok(Asked::Unread))
            && let Some(left_out) = self.told.due("unread")
        {
            tracing::warn!(
                left_out,
                "a request that cannot be read speaks of a refresh token: passed on uncoordinated"
            );
        }
        if matches!(asked, Ok(Asked::NoToken))
            && let Some(left_out) = self.told.due("no token")
        {
            tracing::warn!(left_out, "a refresh names no refresh token: passed on uncoordinated");
        }
        let accepted = Accepted::by(request.headers());
        let mut onward = headers::onward(request, self.options.session_header.as_ref());
        onward.extensions_mut().insert(match &asked {
            Ok(Asked::Refresh(_)) => Purpose::Refresh,
            Ok(Asked::NoToken | Asked::Other | Asked::Unread) | Err(_) => Purpose::PassedOn,
        });
        let mut answer = match asked {
            Err(unreadable) => self.refused(&unreadable),
            Ok(Asked::Refresh(refresh)) => {
                let place = Place::of(&refresh.token, &onward);
                let refresh = if place.is_some() { refresh.token_from_attempt() } else { refresh };
                // Shared, so that only a leader copies it, and only where it may have to revoke in its client's name later.
                let onward = Arc::new(onward);
                let refresh = match &self.revocation {
                    Some(endpoint) => endpoint.revoking(refresh, Arc::clone(&onward)),
                    None => refresh,
                };
                let (dialect, coordinator) = (Arc::clone(&self.dialect), self.coordinator.clone());
                let authentication = refresh.authentication;
                let watched = self.narrowed.watched(&refresh, &self.coordinator);
                let call = move |attempt: Attempt| async move {
                    let (fence, flight) = (attempt.fence, attempt.flight_name());
                    let watched = watched.and_then(|watched| watched.past_own(&attempt));
                    let mut onward = Arc::unwrap_or_clone(onward);
                    if let Some(place) = place {
                        place.present(attempt.token(), onward.body_mut());
                    }
                    onward.extensions_mut().insert(attempt);
                    let accepted = Accepted::by(onward.headers());
                    let outcome = match send(onward).await {
                        Ok(answer) => answer::read_answer_in(answer, &dialect, &accepted),
                        Err(error) => Err(error.into()),
                    };
                    let outcome = outcome.map_err(|failure| failure.told_to(authentication));
                    outcome.inspect_err(|failure| {
                        tell(failure, &coordinator, &flight, fence);
                        if let Some(watched) = &watched {
                            watched.see(failure, &coordinator, &flight, fence);
                        }
                    })
                };
                let unscoped = Unscoped::of(&refresh);
                let before_told = before_told.map(|hook| Arc::new(hook(refresh.token.clone())));
                let mut refreshed = self.coordinator.refresh_before(refresh, call, before_told).await;
                if let Err(RefreshError::Refused(Refusal::AnotherClaim { .. })) = &refreshed
                    && let Some(unscoped) = unscoped
                    // In a box: it is large, and rare.
                    && let Some(granted) = Box::pin(unscoped.answer(&self.coordinator)).await
                {
                    refreshed = Ok(granted);
                }
                match refreshed {
                    Ok(refreshed) => self.to_tokens(&refreshed, &accepted),
                    Err(RefreshError::Invalid(invalid)) => self.refused(&Unreadable(invalid.to_string())),
                    Err(error) => reply::to_failure(&error),
                }
            }
            Ok(Asked::Other | Asked::Unread) if self.options.only_refresh => {
                self.tell_of_refusal("another grant than refresh_token");
                reply::to_other_grant()
            }
            // In a box: it is large, and seldom what comes.
            Ok(Asked::NoToken | Asked::Other | Asked::Unread) => match Box::pin(send(onward)).await {
                Ok(answer) => reply::passed_on(answer),
                Err(error) => reply::to_send_error(&error),
            },
        };
        headers::forbid_storing(answer.headers_mut());
        answer
    }

    /// Answers one revocation request (RFC 7009): ends the session of its refresh token for the whole fleet, then asks the provider.
    ///
    /// First the session ends ([`end_session`](RefreshCoordinator::end_session)), along the chain of its tokens: from then on its client
    /// is handed no tokens for it, on any pod, and what a refresh that is under way brings is revoked. Then the provider is asked to revoke the
    /// newest token and, where nothing in the request counts only once (`client_assertion`, DPoP), the one of the request. The caller
    /// gets the provider's answer: the first that is no success, else the last. The client, its credential and its DPoP key must be
    /// those of the refreshes.
    ///
    /// Where there is no `token`, `refresh_token` is taken, as by Keycloak's logout endpoint; such an endpoint is asked once.
    ///
    /// A request with `token_type_hint=access_token` is passed on and ends nothing, as is one in which no token can be read. Of a token
    /// that the fleet does not know a mark is left for `wait_timeout`. What is answered is as for [`exchange`](Self::exchange). While the
    /// store is out of reach the provider is asked all the same, and its success becomes a 503: the session may not have ended everywhere.
    /// Without [`revoking_by`](Self::revoking_by) the answer is a 404.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
    /// use refresh_coordinator::{Config, RefreshCoordinator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let coordinator = RefreshCoordinator::in_memory(Config::default())?;
    /// let exchange = TokenExchange::new(coordinator, ExchangeOptions::default())
    ///     // Here stands the HTTP call to the provider's revocation endpoint.
    ///     .revoking_by(async |_request: Request<Vec<u8>>| Ok(Response::new(Vec::new())));
    ///
    /// let request = |body: &str| Request::post("/").body(body.as_bytes().to_vec());
    /// let answer = exchange.revoke(request("token=r1&client_id=app")?).await;
    /// assert_eq!(answer.status(), 200);
    ///
    /// let refresh = request("grant_type=refresh_token&refresh_token=r1&client_id=app")?;
    /// let late = exchange.exchange(refresh, async |_| unreachable!("nobody asks the provider any more")).await;
    /// assert_eq!(late.status(), 400);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    ///
    /// The session may have ended, with its newest token not revoked.
    pub async fn revoke(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        let mut answer = match &self.revocation {
            Some(endpoint) => self.revoked(request, endpoint).await,
            None => reply::to_no_revocation(),
        };
        headers::forbid_storing(answer.headers_mut());
        answer
    }

    async fn revoked(&self, request: Request<Vec<u8>>, endpoint: &RevocationEndpoint) -> Response<Vec<u8>> {
        let asked = revocation::read(&request, &self.options, &self.trust);
        let onward = headers::onward(request, self.options.session_header.as_ref());
        let Session { refresh, place, is_repeatable } = match asked {
            Err(unreadable) => return self.refused(&unreadable),
            Ok(revocation::Asked::Other) => {
                return reply::to_revocation(endpoint.send(onward).await, Served::PassedOn);
            }
            Ok(revocation::Asked::Session(session)) => *session,
        };
        let ended = match self.coordinator.end_session(refresh).await {
            Ok(ended) => ended,
            // It was never a refresh token here.
            Err(RefreshError::Invalid(_)) => {
                return reply::to_revocation(endpoint.send(onward).await, Served::PassedOn);
            }
            Err(error @ RefreshError::StoreOutage { .. }) => {
                let answer = endpoint.send(onward).await;
                return match answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                    true => reply::to_failure(&error),
                    false => reply::to_revocation(answer, Served::Revocation),
                };
            }
            Err(error) => return reply::to_failure(&error),
        };
        if let Some(newest) = ended.newest() {
            if let Some(place) = place {
                let mut first = onward.clone();
                place.present(newest.expose(), first.body_mut());
                let answer = endpoint.send_own(first).await;
                if !is_repeatable || !answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                    return reply::to_revocation(answer, Served::Revocation);
                }
            } else {
                tracing::warn!(
                    "a session was ended by a request that is signed or not plain: its newest token lives on"
                );
            }
        }
        reply::to_revocation(endpoint.send(onward).await, Served::Revocation)
    }

    /// Refuses a request that nobody was asked with. The reason quotes nothing of it.
    fn refused(&self, unreadable: &Unreadable) -> Response<Vec<u8>> {
        self.tell_of_refusal(&unreadable.0);
        reply::to_unreadable(unreadable)
    }

    /// The tokens, unless they came for another caller in a form that this one does not take, and that the other one asked for.
    fn to_tokens(&self, refreshed: &Refreshed, accepted: &Accepted) -> Response<Vec<u8>> {
        let response = refreshed.tokens().response();
        if refreshed.role() != Role::Led && accepted.refuses(response) {
            self.tell_of_refusal("the answer is of a media type that Accept excludes");
            let content_type = response.values(header::CONTENT_TYPE.as_str()).next();
            return reply::to_another_type(content_type.unwrap_or_default());
        }
        reply::to_tokens(refreshed)
    }

    fn tell_of_refusal(&self, reason: &str) {
        if let Some(left_out) = self.told.due(reason) {
            tracing::info!(reason, left_out, "a token request is refused");
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(all(test, feature = "signatures"))]
mod signed_tests;

#[cfg(all(test, target_os = "linux"))]
mod cost_tests;
