//! The rules of step 2: which flight may ask the provider now, which queues, which is sent away for a while.
//!
//! Asked only when a flight would lead: whatever joins, or takes an outcome that is there, costs the provider nothing
//! and is served while the circuit is open or the session cools down. The rules are pure: they know no clock and no
//! network, the time is passed in. For the fleet `lua/lib/` has the same rules: `attempts`, `charge` and `session` for
//! [`attempts`], `accounts` for [`session`], `permits`, `budget` and `queue` for [`budget`], `lines` for [`queue`],
//! `circuit` and `health` for
//! [`circuit`], `known` and `note` for [`known`]. [`reach`] and [`strangers`] are each pod's own.
//!
//! The order is that of whom a refusal concerns. Only a flight that passes all of them is charged:
//!
//! 1. the pod: too little memory, or no way to the provider. Another pod may do.
//! 2. the [`circuit`]: the provider is to be left in peace, by everybody or by the client that it is [`concerned`] for. A caller that is not [`known`] moves it not, nor does it take its
//!    probe: it has a breaker among the [`strangers`] of its pod.
//! 3. the claim, within its [`session`]: its [`attempts`] are used up, or the provider asked it to stay away.
//! 4. the [`budget`]: last, because it is the one that can be waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Refusal;

pub(crate) mod attempts;
pub(crate) mod session;
pub(crate) mod budget;
pub(crate) mod circuit;
pub(crate) mod concerned;
pub(crate) mod known;
pub(crate) mod moved;
pub(crate) mod overview;
pub(crate) mod queue;
pub(crate) mod strangers;
pub(crate) mod reach;

/// What a flight brings along when it begins.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionTerms {
    /// Why its pod may lead nothing at present.
    pub(crate) pod_refuses: Option<Refusal>,
    /// Why it may lead nothing if it is not known.
    pub(crate) refuses_strangers: Option<Refusal>,
    /// How much longer it queues for a permit; zero refuses at once.
    pub(crate) patience: Duration,
    /// Since when it waits, in the queue or for a store that recovers, if it does: that is its place in the queue.
    pub(crate) waiting_since: Option<Instant>,
}

impl AdmissionTerms {
    /// Refused at once where it would queue.
    pub(crate) fn without_queueing(self) -> Self {
        Self { patience: Duration::ZERO, ..self }
    }

    /// Refused where it would lead.
    pub(crate) fn without_leading(self) -> Self {
        Self { pod_refuses: Some(Refusal::Budget { retry_after: FAIR_PAUSE }), ..self }
    }

    /// May lead, and does not queue.
    #[cfg(test)]
    pub(crate) fn at_once() -> Self {
        Self { pod_refuses: None, refuses_strangers: None, patience: Duration::ZERO, waiting_since: None }
    }
}

/// Nobody knows when a permit or a probe comes back: a pause that is fair to callers and to the store.
pub(crate) const FAIR_PAUSE: Duration = Duration::from_secs(1);
