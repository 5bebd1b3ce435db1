//! Words: the settings, and what each is for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::provider_name;
use crate::secret::Secret;
use crate::written;

mod chain;
mod choices;
mod from_env;
mod validate;

pub use self::choices::{MemoryPressure, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};

const KIB: usize = 1024;

/// The settings of a coordinator. All pods of a namespace should have the same.
///
/// ```
/// use std::time::Duration;
/// use refresh_coordinator::{Breaker, Config};
///
/// let config = Config::default()
///     .with_keep_outcome(Duration::from_secs(60))
///     .with_breaker(Breaker::default().with_max_failures(5));
/// assert!(config.validate().is_ok());
///
/// let config = Config::default().with_refresh_timeout(Duration::from_secs(60));
/// assert_eq!(
///     config.validate().unwrap_err().to_string(),
///     "refresh_timeout is 60s: it must not be longer than wait_timeout (35s)"
/// );
/// ```
///
/// It comes from a file of any format that serde reads, and from the environment ([`from_env`](Self::from_env)). Keys are the fields,
/// and one that is none is an error which names it; a setting that is not there has its default. Times are written with their
/// unit, sizes with or without:
///
/// ```
/// # use std::time::Duration;
/// # use refresh_coordinator::Config;
/// let file = r#"{"lease": "15s", "breaker": {"open_duration": "1m 30s"}, "refresh_tokens": "reusable", "max_token": "16KiB"}"#;
/// let config: Config = serde_json::from_str(file)?;
/// assert_eq!(config.breaker.open_duration, Duration::from_secs(90));
///
/// let misspelt = serde_json::from_str::<Config>(r#"{"leese": "15s"}"#).unwrap_err();
/// assert!(misspelt.to_string().starts_with("unknown field `leese`, expected one of `namespace`, "));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The provider's or tenant's coordination domain: 1 to 64 of `A-Z a-z 0-9 . _ -`. Coordinators share flights
    /// within a namespace only. Default: `default`.
    pub namespace: String,
    /// The provider's name: any name, such as its host. It stands in Redis, and a pod with another name is refused at start;
    /// the provider's URL may change. In memory nothing is compared. Default: none, nothing is
    /// compared. 1 to 200 visible ASCII characters, not `-`. Of a URL only scheme, host, port and path are the name; in
    /// another name `@`, `?` and `#` are not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// How long a caller waits for the provider's answer, from its own arrival. The refresh itself goes on.
    /// Default: 30 s. 10 ms to 1 h; at most `wait_timeout` and `call_limit`.
    #[serde(with = "written::time")]
    pub refresh_timeout: Duration,
    /// How long a caller waits at all, queueing and takeover of a lost leader included. Default: 35 s.
    /// 10 ms to 1 h.
    #[serde(with = "written::time")]
    pub wait_timeout: Duration,
    /// How long the refresh function may run. Until then its lease is renewed and nobody else presents the token.
    /// Default: none, which means twice `refresh_timeout`. 10 ms to 2 h; at least `refresh_timeout`.
    #[serde(with = "written::time_or_none", skip_serializing_if = "Option::is_none")]
    pub call_limit: Option<Duration>,
    /// How long a leader that is not heard of keeps the token. A leader renews its lease after each third of this.
    /// Default: 10 s.
    /// At least `store_timeout`, at most `keep_outcome` and `wait_timeout` together; 100 ms to 10 min.
    #[serde(with = "written::time")]
    pub lease: Duration,
    /// When the token of a lost leader is presented again, counted from the start of the lost flight. Zero
    /// means as soon as the lease is over: right for providers with a grace window or without rotation, and for
    /// fleets that prefer speed; later gives a leader that is only cut off from Redis the time to come back with
    /// its answer. If it is longer than `lease`, and always under `never`, a lost leader also has two
    /// `store_timeout` to report back after a pod first missed it: perhaps only Redis was away. Default: none,
    /// which means `refresh_timeout`, and zero where refresh tokens are reusable. At most 1 h.
    #[serde(with = "written::time_or_none", skip_serializing_if = "Option::is_none")]
    pub retry_lost_after: Option<Duration>,
    /// How long a success that rotated the token is handed to newcomers who still hold the old one: other pods, slow
    /// tabs. If the presented token stays valid, newcomers get a success until a tenth of the access token's life is
    /// left (at least 5 s, at most half of it), for 24 h at most. If the provider names no lifetime, `keep_outcome` holds for it,
    /// too. Zero: no success is handed to newcomers. Default: 30 s. At most 1 h.
    #[serde(with = "written::time")]
    pub keep_outcome: Duration,
    /// How long new tokens that nobody has used yet are held, counted from the provider's answer. A caller that lost its answer
    /// gets them when it asks again with the old token, even after `keep_outcome`. Only for clients with a credential whose
    /// refresh function presents the token of its attempt
    /// ([`Refresh::token_from_attempt`](crate::Refresh::token_from_attempt)). Once somebody has used the new token, the old one
    /// goes to the provider. Default: 1 h. Zero: not beyond `keep_outcome`. At most 24 h.
    #[serde(with = "written::time")]
    pub keep_until_used: Duration,
    /// How many answers of the namespace are held so at most: the oldest make way. Answers of more than 64 KiB are not held.
    /// Default: 100,000. 1 to 10,000,000.
    pub keep_at_most: u32,
    /// How long a failure that may pass is handed to newcomers; damps a storm. Zero is allowed. Default: 100 ms. At
    /// most 1 min. A busy provider's answer is handed on for as long as it asks to stay away (5 min at most).
    #[serde(with = "written::time")]
    pub keep_failure: Duration,
    /// How long a refusal is handed to newcomers that speaks of a dead or lost token, or of something that only the user can do: bots retry.
    /// Any other refusal is handed on for this long, and for 5 s at most; one that only asks for a DPoP nonce not at all.
    /// Zero is allowed. Default: 1 min. At most 1 h.
    #[serde(with = "written::time")]
    pub keep_refusal: Duration,
    /// Whether a refresh token can be presented more than once. Default: [`RefreshTokens::SingleUse`].
    pub refresh_tokens: RefreshTokens,
    /// What to do with a token that was already rotated for another scope, resource or audience of the same client and credential.
    /// `Follow` needs four things: `keep_until_used` above zero, [`RefreshTokens::SingleUse`], a client with a credential, and a
    /// refresh function that presents the token of its attempt
    /// ([`Refresh::token_from_attempt`](crate::Refresh::token_from_attempt)). Without them, and while any living pod of the
    /// namespace refuses, such a request is refused. Default:
    /// [`OtherClaims::Follow`]; a [`Preset`](crate::Preset) says [`OtherClaims::Refuse`] where its provider
    /// [`narrows`](crate::Preset::narrows) or [`revokes_access`](crate::Preset::revokes_access).
    pub other_claims: OtherClaims,
    /// How the provider says what the standard leaves open.
    pub dialect: Dialect,
    /// What to do with a token of which nobody knows whether the provider rotated it. Default: [`Uncertain::Retry`].
    pub uncertain: Uncertain,
    /// How long the store remembers that a token is uncertain. A pod that cannot reach Redis also tries for this long to land a
    /// rotation there. (What it obtained without Redis, [`OnStoreOutage::Local`], it tries to land for `keep_outcome` plus
    /// `wait_timeout`.) Default: 1 h. 1 s to 24 h; under [`Uncertain::Never`] at least
    /// `call_limit`.
    #[serde(with = "written::time")]
    pub uncertain_memory: Duration,
    /// How long a call to Redis may take, retries included, before the store counts as out of reach. After a third of it
    /// without an answer the call is made over a new connection as well. Default: 1 s. 10 ms to 1 min; at most `lease`.
    #[serde(with = "written::time")]
    pub store_timeout: Duration,
    /// How many replicas must have a lead before the token is presented, and an outcome before it counts as landed. A lead
    /// that too few have within `store_timeout` is given back, and its callers are told to come again. With fewer than all
    /// replicas a failover may still choose one that lacks it. Costs a round trip to the replicas for each of the two, and the
    /// right to `WAIT`. Default: 0, none is waited for. At most 16.
    pub wait_replicas: u32,
    /// What to do while the store is out of reach. Default: [`OnStoreOutage::Reject`].
    pub on_store_outage: OnStoreOutage,
    /// Whether a pod starts while Redis is away. It is as in an outage then, by [`on_store_outage`](Self::on_store_outage), and
    /// takes part as soon as Redis is in reach; what makes it unfit, such as a missing right, is logged instead of returned.
    /// Default: false, connecting fails with [`ConnectError::Unreachable`](crate::ConnectError::Unreachable).
    pub start_without_redis: bool,
    /// Keys the hashes that stand in Redis, so that tokens of little entropy (under 128 bits) cannot be guessed
    /// from them. 32 bytes or more, the same in all pods. It is read from a file, and never written. Default: none.
    #[serde(skip_serializing, deserialize_with = "written::secret::deserialize")]
    pub pepper: Option<Secret>,
    /// How many flights a session may lead in a window; successes count, too: that is what stops refresh loops. The
    /// next one starts the cooldown. A flight is not counted if nothing was sent, if the provider refused the client,
    /// wanted a DPoP nonce, wanted its user to do something or was busy, or if the token is the session and stays valid. If access tokens live for less than
    /// 5 min, a session may lead two flights per lifetime (counted as 5 s at least), should that be more.
    /// Default: 5. 1 to 1,000,000.
    pub max_refresh_attempts: u32,
    /// How long a window is. It is fixed, and starts with the session's first attempt. Default: 5 min. 10 ms to
    /// 24 h.
    #[serde(with = "written::time")]
    pub refresh_attempt_window: Duration,
    /// How long a session that asked too often is refused. Asking meanwhile does not make it longer; afterwards the
    /// count begins anew. Default: 10 min. 10 ms to 24 h.
    #[serde(with = "written::time")]
    pub refresh_cooldown_period: Duration,
    /// How many flights of the namespace may ask the provider at once. Default: 10. 1 to 100,000.
    pub max_concurrent_refreshes: u32,
    /// How long a flight queues for its turn when that many ask already, each client in its turn; it leaves the queue
    /// when all its callers have left. Zero refuses at once. Default: none, which means two thirds of `refresh_timeout`, so
    /// that a third of it is left for the call. At most `wait_timeout`.
    #[serde(with = "written::time_or_none", skip_serializing_if = "Option::is_none")]
    pub budget_wait: Option<Duration>,
    /// When the provider is left in peace because it fails.
    pub breaker: Breaker,
    /// When this pod only joins and leads nothing, because its memory is short. Default:
    /// [`MemoryPressure::Cgroup`].
    pub memory_pressure: MemoryPressure,
    /// The longest refresh token that is taken, in bytes: some providers put a user's groups into it. Default: 64 KiB.
    /// 1 KiB to 1 MiB.
    #[serde(with = "written::size")]
    pub max_token: usize,
    /// The largest outcome that is shared over Redis, sealed, in bytes: the provider's answer, its headers, and some
    /// hundred bytes. The callers of the leader's own pod get a larger answer all the same; other pods refuse theirs as
    /// transient, and the token counts as rotated. Default: 256 KiB. 4 KiB to 16 MiB.
    #[serde(with = "written::size")]
    pub max_shared: usize,
    /// How often the memory store forgets what is over. Redis expires keys itself. Default: 1 min. 10 ms to 1 h.
    #[serde(with = "written::time")]
    pub cleanup_interval: Duration,
}

