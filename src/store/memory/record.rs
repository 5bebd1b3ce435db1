//! A flight as the store in memory knows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::news::{NewsSource, Notice, Told};
use crate::identity::Hash;
use crate::outcome::{Class, Outcome};
use crate::store::contract::{Ask, Begun, Joined, Landed, LeaderSeen, Lease};

/// What `lock:<flight>` and `flight:<flight>` are in Redis.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) lock: Option<Lock>,
    pub(super) state: State,
    pub(super) claim: Hash,
    pub(super) attempt: uuid::Uuid,
    pub(super) fence: u64,
    pub(super) started: Instant,
    /// Leaders lost in a row.
    pub(super) lost: u32,
    pub(super) ends: Instant,
    /// Made when the first pod joins.
    pub(super) waiting: Option<watch::Sender<Option<Told>>>,
    /// The success before the flight that is led now, and when the provider gave it: somebody may still come for it.
    /// Boxed, because it is rare, and there are as many records as sessions.
    pub(super) last: Option<Box<(Hash, Landed, Instant)>>,
    /// The attempt whose success landed last: completed again, it changes nothing.
    pub(super) success_of: Option<uuid::Uuid>,
    /// Whom the lead was charged to: the window of the session that began it.
    pub(super) charged: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    pub(super) fence: u64,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) enum State {
    Leading,
    Lost {
        /// Before this nobody presents the token again, nor before `retry_lost_after`; none where the time was over
        /// when whoever gave it back was given the lead.
        again_at: Option<Instant>,
    },
    /// Nobody leads, and whoever did asked nobody, or is forgotten.
    GivenBack,
    Landed {
        outcome: Arc<Outcome>,
        at: Instant,
        fresh_until: Instant,
    },
}

impl Record {
    pub(super) fn is_led_at(&self, now: Instant) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.until > now)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends <= now && !self.is_led_at(now)
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(&self.state, State::Landed { outcome, .. } if outcome.class() == Class::Success)
    }

    pub(super) fn last_success(&self, now: Instant, waits: Duration) -> Option<Box<(Hash, Landed, Instant)>> {
        match &self.state {
            State::Landed { at, .. } if self.is_success() && *at + waits > now => {
                self.landed(now).map(|landed| Box::new((self.claim, landed, *at)))
            }
            State::Landed { .. } | State::Leading | State::Lost { .. } | State::GivenBack => self.last.clone(),
        }
    }

    pub(super) fn join(
        &mut self,
        ask: &Ask,
        fence: u64,
        look_at: Instant,
        leader: LeaderSeen,
        waits_until: Instant,
    ) -> Begun<NewsSource> {
        self.ends = self.ends.max(waits_until);
        // Under the record's guard: whoever completes needs the guard too, so nothing is missed between.
        let told = self.waiting.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        let claim = ask.identity.claim;
        let fence = (self.claim == claim).then_some(fence);
        Begun::Join(Joined { fence, leader, news: NewsSource::Leader(Notice::new(claim, told, look_at)) })
    }

    pub(super) fn forgotten(lease: &Lease, now: Instant) -> Self {
        Self {
            lock: None,
            state: State::GivenBack,
            claim: lease.claim,
            attempt: lease.attempt,
            fence: lease.fence,
            started: lease.started,
            lost: 0,
            ends: now,
            waiting: None,
            last: None,
            success_of: None,
            charged: None,
        }
    }

    pub(super) fn landed(&self, now: Instant) -> Option<Landed> {
        match &self.state {
            State::Landed { outcome, at, .. } => Some(Landed {
                outcome: Arc::clone(outcome),
                fence: self.fence,
                age: now.saturating_duration_since(*at),
            }),
            State::Leading | State::Lost { .. } | State::GivenBack => None,
        }
    }

    pub(super) fn free(&mut self, lease: &Lease) {
        if self.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence) {
            self.lock = None;
        }
    }

    /// Whoever waits is told what landed, or to look.
    pub(super) fn tell_waiting(&mut self, now: Instant) {
        if let Some(waiting) = self.waiting.take()
            && let Some(landed) = self.landed(now)
        {
            waiting.send_replace(Some((self.claim, landed)));
        }
    }
}
