//! A flight as the store in memory knows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::chain::Link;
use super::clients::{OtherClients, UncertainEnd};
use super::family::Membership;
use super::news::{LandedClaim, MemoryNews, Notice};
use crate::admission::session::Charge;
use crate::config::Config;
use crate::identity::Hash;
use crate::outcome::{Class, Outcome, TokenState};
use crate::store::contract::{Ask, Begun, Joined, LeaderSeen, Lease, StoredOutcome, TokenHistory};

/// Those that wait for a flight, as `waits:<flight>` in Redis.
#[derive(Debug)]
pub(super) struct Waiting {
    news: watch::Sender<Option<LandedClaim>>,
    /// Until when the last of them does.
    until: Instant,
}

/// What `lock:<flight>` and `flight:<flight>` are in Redis.
#[derive(Debug)]
pub(super) struct FlightRecord {
    pub(super) lock: Option<Lock>,
    pub(super) state: State,
    pub(super) claim: Hash,
    /// The client that led. None where nobody has.
    pub(super) client: Option<Hash>,
    pub(super) attempt: uuid::Uuid,
    pub(super) fence: u64,
    pub(super) started: Instant,
    /// What was known of the token when the leader started.
    pub(super) history: TokenHistory,
    /// Leaders lost in a row.
    pub(super) lost: u32,
    pub(super) ends: Instant,
    /// Made when the first flight joins or queues.
    pub(super) waiting: Option<Waiting>,
    /// The success before the flight that is led now, and when the provider gave it: somebody may still come for it.
    /// Boxed, because it is rare, and there are as many records as sessions.
    pub(super) last: Option<Box<(Hash, StoredOutcome, Instant)>>,
    /// The attempt of the success that landed last: completed again, it changes nothing.
    pub(super) success_of: Option<uuid::Uuid>,
    /// It landed, and its leader does something before anybody is told.
    pub(super) is_untold: bool,
    /// What is known of other clients with this token. Boxed, because it is rare.
    pub(super) others: Option<Box<OtherClients>>,
    /// What the lead was charged to.
    pub(super) charged: Option<Charge>,
    /// Where the token stands in a chain, where an answer that is held gave it. Boxed, because most have none.
    pub(super) link: Option<Box<Link>>,
    /// The login that the token belongs to, where several claims come with tokens of that. Boxed, because most have none.
    pub(super) login: Option<Box<Membership>>,
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
    /// Nobody leads, and there was no leader, or the last one asked nobody or is forgotten.
    Abandoned,
    Landed {
        outcome: Arc<Outcome>,
        at: Instant,
        fresh_until: Instant,
    },
    /// The token was rotated, and nobody is handed the answer from here any more: no record keeps tokens for as long as it
    /// stays for a login.
    Rotated,
}

/// What a flight that asks has waited for so far.
pub(super) struct WaitedFor {
    pub(super) attempt: uuid::Uuid,
    pub(super) claim: Hash,
    /// The fence it joined.
    pub(super) joined: Option<u64>,
    /// When it began to queue.
    pub(super) since: Option<Instant>,
    /// The fence of the answer that it has already.
    pub(super) newer_than: Option<u64>,
}

