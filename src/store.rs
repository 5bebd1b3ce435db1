//! Step 2: where all pods agree which of them leads a flight, and where its outcome lands.
//!
//! Two stores keep one [`contract`]: [`memory`] for one process, [`redis`] for a fleet. The rest of the crate asks
//! [`Store`] and need not know which of them answers.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use self::contract::{
    Ask, AttemptId, ChainEnd, Coming, Completion, EndedFlight, Gaps, Held, LeaderSeen, Lease, News, Origin, Renewed,
    Standing, StoreError, StoredOutcome, Telling, Tip, TokenHistory,
};
use crate::admission::AdmissionTerms;
use crate::admission::circuit::CircuitState;
use crate::admission::overview::Overview;
use crate::config::{Config, RefreshTokens};
use crate::identity::{CheckedRequest, FlightName, Identity};
use crate::outcome::Outcome;

#[cfg(test)]
mod attacks;
mod contract;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod redis;
#[cfg(test)]
mod suite;

pub(crate) type Begun = contract::Begun<NewsSource>;
pub(crate) type Queued = contract::Queued<NewsSource>;
pub(crate) type Joined = contract::Joined<NewsSource>;
pub(crate) type Followed = contract::Followed<NewsSource>;

/// The store of one coordinator.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(memory::MemoryPod),
    Redis(redis::RedisStore),
    Local(local::LocalFallback),
}

/// Where news of a joined flight come from.
#[derive(Debug)]
pub(crate) enum NewsSource {
    Memory(memory::MemoryNews),
    Redis(redis::Ticket),
    Local(local::LocalNews),
}

impl NewsSource {
    /// Waits for the next news.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: what came meanwhile is told by the next call, or found by the next `begin`.
    pub(crate) async fn news(&mut self) -> News {
        match self {
            Self::Memory(source) => source.news().await,
            Self::Redis(ticket) => ticket.news().await,
            Self::Local(source) => source.news().await,
        }
    }
}

// What Redis takes is boxed: its futures are large, and every flight in memory would be as large, and moved about.
impl Store {
    /// What the request is called here.
    pub(crate) fn identity(&self, request: CheckedRequest, config: &Config) -> Identity {
        let name = match config.refresh_tokens {
            RefreshTokens::SingleUse => FlightName::Token,
            RefreshTokens::Reusable => FlightName::TokenAndClaim,
        };
        let pepper = config.pepper.as_ref();
        let request = if config.holds_answers() { request } else { request.unchained() };
        match self {
            Self::Memory(_) => request.in_process(pepper, name),
            Self::Redis(_) | Self::Local(_) => request.in_fleet(pepper, name),
        }
    }

