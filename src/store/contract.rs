//! Step 2, the contract: what a store is asked, and what it answers.
//!
//! The verbs are those of the scripts in `lua/`. Each is atomic, and idempotent per attempt: asking again after a timeout
//! gets the same answer and charges nothing twice. One suite tests every store by it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

mod claims;
mod family;
mod landing;
mod server_id;

pub(crate) use self::claims::{Family, Followed, Origin};
pub(crate) use self::family::{Given, NAMING};
pub(crate) use self::landing::{Completion, StoredOutcome, Telling};
pub(crate) use self::server_id::ServerId;
use crate::authentication::Authentication;
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::{Caller, CheckedRequest, Hash, Identity};
use crate::outcome::{Outcome, TokenState};
use crate::own_lease::{LeaseAge, OwnLease};
use crate::secret::Secret;
use crate::token_response::TokenResponse;

/// A local flight that asks the fleet what to do.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) identity: Identity,
    /// New with every local flight: what makes a repeated `begin` the same `begin`.
    pub(crate) attempt: Uuid,
    pub(crate) coming: Coming,
    /// The refresh tokens between the one that the callers came with and the one that is led for.
    pub(crate) passed: Vec<Secret>,
    /// From where it comes, where it is its turn among the claims of its login.
    pub(crate) origin: Option<Box<Origin>>,
    /// Nobody waits for it: it leads only with a permit that nobody wants, and is not charged.
    pub(crate) is_background: bool,
    /// The fence of the answer that its callers have already: of a token that may be used again, they want a newer one.
    /// The same of a refusal that says nothing of the token.
    pub(crate) newer_than: Option<u64>,
    /// In which ways the client of its callers authenticates.
    pub(crate) authentication: Authentication,
    is_unanswered: AtomicBool,
    was_stranger: AtomicBool,
}

/// As what a flight comes to its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coming {
    /// Nothing is held for it: its client has no credential, or its function presents a token of its own.
    Unchained,
    /// With the token itself.
    Directly,
    /// With an older token of this generation, and with an access token that is good: it only asks whether anybody has used
    /// this one.
    Taking { from: u64 },
    /// With an older token of this generation: it would present this one.
    Walking { from: u64 },
    /// With the token itself, which is presented although its answer is held: the newer one was used, or is lost.
    Past,
    /// With the token itself, which is the newest of its login, and it is this flight's turn among the claims of that.
    InTurn,
    /// With an older token of this generation, which other claims came with, too: it is its turn to present this one, the newest.
    Claiming { from: u64 },
}

/// An answer that is held for a token, and where in its chain the token stands.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) landed: StoredOutcome,
    /// The refresh tokens between this one and the answer's, if the answer was found further on.
    pub(crate) passed: Vec<Secret>,
    pub(crate) generation: u64,
}

/// What is to be held for an older token instead of what is: where its chain has come to.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) landed: StoredOutcome,
    pub(crate) passed: Vec<Secret>,
}

/// Why nobody goes on along a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainEnd {
    /// Somebody came with the newer token.
    Used,
    /// What became of the newer token is not known any more.
    Broken,
}

/// The largest answer that is held, sealed, in bytes.
pub(crate) const LARGEST_HELD: usize = 64 * 1024;

