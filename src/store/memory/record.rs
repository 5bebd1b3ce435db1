//! A flight as the store in memory knows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::news::{LandedClaim, NewsSource, Notice};
use crate::config::{Config, Uncertain};
use crate::identity::Hash;
use crate::outcome::{Class, Outcome, TokenState};
use crate::store::contract::{Ask, Begun, Joined, LeaderSeen, Lease, StoredOutcome, TokenHistory};

/// What `lock:<flight>` and `flight:<flight>` are in Redis.
#[derive(Debug)]
pub(super) struct FlightRecord {
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
    pub(super) waiting: Option<watch::Sender<Option<LandedClaim>>>,
    /// The success before the flight that is led now, and when the provider gave it: somebody may still come for it.
    /// Boxed, because it is rare, and there are as many records as sessions.
    pub(super) last: Option<Box<(Hash, StoredOutcome, Instant)>>,
    /// The attempt of the success that landed last: completed again, it changes nothing.
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
    LeaderLost {
        /// Until when the lost leader may still be heard of (`again_at` in Redis): before this no pod presents the token
        /// again, nor before `retry_lost_after`. None: all its time was over when a later leader took over and gave back.
        heard_until: Option<Instant>,
    },
    /// Nobody leads, and the last leader asked nobody or is forgotten.
    GivenBack,
    Landed {
        outcome: Arc<Outcome>,
        at: Instant,
        fresh_until: Instant,
    },
}

/// What a flight that asks has waited for so far.
pub(super) struct WaitedFor {
    pub(super) attempt: uuid::Uuid,
    pub(super) claim: Hash,
    /// The fence it joined.
    pub(super) joined: Option<u64>,
    /// When it began to queue.
    pub(super) since: Option<Instant>,
}

/// Whether a token that no leader holds may be presented.
pub(super) enum NextLead {
    /// By a leader that is told this of the token.
    May(TokenHistory),
    /// A lost leader may still come back with the answer.
    NotBefore(Instant),
    /// It may have been rotated, and the policy is `never`.
    Never,
    /// It was rotated for somebody else, a moment ago.
    AnotherClaim { retry_after: Duration },
}

impl FlightRecord {
    pub(super) fn is_led_at(&self, now: Instant) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.until > now)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends <= now && !self.is_led_at(now)
    }

    /// The outcome that this flight may be handed, if there is one.
    pub(super) fn outcome_for(&self, flight: &WaitedFor, now: Instant) -> Option<StoredOutcome> {
        // A flight that queues would have joined, had it come a moment later: what lands meanwhile is for it, too.
        let landed_while_queued = |at: Instant| flight.since.is_some_and(|since| at > since);
        if let State::Landed { fresh_until, at, .. } = self.state {
            // A success of an older fence than the one that was joined came late, after the joining.
            let waited_for =
                flight.joined.is_some_and(|fence| self.fence >= fence || self.is_success()) || landed_while_queued(at);
            if self.claim == flight.claim && (fresh_until > now || waited_for || self.attempt == flight.attempt) {
                return self.landed(now);
            }
        }
        // A newcomer may lead already, but this is what was waited for.
        let (claim, last, at) = self.last.as_deref()?;
        let waited_for = flight.joined.is_some_and(|fence| last.fence >= fence) || landed_while_queued(*at);
        (*claim == flight.claim && waited_for)
            .then(|| StoredOutcome { age: now.saturating_duration_since(*at), ..last.clone() })
    }

    /// A leading flight without a lock has lost its leader: the lease was not renewed.
    pub(super) fn notice_lost_leader(&mut self, now: Instant, config: &Config) {
        if matches!(self.state, State::Leading) {
            self.state = State::LeaderLost { heard_until: Some(now + config.grace_of_lost()) };
            self.lock = None;
            self.lost += 1;
        }
    }

    /// Whether the token may be presented now, where no leader holds it.
    pub(super) fn next_lead(&self, now: Instant, config: &Config) -> NextLead {
        match &self.state {
            State::Leading => unreachable!("BUG: a leading flight without a lock was just marked lost"),
            State::GivenBack => NextLead::May(TokenHistory::Unremarkable),
            State::LeaderLost { heard_until } => {
                let heard_until = heard_until.map(|at| at.max(self.started + config.retry_lost_after()));
                match heard_until {
                    Some(heard_until) if heard_until > now => NextLead::NotBefore(heard_until),
                    _ if config.uncertain == Uncertain::Never => NextLead::Never,
                    _ => NextLead::May(TokenHistory::LostLeaders),
                }
            }
            State::Landed { outcome, fresh_until, .. } => match outcome.token_state() {
                TokenState::Rotated if *fresh_until > now => NextLead::AnotherClaim { retry_after: *fresh_until - now },
                TokenState::Rotated => NextLead::May(TokenHistory::Rotated),
                TokenState::Unknown if config.uncertain == Uncertain::Never => NextLead::Never,
                // The leader that took over learned nothing of the token: it is as uncertain as before.
                TokenState::Untouched | TokenState::Unknown if self.lost > 0 => {
                    NextLead::May(TokenHistory::LostLeaders)
                }
                TokenState::Kept | TokenState::Dead | TokenState::Untouched | TokenState::Unknown => {
                    NextLead::May(TokenHistory::Unremarkable)
                }
            },
        }
    }

    /// Whether what the record says stays, whatever this leader brings.
    pub(super) fn stands_against(&self, lease: &Lease, outcome: &Outcome) -> bool {
        let is_success = outcome.class() == Class::Success;
        match &self.state {
            // A success replaces a failure whatever the fences; the first success stays.
            State::Landed { outcome: landed, .. } => !is_success || landed.class() == Class::Success,
            State::Leading | State::LeaderLost { .. } => !is_success && self.attempt != lease.attempt,
            State::GivenBack => !is_success && outcome.token_state() != TokenState::Unknown,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(&self.state, State::Landed { outcome, .. } if outcome.class() == Class::Success)
    }

    pub(super) fn last_success(&self, now: Instant, waits: Duration) -> Option<Box<(Hash, StoredOutcome, Instant)>> {
        match &self.state {
            State::Landed { at, .. } if self.is_success() && *at + waits > now => {
                self.landed(now).map(|landed| Box::new((self.claim, landed, *at)))
            }
            State::Landed { .. } | State::Leading | State::LeaderLost { .. } | State::GivenBack => self.last.clone(),
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
        // Under the record's guard: `complete` needs the guard too, so nothing is missed between.
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

    pub(super) fn landed(&self, now: Instant) -> Option<StoredOutcome> {
        match &self.state {
            State::Landed { outcome, at, .. } => Some(StoredOutcome {
                outcome: Arc::clone(outcome),
                fence: self.fence,
                age: now.saturating_duration_since(*at),
            }),
            State::Leading | State::LeaderLost { .. } | State::GivenBack => None,
        }
    }

    pub(super) fn free(&mut self, lease: &Lease) {
        if self.lock.as_ref().is_some_and(|lock| lock.fence == lease.fence) {
            self.lock = None;
        }
    }

    /// Waiting flights are told what landed. Where nothing did, the sender is dropped, and they begin again.
    pub(super) fn tell_waiting(&mut self, now: Instant) {
        if let Some(waiting) = self.waiting.take()
            && let Some(landed) = self.landed(now)
        {
            waiting.send_replace(Some((self.claim, landed)));
        }
    }
}