/// The circuit breaker of the namespace: for the whole fleet, in the store.
///
/// Only what speaks of the provider's health moves it: a 5xx, a reset, a timeout is a failure,
/// tokens are a success; a refused token or client is neither. Failures that are further apart than `call_limit` and
/// `open_duration` together are not in a row. What failed before anything was sent counts in the pod alone: after
/// `max_failures` of these in a row the pod only joins for `open_duration`.
///
/// A provider that asks to be left in peace is: 503 with Retry-After opens it for that time, 429 to three sessions
/// within 10 s for theirs, or for `open_duration` where they name none; 5 min at most.
///
/// Failures of one client open it for that client alone. It opens for everybody when other clients have as many failures or
/// limited sessions, or when a second client gets a 503 with Retry-After. Clients are told apart by their ids; all callers
/// without one count as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Breaker {
    /// Failed flights in a row that open it. Default: 3. 1 to 1,000,000.
    pub max_failures: u32,
    /// How long it stays open. Default: 30 s. 10 ms to 1 h.
    #[serde(with = "written::time")]
    pub open_duration: Duration,
    /// How many flights may then probe the provider at once. The first of them that succeeds closes it, the first
    /// that fails opens it again. Default: 1. 1 to 1,000.
    pub half_open_requests: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { max_failures: 3, open_duration: Duration::from_secs(30), half_open_requests: 1 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            upstream: None,
            refresh_timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(35),
            call_limit: None,
            lease: Duration::from_secs(10),
            retry_lost_after: None,
            keep_outcome: Duration::from_secs(30),
            keep_until_used: Duration::from_secs(60 * 60),
            keep_at_most: 100_000,
            keep_failure: Duration::from_millis(100),
            keep_refusal: Duration::from_secs(60),
            refresh_tokens: RefreshTokens::SingleUse,
            other_claims: OtherClaims::Follow,
            dialect: Dialect::default(),
            uncertain: Uncertain::Retry,
            uncertain_memory: Duration::from_secs(60 * 60),
            store_timeout: Duration::from_secs(1),
            wait_replicas: 0,
            on_store_outage: OnStoreOutage::Reject,
            start_without_redis: false,
            pepper: None,
            max_refresh_attempts: 5,
            refresh_attempt_window: Duration::from_secs(5 * 60),
            refresh_cooldown_period: Duration::from_secs(10 * 60),
            max_concurrent_refreshes: 10,
            budget_wait: None,
            breaker: Breaker::default(),
            memory_pressure: MemoryPressure::default(),
            max_token: 64 * KIB,
            max_shared: 256 * KIB,
            cleanup_interval: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// How long the refresh function may run.
    pub fn call_limit(&self) -> Duration {
        self.call_limit.unwrap_or(2 * self.refresh_timeout)
    }

    /// How long a pod waits for one flight at most. While callers keep coming to a pod it waits for longer than `wait_timeout`: until
    /// the leader's call is over, and told.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.wait_timeout.saturating_add(self.call_limit()).saturating_add(self.lease)
    }

    /// How long a flight queues for its turn.
    pub fn budget_wait(&self) -> Duration {
        self.budget_wait.unwrap_or(self.refresh_timeout * 2 / 3)
    }

    /// When the token of a lost leader is presented again.
    pub fn retry_lost_after(&self) -> Duration {
        self.retry_lost_after.unwrap_or(match self.refresh_tokens {
            RefreshTokens::SingleUse => self.refresh_timeout,
            RefreshTokens::Reusable => Duration::ZERO,
        })
    }

    /// How long it is remembered that a leader was lost.
    pub(crate) fn memory_of_lost(&self) -> Duration {
        self.uncertain_memory.max(self.retry_lost_after())
    }

    /// How long it is remembered that a session was ended: as long as anything may land for its token, or is held for it.
    pub(crate) fn session_stays_ended(&self) -> Duration {
        (self.lease + self.memory_of_lost()).max(self.keep_until_used)
    }

    /// How long a leader may still be heard of from when it is first missed on: where the store was away for everybody,
    /// it is on its way there with what it holds. Under `retry` no longer than a pod that misses it at its lease's end would
    /// wait anyway; under `never` always, because to be told too early that a token is lost ends the session.
    pub(crate) fn grace_of_lost(&self) -> Duration {
        let heard = 2 * self.store_timeout;
        match self.uncertain {
            Uncertain::Never => heard,
            Uncertain::Retry => heard.min(self.retry_lost_after().saturating_sub(self.lease)),
        }
    }

    /// How long a permit is reserved for the first flight of the queue: as long as a call to the store may
    /// take, for the flight has nothing else to do than to make one.
    pub(crate) fn permit_reserved_for(&self) -> Duration {
        self.store_timeout
    }

    /// Whether answers are held until somebody has used them. A token that can be presented again is never lost.
    pub(crate) fn holds_answers(&self) -> bool {
        self.refresh_tokens == RefreshTokens::SingleUse && !self.keep_until_used.is_zero()
    }

    /// Whether a claim goes on where other claims of its client went.
    pub(crate) fn follows_claims(&self) -> bool {
        self.other_claims == OtherClaims::Follow && self.holds_answers()
    }

    /// The provider's name as it may stand in Redis and in logs.
    pub(crate) fn provider_name(&self) -> Option<String> {
        self.upstream.as_deref().and_then(provider_name::shown)
    }

    /// How long one try of a call to the store waits for its answer, before another is made beside it.
    pub(crate) fn store_patience(&self) -> Duration {
        self.store_timeout / 3
    }
}

#[cfg(test)]
mod tests;
