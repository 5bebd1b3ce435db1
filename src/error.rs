//! Words: the ways a refresh ends without tokens, and the ways a coordinator is not built.

use std::fmt;
use std::time::Duration;

use crate::config_error::ConfigError;
use crate::outcome::ProviderFailure;
use crate::request::InvalidRefresh;
use crate::token_response::ProviderResponse;

/// Why a caller got no tokens. One failure goes to many waiters, hence `Clone`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The request is not one that could be answered; nothing was sent anywhere.
    #[error(transparent)]
    Invalid(#[from] InvalidRefresh),
    /// The provider was asked, or should have been, and this is what came of it.
    #[error("{failure}")]
    Provider {
        /// What the provider did, and what is known of the token.
        failure: ProviderFailure,
        /// The fence of the flight that failed; 0 where its task was ended.
        fence: u64,
    },
    /// The token may have been rotated by a refresh that lost its answer, and presenting it again has failed or is
    /// forbidden by the policy. The session has to log in again.
    #[error("an earlier refresh of this token was lost, and its successor with it")]
    Lost {
        /// The provider's refusal, where it was asked once more.
        response: Option<ProviderResponse>,
    },
    /// The session was ended, for this client: the token is not presented any more, and nobody is handed what a refresh that was
    /// under way has brought ([`end_session`](crate::RefreshCoordinator::end_session)).
    #[error("the session was ended")]
    SessionEnded,
    /// Nothing is under way for this token: only where that was asked ([`wait_for`](crate::RefreshCoordinator::wait_for)).
    #[error("no refresh of this token is under way")]
    NotUnderWay,
    /// Not admitted; the provider was not asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer within `refresh_timeout` or `wait_timeout` of this caller's arrival. A refresh that is under way goes
    /// on, and its outcome is there for the caller that asks again; one that only queued is given up with its last caller.
    #[error("no answer in time; a refresh that is under way goes on")]
    TimedOut {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The store that the fleet agrees in did not answer, and the policy is to refuse rather than risk a second
    /// presentation. Also returned while a living pod of the namespace has another protocol, pepper, provider or `refresh_tokens`, which
    /// happens when Redis had forgotten this pod; the reason names the other one.
    #[error("the coordination store is out of reach: {reason}")]
    StoreOutage {
        /// What the store or the way to it said.
        reason: String,
        /// When asking again makes sense.
        retry_after: Duration,
    },
}

impl RefreshError {
    /// Whether the session is over and its user has to log in again. Nobody's session should be dropped for any
    /// other error: the token may be as good as before.
    pub fn is_session_over(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::SessionEnded => true,
            Self::Provider { failure, .. } => failure.is_token_dead(),
            Self::Invalid(_)
            | Self::NotUnderWay
            | Self::Refused(_)
            | Self::TimedOut { .. }
            | Self::StoreOutage { .. } => false,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Lost { .. } | Self::SessionEnded | Self::NotUnderWay => false,
            Self::Provider { failure, .. } => failure.is_transient(),
            Self::Refused(_) | Self::TimedOut { .. } | Self::StoreOutage { .. } => true,
        }
    }

    /// When asking again makes sense. None where the error is not transient, and where the provider has named no time: then after a
    /// pause of the caller's own.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Invalid(_) | Self::Lost { .. } | Self::SessionEnded | Self::NotUnderWay => None,
            Self::Provider { failure: ProviderFailure::Busy { retry_after, .. }, .. } => *retry_after,
            Self::Provider { .. } => None,
            Self::Refused(refusal) => Some(refusal.retry_after()),
            Self::TimedOut { retry_after } | Self::StoreOutage { retry_after, .. } => Some(*retry_after),
        }
    }
}