impl Ask {
    pub(crate) fn new(identity: Identity, attempt: Uuid) -> Self {
        let coming = if identity.chain.is_some() { Coming::Directly } else { Coming::Unchained };
        let (is_unanswered, was_stranger) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            identity,
            attempt,
            coming,
            passed: Vec::new(),
            origin: None,
            is_background: false,
            newer_than: None,
            authentication: Authentication::default(),
            is_unanswered,
            was_stranger,
        }
    }

    /// How it ended speaks against the provider, and it came of a caller that is not known: the fleet did not count it.
    pub(crate) fn note_stranger(&self) {
        self.was_stranger.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_stranger(&self) -> bool {
        self.was_stranger.load(Ordering::Relaxed)
    }

    /// The caller, as far as it matters whether it is known.
    pub(crate) fn caller(&self, pepper: Option<&Secret>) -> Caller {
        Caller { client: self.identity.client, credential: self.identity.credential(pepper) }
    }

    /// What its client will be called with the token that it presents next, now that it has these tokens.
    pub(crate) fn next_client(&self, tokens: &TokenResponse, pepper: Option<&Secret>) -> Hash {
        match tokens.refresh_token() {
            Some(next) if !tokens.is_kept() => self.identity.client_with(&Secret::from(next), pepper),
            Some(_) | None => self.identity.client,
        }
    }

    /// A `begin` or a renewal of the attempt was sent and had no answer, also where it was sent again and that had one: it
    /// may arrive when the flight is over, and is then to change nothing.
    pub(crate) fn note_unanswered(&self) {
        self.is_unanswered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_unanswered(&self) -> bool {
        self.is_unanswered.load(Ordering::Relaxed)
    }

    /// The store was told that the attempt is over.
    pub(crate) fn over_is_told(&self) {
        self.is_unanswered.store(false, Ordering::Relaxed);
    }

    /// A new attempt of the same flight.
    pub(crate) fn start_anew(&mut self) {
        self.attempt = Uuid::new_v4();
        self.over_is_told();
    }

    pub(crate) fn id(&self) -> AttemptId {
        let Identity { flight, session, .. } = self.identity;
        AttemptId { flight, session, attempt: self.attempt, client_name: self.identity.asked_client_name() }
    }

    /// Its request with the token that it presented, where that may be used again and its claim came with an older one.
    pub(crate) fn request_with_kept(&self, outcome: &Outcome, max_token: usize) -> Option<CheckedRequest> {
        let own = self.origin.as_ref()?.flight;
        if outcome.token_state() != TokenState::Kept || own == self.identity.flight {
            return None;
        }
        self.identity.chain.as_ref()?.with_token(self.identity.entitlement.token.expose(), max_token)
    }
}

/// What a store knows an attempt by: enough to give it back, and no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptId {
    pub(crate) flight: Hash,
    pub(crate) session: Hash,
    pub(crate) attempt: Uuid,
    /// In whose line it queues, if it does.
    pub(crate) client_name: Option<u64>,
}

/// What `begin` answers. `N` is where the store's news for a waiting flight come from.
#[derive(Debug)]
pub(crate) enum Begun<N> {
    /// The outcome is already known.
    Landed(StoredOutcome),
    /// It is known, and nobody was told of it: its leader was lost before that, or gave it up.
    Untold(StoredOutcome),
    /// Nobody leads: the asker does, from now on.
    Lead(Lease),
    /// Somebody leads, or may come back with the answer.
    Join(Joined<N>),
    /// Too many ask the provider already: the asker has a place in the queue.
    Queued(Queued<N>),
    /// The token was rotated, and the answer is held: the asker looks at the token that followed.
    Held(Held),
    /// Other claims of its client come with the token, too: the asker follows them ([`Followed`]).
    Claims,
    /// Nobody has used this token: what brought it may be handed out.
    Unused,
    /// The way along the chain ends here.
    ChainOver(ChainEnd),
    /// The store may have forgotten who leads: the asker waits, and nobody is given a lead meanwhile.
    Recovering(Queued<N>),
    /// The asker's client has ended the session of this token.
    Ended,
    Rejected(Refusal),
}

impl<N> Begun<N> {
    /// The same answer, with another source of news.
    pub(crate) fn map_news<M>(self, wrap: impl FnOnce(N) -> M) -> Begun<M> {
        match self {
            Self::Landed(landed) => Begun::Landed(landed),
            Self::Untold(landed) => Begun::Untold(landed),
            Self::Lead(lease) => Begun::Lead(lease),
            Self::Join(Joined { fence, leader, news }) => Begun::Join(Joined { fence, leader, news: wrap(news) }),
            Self::Queued(Queued { since, news }) => Begun::Queued(Queued { since, news: wrap(news) }),
            Self::Recovering(Queued { since, news }) => Begun::Recovering(Queued { since, news: wrap(news) }),
            Self::Held(held) => Begun::Held(held),
            Self::Claims => Begun::Claims,
            Self::Unused => Begun::Unused,
            Self::ChainOver(end) => Begun::ChainOver(end),
            Self::Ended => Begun::Ended,
            Self::Rejected(refusal) => Begun::Rejected(refusal),
        }
    }
}

/// A flight that waits for a permit, or for a store that recovers.
#[derive(Debug)]
pub(crate) struct Queued<N> {
    /// When it came: what keeps its place when it asks again.
    pub(crate) since: Instant,
    pub(crate) news: N,
}