impl FlightRecord {
    pub(super) fn is_led_at(&self, now: Instant) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.until > now)
    }

    pub(super) fn led_until(&self) -> Option<Instant> {
        self.lock.map(|lock| lock.until)
    }

    /// Whether another credential than that of the token's holder leads.
    pub(super) fn is_led_by_stranger(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.stranger == Some(self.fence))
    }

    /// Whether callers that come later are given what landed.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        matches!(self.state, State::Landed { fresh_until, .. } if fresh_until > now)
    }

    /// While its leader keeps it back, an outcome is joined as if it had not landed yet.
    pub(super) fn is_kept_back_at(&self, now: Instant) -> bool {
        self.is_untold && self.is_led_at(now)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends <= now && !self.is_led_at(now)
    }

    /// The outcome that this flight may be handed, if there is one.
    pub(super) fn outcome_for(&self, flight: &WaitedFor, now: Instant) -> Option<StoredOutcome> {
        // A flight that queues would have joined, had it come a moment later: what lands meanwhile is for it, too.
        let landed_while_queued = |at: Instant| flight.since.is_some_and(|since| at > since);
        if let State::Landed { fresh_until, at, .. } = self.state
            && !self.is_kept_back_at(now)
        {
            // A success of an older fence than the one that was joined came late, after the joining.
            let waited_for =
                flight.joined.is_some_and(|fence| self.fence >= fence || self.is_success()) || landed_while_queued(at);
            let is_known =
                flight.newer_than.is_some_and(|known| self.fence <= known) && (self.is_kept() || self.is_refused());
            let is_fresh = fresh_until > now && !is_known;
            if self.claim == flight.claim && (is_fresh || waited_for || self.attempt == flight.attempt) {
                return self.landed(now);
            }
        }
        // A newcomer may lead already, but this is what was waited for.
        let (claim, last, at) = self.last.as_deref()?;
        let waited_for = flight.joined.is_some_and(|fence| last.fence >= fence) || landed_while_queued(*at);
        (*claim == flight.claim && waited_for)
            .then(|| StoredOutcome { age: now.saturating_duration_since(*at), ..last.clone() })
    }

    /// Whether this attempt leads, or has led and was not heard of since.
    pub(super) fn is_led_by(&self, attempt: uuid::Uuid) -> bool {
        matches!(self.state, State::Leading | State::LeaderLost { .. }) && self.attempt == attempt
    }

    /// Takes a lead back that asked nobody. Leaders before it may have; a late renewal of this one has not.
    pub(super) fn undo_lead(&mut self, now: Instant, ends: Instant) {
        if matches!(self.state, State::LeaderLost { .. }) {
            // This leader was only late, and asked nobody.
            self.lost -= 1;
        }
        self.attempt = uuid::Uuid::nil();
        self.lock.take_if(|lock| lock.fence == self.fence);
        if self.lost > 0 {
            // This leader never asked, but one before it may have, and its time was over.
            self.state = State::LeaderLost { heard_until: None };
        } else {
            self.state = State::Abandoned;
            self.client = None;
            if !self.has_uncertain() {
                // Somebody may still come for the success before, and it is not to land again.
                // A token that an answer gave is given again, for as long as before.
                self.ends = ends.max(now + self.given_left(now)).max(self.ends_with_login().unwrap_or(now));
            }
        }
    }

    /// A leading flight without a lock has lost its leader: the lease was not renewed.
    pub(super) fn notice_lost_leader(&mut self, now: Instant, config: &Config) {
        if matches!(self.state, State::Leading) {
            self.state = State::LeaderLost { heard_until: Some(now + config.grace_of_lost()) };
            self.lock = None;
            self.lost += 1;
        }
    }

    /// Whether the last flight was of this client, as far as anybody knows.
    pub(super) fn is_of(&self, client: Hash) -> bool {
        self.client.is_none_or(|led| led == client)
    }

    pub(super) fn others(&mut self) -> &mut OtherClients {
        self.others.get_or_insert_default()
    }

    pub(super) fn has_uncertain(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.has_uncertain())
    }

    /// What is known of other clients once this one leads.
    pub(super) fn others_when_led_by(&mut self, client: Hash, config: &Config) -> Option<Box<OtherClients>> {
        let is_unknown = match &self.state {
            State::LeaderLost { .. } => true,
            State::Landed { outcome, .. } => match outcome.token_state() {
                TokenState::Unknown => true,
                TokenState::Untouched => self.lost > 0,
                TokenState::Rotated | TokenState::Kept | TokenState::Dead => false,
            },
            State::Leading | State::Abandoned | State::Rotated => false,
        };
        if let Some(before) = self.client
            && before != client
            && is_unknown
        {
            let end = UncertainEnd { fence: self.fence, lost: self.lost };
            self.others().keep_uncertain(before, end, config.uncertain);
        }
        let mut others = self.others.take();
        if let Some(others) = &mut others {
            others.leads(client);
        }
        others
    }

    /// Whether what the record says stays, whatever this leader brings.
    pub(super) fn stands_against(&self, lease: &Lease, outcome: &Outcome) -> bool {
        let is_success = outcome.class() == Class::Success;
        match &self.state {
            // A success replaces a failure whatever the fences; the first success stays.
            State::Landed { outcome: landed, .. } => !is_success || landed.class() == Class::Success,
            State::Rotated => true,
            State::Leading | State::LeaderLost { .. } => !is_success && self.attempt != lease.attempt,
            State::Abandoned => !is_success && outcome.token_state() != TokenState::Unknown,
        }
    }

    /// Whether what stands is what this attempt brought.
    pub(super) fn has_landed_of(&self, attempt: uuid::Uuid) -> bool {
        matches!(self.state, State::Landed { .. } | State::Rotated) && self.attempt == attempt
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(&self.state, State::Landed { outcome, .. } if outcome.class() == Class::Success)
    }

    /// Whether the token may be used again.
    fn is_kept(&self) -> bool {
        matches!(&self.state, State::Landed { outcome, .. } if outcome.token_state() == TokenState::Kept)
    }

    /// Whether the provider refused it, and said nothing of the token.
    fn is_refused(&self) -> bool {
        let is_untouched = |outcome: &Outcome| outcome.token_state() == TokenState::Untouched;
        matches!(&self.state, State::Landed { outcome, .. } if outcome.class() == Class::Denied && is_untouched(outcome))
    }

    pub(super) fn last_success(&self, now: Instant, waits: Duration) -> Option<Box<(Hash, StoredOutcome, Instant)>> {
        match &self.state {
            State::Landed { at, .. } if self.is_success() && *at + waits > now => {
                self.landed(now).map(|landed| Box::new((self.claim, landed, *at)))
            }
            State::Landed { .. } | State::Leading | State::LeaderLost { .. } | State::Abandoned | State::Rotated => {
                self.last.clone()
            }
        }
    }

    pub(super) fn join(
        &mut self,
        ask: &Ask,
        fence: u64,
        look_at: Instant,
        leader: LeaderSeen,
        waits_until: Instant,
    ) -> Begun<MemoryNews> {
        // Under the record's guard: `complete` needs the guard too, so nothing is missed between.
        let told = self.wait(waits_until).subscribe();
        let claim = ask.identity.claim;
        let fence = (self.claim == claim).then_some(fence);
        Begun::Join(Joined { fence, leader, news: MemoryNews::Leader(Notice::new(claim, told, look_at)) })
    }

    /// Known clients lead before this one.
    pub(super) fn wait_for_others(&mut self, ask: &Ask, look_at: Instant, waits_until: Instant) -> Begun<MemoryNews> {
        let told = self.wait(waits_until).subscribe();
        let news = MemoryNews::Leader(Notice::new(ask.identity.claim, told, look_at));
        Begun::Join(Joined { fence: None, leader: LeaderSeen::Living, news })
    }

    /// A flight waits, for the leader or in the queue for a permit: the record stays for as long, and what lands meanwhile
    /// is kept for it.
    pub(super) fn wait(&mut self, until: Instant) -> &watch::Sender<Option<LandedClaim>> {
        self.ends = self.ends.max(until);
        let waiting = self.waiting.get_or_insert_with(|| Waiting { news: watch::Sender::new(None), until });
        waiting.until = waiting.until.max(until);
        &waiting.news
    }

    pub(super) fn is_waited_for(&self, now: Instant) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.until > now)
    }

    /// Of a token of which nothing is known.
    pub(super) fn bare(claim: Hash, now: Instant) -> Self {
        Self {
            lock: None,
            state: State::Abandoned,
            claim,
            client: None,
            attempt: uuid::Uuid::nil(),
            fence: 0,
            started: now,
            history: TokenHistory::Unremarkable,
            lost: 0,
            ends: now,
            waiting: None,
            last: None,
            success_of: None,
            is_untold: false,
            others: None,
            charged: None,
            link: None,
            login: None,
        }
    }

    /// A token that an answer gave, and that nobody has presented.
    pub(super) fn given(claim: Hash, link: Link, now: Instant, until: Instant) -> Self {
        Self { ends: until, link: Some(Box::new(link)), ..Self::bare(claim, now) }
    }

    pub(super) fn forgotten(lease: &Lease, now: Instant) -> Self {
        let Lease { claim, attempt, fence, started, history, .. } = *lease;
        Self { attempt, fence, started, history, ..Self::bare(claim, now) }
    }

    pub(super) fn landed(&self, now: Instant) -> Option<StoredOutcome> {
        match &self.state {
            State::Landed { outcome, at, .. } => Some(StoredOutcome {
                outcome: Arc::clone(outcome),
                fence: self.fence,
                age: now.saturating_duration_since(*at),
            }),
            State::Leading | State::LeaderLost { .. } | State::Abandoned | State::Rotated => None,
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
            waiting.news.send_replace(Some((self.claim, landed)));
        }
    }
}