/// Why a flight was not admitted, and when to come again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The token was just refreshed for a request with another client, credential, scope or parameter, and
    /// presenting it once more would be a reuse. The session has other tokens by now: read it again.
    ///
    /// Another scope, resource or audience of the same client and credential is refused only under
    /// [`OtherClaims::Refuse`](crate::OtherClaims), where answers are not held ([`Config::other_claims`](crate::Config::other_claims)
    /// says where), or when the login has 64 claims already. If each scope keeps a refresh token of its own, retrying does not
    /// help: let them share one stored token, or give each a login of its own.
    #[error("the token was just rotated for {differs}: read the session again for the new one")]
    AnotherClaim {
        /// In what the requests differ.
        differs: Differs,
        /// 1 s, to read the session again. Not the end of `keep_outcome`: a caller that then presented the same token again
        /// would end the session.
        retry_after: Duration,
    },
    /// The session led more flights in a window than `max_refresh_attempts`.
    #[error("the session refreshed too often and cools down")]
    CoolingDown {
        /// What is left of `refresh_cooldown_period`.
        retry_after: Duration,
    },
    /// The provider asked this session to stay away (429).
    #[error("the provider asked this session to come later")]
    Limited {
        /// What is left of the time the provider named, 5 min at most.
        retry_after: Duration,
    },
    /// `max_concurrent_refreshes` flights ask the provider already, and none ended within `budget_wait`.
    #[error("too many refreshes at once")]
    Budget {
        /// A fair pause: nobody knows when one ends.
        retry_after: Duration,
    },
    /// The circuit is open: the provider fails, or asked everybody to stay away.
    #[error("the circuit is open: the provider fails or asked everybody to come later")]
    CircuitOpen {
        /// Until the first probe may go; while probes are out a fair pause, 1 s at most.
        retry_after: Duration,
    },
    /// This pod could not reach the provider several times in a row (`breaker.max_failures`). Other pods may.
    #[error("this pod cannot reach the provider")]
    NotReaching {
        /// What is left of `breaker.open_duration`.
        retry_after: Duration,
    },
    /// This pod's memory is short; it joins flights of others, and leads none.
    #[error("this pod is short of memory")]
    MemoryPressure {
        /// Another pod answers at once; this is a fair pause for finding one.
        retry_after: Duration,
    },
    /// This coordinator is being closed.
    #[error("the coordinator is closing")]
    Closing {
        /// Another pod answers at once; this is a fair pause for finding one.
        retry_after: Duration,
    },
}

impl Refusal {
    /// When asking again makes sense.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::AnotherClaim { retry_after, .. }
            | Self::CoolingDown { retry_after }
            | Self::Limited { retry_after }
            | Self::Budget { retry_after }
            | Self::CircuitOpen { retry_after }
            | Self::NotReaching { retry_after }
            | Self::MemoryPressure { retry_after }
            | Self::Closing { retry_after } => *retry_after,
        }
    }

    /// One word for a log, as in the counters `refused_...`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::AnotherClaim { .. } => "another_claim",
            Self::CoolingDown { .. } => "cooling_down",
            Self::Limited { .. } => "limited",
            Self::Budget { .. } => "budget",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::NotReaching { .. } => "not_reaching",
            Self::MemoryPressure { .. } => "memory_pressure",
            Self::Closing { .. } => "closing",
        }
    }

    /// The field of [`Config`](crate::Config) that governs it, for the operator who has to change it. None where no setting
    /// does.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::AnotherClaim { differs: Differs::RefusedClaim, .. } => Some("other_claims"),
            Self::CoolingDown { .. } => Some("max_refresh_attempts"),
            Self::Budget { .. } => Some("max_concurrent_refreshes"),
            Self::CircuitOpen { .. } | Self::NotReaching { .. } => Some("breaker"),
            Self::MemoryPressure { .. } => Some("memory_pressure"),
            // The caller decides, the provider, or the application that closes the coordinator.
            Self::AnotherClaim { .. } | Self::Limited { .. } | Self::Closing { .. } => None,
        }
    }
}