    /// Asks, in one atomic step, what a flight is to do. `joined` is the fence it joined before, if it did.
    pub(crate) async fn begin(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
    ) -> Result<Begun, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.begin(ask, joined, terms, NewsSource::Memory)),
            Self::Redis(redis) => Ok(Box::pin(redis.begin(ask, joined, terms)).await?.map_news(NewsSource::Redis)),
            Self::Local(local) => Ok(Box::pin(local.begin(ask, joined, terms)).await?.map_news(NewsSource::Local)),
        }
    }

    /// Asks where a flight goes on whose token other claims of its client come with, too, when `begin` has said so.
    /// `own` is the question of its caller's own token, where its turn has led it on from there. A flight that may not lead only takes and
    /// waits.
    pub(crate) async fn follow(&self, ask: &Ask, own: Option<&Ask>, may_lead: bool) -> Result<Followed, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.follow(ask, own, may_lead).map_news(NewsSource::Memory)),
            Self::Redis(redis) => Ok(Box::pin(redis.follow(ask, own, may_lead)).await?.map_news(NewsSource::Redis)),
            Self::Local(local) => Ok(Box::pin(local.follow(ask, own, may_lead)).await?.map_news(NewsSource::Local)),
        }
    }

    /// Moves the lease on, if no newer leader has the flight.
    pub(crate) async fn renew(&self, lease: &Lease, ask: &Ask) -> Result<Renewed, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.renew(lease)),
            Self::Redis(redis) => Box::pin(redis.renew(lease, ask)).await,
            Self::Local(local) => Box::pin(local.renew(lease, ask)).await,
        }
    }

    /// Whether the provider may be asked under this lease: no other server has taken over from the one that gave it.
    ///
    /// # Errors
    ///
    /// Nobody could say. The lead is to be abandoned.
    pub(crate) async fn is_current(&self, lease: &Lease) -> Result<bool, StoreError> {
        match self {
            Self::Memory(_) => Ok(true),
            Self::Redis(redis) => Box::pin(redis.is_current(lease)).await,
            Self::Local(local) => Box::pin(local.is_current(lease)).await,
        }
    }

    /// Lands an outcome, frees lease, permit and probe, moves the circuit and tells the waiting pods, in one step.
    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.complete(lease, ask, completion)),
            Self::Redis(redis) => Box::pin(redis.complete(lease, ask, completion)).await,
            Self::Local(local) => Box::pin(local.complete(lease, ask, completion)).await,
        }
    }

    /// Says what becomes of an outcome that landed untold, of the flight of `ask` and this fence. Where that is
    /// [`Done`](Telling::Done), the token in it counts as used, wherever it was found.
    pub(crate) async fn tell(
        &self,
        ask: &Ask,
        fence: u64,
        outcome: &Outcome,
        telling: Telling,
    ) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.tell(ask, fence, outcome, telling);
                Ok(())
            }
            Self::Redis(redis) => Box::pin(redis.tell(ask, fence, outcome, telling)).await,
            Self::Local(local) => Box::pin(local.tell(ask, fence, outcome, telling)).await,
        }
    }

    /// Holds for the older token of `ask` what its chain has come to; none where it leads nowhere.
    pub(crate) async fn tip(&self, ask: &Ask, tip: Option<&Tip>) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.tip(ask, tip);
                Ok(())
            }
            Self::Redis(redis) => Box::pin(redis.tip(ask, tip)).await,
            Self::Local(local) => Box::pin(local.tip(ask, tip)).await,
        }
    }

    /// Ends the session of this token for its client: no flight hands out tokens for it or presents it any more, and what a flight
    /// that is under way brings is for nobody.
    pub(crate) async fn end_session(&self, ask: &Ask) -> Result<EndedFlight, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.end_session(ask)),
            Self::Redis(redis) => Box::pin(redis.end_session(ask)).await,
            Self::Local(local) => Box::pin(local.end_session(ask)).await,
        }
    }

    /// Gives back a lead that left the token as it was, with its permit, its probe and its charge.
    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.abandon(lease, ask),
            Self::Redis(redis) => Box::pin(redis.abandon(lease, ask)).await?,
            Self::Local(local) => Box::pin(local.abandon(lease, ask)).await?,
        }
        Ok(())
    }

    /// Gives back a lead, where nothing has to be waited for: one that the pod's own memory gave. Redis is told by a withdrawal.
    pub(crate) fn abandon_at_once(&self, lease: &Lease, ask: &Ask) {
        match self {
            Self::Memory(memory) => memory.abandon(lease, ask),
            Self::Redis(_) => {}
            Self::Local(local) => local.abandon_at_once(lease, ask),
        }
    }

    /// Lands an outcome whose flight cannot wait for that any more, within so long from the provider's answer on.
    pub(crate) fn complete_later(&self, lease: &Lease, ask: &Ask, completion: &Completion, within: Duration) {
        match self {
            Self::Memory(memory) => _ = memory.complete(lease, ask, completion),
            Self::Redis(redis) => redis.seal(lease, ask, completion).within(within),
            Self::Local(local) => local.complete_later(lease, ask, completion, within),
        }
    }

    /// When the certificates of the way to the store end, those that are known.
    pub(crate) fn certificate_ends(&self) -> Vec<(&'static str, SystemTime)> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Redis(redis) => redis.certificate_ends(),
            Self::Local(local) => local.certificate_ends(),
        }
    }

    /// Takes back an attempt and its place in the queue: a `begin` of it that is still on its way arrives as abandoned.
    pub(crate) async fn withdraw(&self, attempt: &AttemptId, queued_since: Option<Instant>) -> Result<(), StoreError> {
        match self {
            // A begin in memory is never on its way.
            Self::Memory(memory) => memory.withdraw(attempt, queued_since),
            Self::Redis(redis) => Box::pin(redis.withdraw(attempt)).await?,
            Self::Local(local) => Box::pin(local.withdraw(attempt, queued_since)).await?,
        }
        Ok(())
    }

    /// The circuit, as it stands.
    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.circuit_state()),
            Self::Redis(redis) => Box::pin(redis.circuit_state()).await,
            Self::Local(local) => Box::pin(local.circuit_state()).await,
        }
    }

    /// How the namespace stands as a whole.
    pub(crate) async fn overview(&self) -> Result<Overview, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.overview()),
            Self::Redis(redis) => Box::pin(redis.overview()).await,
            Self::Local(local) => Box::pin(local.overview()).await,
        }
    }

    /// Whether the store answers.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => Box::pin(redis.check()).await,
            Self::Local(local) => Box::pin(local.check()).await,
        }
    }

    /// Notes an outcome that could not be shared yet: it goes first when the store is back. Until the guard is
    /// dropped.
    pub(crate) fn note_unshared(&self) -> Option<redis::UnsharedOutcomeGuard> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.note_unshared()),
            Self::Local(local) => Some(local.note_unshared()),
        }
    }

    /// Whether the store is known not to answer. [`gaps`](Self::gaps) tell when it does again.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.is_out_of_reach(),
            Self::Local(local) => local.is_out_of_reach(),
        }
    }

    /// Whether a living pod, which may be this one, never presents a token again of which it is uncertain.
    pub(crate) fn remembers_strictly(&self) -> bool {
        match self {
            // It is never out of reach, and so nobody has to ask.
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.remembers_strictly(),
            Self::Local(local) => local.remembers_strictly(),
        }
    }

    /// Told when the store may have forgotten what it held, and when it is back.
    pub(crate) fn gaps(&self) -> Gaps {
        match self {
            Self::Memory(_) => Gaps::none(),
            Self::Redis(redis) => redis.gaps(),
            Self::Local(local) => local.gaps(),
        }
    }

    /// Sees to it, for as long as this is polled, that what waiting flights are told by goes on.
    pub(crate) async fn keep_running(&self) -> Infallible {
        match self {
            Self::Memory(_) => std::future::pending().await,
            Self::Redis(redis) => redis.keep_running().await,
            Self::Local(local) => local.keep_running().await,
        }
    }

    /// Waits for outcomes that the store was not told of yet.
    pub(crate) async fn drained(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.drained().await,
            Self::Local(local) => local.drained().await,
        }
    }

    /// Takes this pod out of those that count as living.
    pub(crate) async fn leave(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.leave().await,
            Self::Local(local) => local.leave().await,
        }
    }

    /// Ends what the store runs in the background. What waits is told to look, and finds the store closed.
    pub(crate) fn close(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.close(),
            Self::Local(local) => local.close(),
        }
    }
}