/// A larger number is no fence, wherever it comes from: one of `u64::MAX` would leave none to give.
pub(crate) const FENCES_END: u64 = 1 << 52;

/// A leader's claim on a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) flight: Hash,
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
    /// When it was asked for, which is before the lease began.
    pub(crate) started: Instant,
    /// Until when its leader may believe in it. Renewals move it on.
    pub(crate) own: OwnLease,
    /// When the answer came, which is after that.
    pub(crate) granted: Instant,
    pub(crate) history: TokenHistory,
    /// The server that gave it, where one did and told which it is.
    pub(crate) server: Option<ServerId>,
    /// Given by the pod itself, without the fleet (`on_store_outage = local`).
    pub(crate) is_local: bool,
}

impl Lease {
    /// Whether its call may be one of those that ask the provider at once. One that runs for longer than its callers wait,
    /// because its answer trickles, makes way for others.
    pub(crate) fn keeps_permit(&self, config: &Config) -> bool {
        self.granted.elapsed() < config.refresh_timeout
    }

    /// Whether it stands by the pod's own clocks: from when the lead or its last renewal was asked for.
    pub(crate) fn stands(&self) -> bool {
        self.own.age() != LeaseAge::Over
    }
}

/// What is known of the token when a leader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenHistory {
    Unremarkable,
    /// Leaders of this token were lost: the provider may have rotated it.
    LostLeaders,
    /// It was rotated, and its outcome is no longer kept: the provider will judge a reuse.
    Rotated,
}

/// A flight somebody else leads.
#[derive(Debug)]
pub(crate) struct Joined<N> {
    /// The flight waits for the outcome of this fence; none when it is another claim's, which is not for this caller.
    pub(crate) fence: Option<u64>,
    pub(crate) leader: LeaderSeen,
    pub(crate) news: N,
}

/// What the store knows of the leader of a joined flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderSeen {
    Living,
    /// Its lease is over; it may still come back with the answer.
    Lost,
}

/// What a waiting flight is told.
#[derive(Debug)]
pub(crate) enum News {
    Landed(StoredOutcome),
    /// Something may have changed: begin again.
    BeginAgain,
}

/// What `renew` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    Renewed,
    /// A newer fence has the flight. The refresh goes on all the same: a success will land.
    Superseded,
}

/// What stands after `complete`.
#[derive(Debug)]
pub(crate) enum Standing {
    /// What was completed.
    Ours,
    /// A success that landed first. Ours, if it was one, is a second.
    Theirs(StoredOutcome),
    /// The same, while nobody was told of it: its leader does something first. It is waited for, as by all others.
    TheirsUntold(StoredOutcome),
    /// Nothing that this leader's callers could be given: its failure came too late to matter.
    Stale,
    /// The client has ended the session meanwhile: whatever was completed is for nobody.
    Ended,
}

/// What ending a session found at its token.
#[derive(Debug)]
pub(crate) enum EndedFlight {
    /// A flight of the same client, which may still bring tokens: they are for nobody.
    UnderWay,
    /// It was rotated for the same client, which brought this.
    Rotated(StoredOutcome),
    /// Several claims come with tokens of this login, which has ended for all of them: this is the newest.
    FurtherOn(Secret),
    Idle,
}

/// The store gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct StoreError {
    pub(crate) reason: String,
    /// Whether it may have done, or may still do, what it was asked.
    pub(crate) may_have_run: bool,
}

impl StoreError {
    /// The store may have done what it was asked, or may still do it.
    pub(crate) fn may_have_run(reason: String) -> Self {
        Self { reason, may_have_run: true }
    }

    /// The store did not do what it was asked, and will not.
    pub(crate) fn did_not_run(reason: String) -> Self {
        Self { reason, may_have_run: false }
    }
}

/// Gaps in which a store may have forgotten.
pub(crate) struct Gaps(Option<watch::Receiver<u64>>);

impl Gaps {
    /// Of a store that counts them.
    pub(crate) fn counted(count: watch::Receiver<u64>) -> Self {
        Self(Some(count))
    }

    /// Of a store that forgets nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Waits for the end of the next gap.
    pub(crate) async fn passed(&mut self) {
        if let Some(gaps) = &mut self.0
            && gaps.changed().await.is_ok()
        {
            return;
        }
        // This store forgets nothing, or is gone.
        std::future::pending().await
    }
}