/// In what a request differs from the one that its token was rotated for, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Differs {
    /// In its client, or in what that proves itself by: requests that differ in other things would follow.
    Client,
    /// In these, or in its scope or any other parameter. No setting would have it follow.
    Claim,
    /// The same, where [`Config::other_claims`](crate::Config::other_claims), here or at a living pod of the namespace, refuses to follow.
    RefusedClaim,
}

impl Differs {
    /// Of one that could follow the other, or could not, where that is done, or is not.
    pub(crate) fn of(could_follow: bool, is_followed: bool) -> Self {
        match (could_follow, is_followed) {
            (true, true) => Self::Client,
            (true, false) => Self::RefusedClaim,
            (false, _) => Self::Claim,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Client => "another client or credential",
            Self::Claim | Self::RefusedClaim => "another client, credential, scope or parameter",
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Why a coordinator could not be built. Each names what is wrong and what would be right.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is impossible or contradicts another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL is none of a Redis, or could not be read.
    #[error("the redis URL cannot be used: {reason}")]
    Url {
        /// What is wrong with it, and what would be right. Without the URL: it may hold a password.
        reason: String,
    },
    /// Nothing answers there, or not in time, or the login is refused, or Redis is a 32-bit build.
    #[error("redis at {address} cannot be used: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the way there said.
        reason: String,
    },
    /// The server is too old for the scripts.
    #[error("redis at {address} is version {version}, 7.0 or newer is needed")]
    Version {
        /// Host and port.
        address: String,
        /// What INFO says.
        version: String,
    },
    /// Another kind of server than the URL says: a node of a cluster, a sentinel, a replica.
    #[error("redis at {address} is {kind}: {remedy}")]
    Kind {
        /// Host and port.
        address: String,
        /// What it says it is.
        kind: &'static str,
        /// The URL that would be right.
        remedy: String,
    },
    /// A certificate or a key cannot be used, or this build has no TLS.
    #[error("TLS to redis cannot be set up: {reason}")]
    Tls {
        /// Which file is wrong, and what would be right.
        reason: String,
    },
    /// The user's ACL lacks rights.
    #[error("the redis user lacks rights: {reason}; add by ACL SETUSER: {rule}")]
    Right {
        /// What redis said first.
        reason: String,
        /// All rules to add with ACL SETUSER, with a space between two.
        rule: String,
    },
    /// The namespace is used by pods that live and would not understand this one.
    #[error("namespace {namespace} is used with another {what} by {by} ({theirs}; here {ours}); {remedy}")]
    Mismatch {
        /// The namespace.
        namespace: String,
        /// A living pod that goes by the other one.
        by: Box<str>,
        /// What differs: protocol, pepper, provider or `refresh_tokens`.
        what: &'static str,
        /// What that pod has.
        theirs: String,
        /// What this pod has.
        ours: String,
        /// What to do.
        remedy: Box<str>,
    },
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn error_says_its_reason_itself_and_a_chain_says_it_once() {
        let retry_after = Duration::from_secs(1);
        let errors: [(RefreshError, &str); 6] = [
            (InvalidRefresh::EmptyToken.into(), "the refresh token is empty"),
            (Refusal::CoolingDown { retry_after }.into(), "refreshed too often"),
            (Refusal::CircuitOpen { retry_after }.into(), "the circuit is open"),
            (RefreshError::Provider { failure: ProviderFailure::denied("invalid_grant"), fence: 1 }, "invalid_grant"),
            (RefreshError::Provider { failure: ProviderFailure::not_sent("no route"), fence: 1 }, "no route"),
            (RefreshError::StoreOutage { reason: "LOADING".to_owned(), retry_after }, "LOADING"),
        ];

        for (error, reason) in errors {
            let said = error.to_string();
            assert!(said.contains(reason), "{said}");
            assert!(error.source().is_none_or(|cause| !said.contains(&cause.to_string())), "{said}");
        }
    }
}
