//! The store in Redis: what a pod decides by what the scripts reply.
//!
//! One script per verb, called through [`calls`]; a few [`lanes`] to send it over; one subscription, the [`inbox`], for
//! what other pods land.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) mod url;
mod connect;
mod preflight;
mod agreement;

mod calls;
mod scripts;
mod keys;
mod sealed;

mod call;
mod lanes;
mod outage;
mod prober;

mod inbox;
mod waiters;
mod fences;
mod looker;

mod completer;

use self::agreement::Agreement;
use self::calls::Calls;
use self::calls::begin::{Begin, BeginReply, Join};
use self::completer::{Completer, SealedCompletion};
use self::fences::Fences;
use self::inbox::Inbox;
use self::outage::Outage;
pub(crate) use self::outage::UnsharedOutcome;
use self::prober::Prober;
use self::sealed::{Opener, SealedOutcome};
pub(crate) use self::waiters::Ticket;
use self::waiters::{Awaited, Waiters};
use super::contract::{
    self, Ask, Completion, Gaps, Joined, Lease, Queued, Renewed, Standing, StoreError, StoredOutcome, TokenHistory,
};
use crate::admission::circuit::CircuitState;
use crate::admission::{AdmissionTerms, FAIR_PAUSE};
use crate::config::Config;
use crate::error::Refusal;
use crate::metrics::Counters;
use crate::outcome::Outcome;

type Begun = contract::Begun<Ticket>;

/// One pod's view of the store.
pub(crate) struct RedisStore {
    config: Arc<Config>,
    counters: Arc<Counters>,
    calls: Arc<Calls>,
    inbox: Arc<Inbox>,
    waiters: Arc<Waiters>,
    fences: Arc<Fences>,
    agreement: Arc<Agreement>,
    outage: Arc<Outage>,
    prober: Arc<Prober>,
    completer: Arc<Completer>,
    jitter: Duration,
    closed: CancellationToken,
}

impl RedisStore {
    pub(crate) async fn begin(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
    ) -> Result<Begun, StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        let claim = ask.identity.claim.to_string();
        // First the ticket, then the question: an outcome that lands between the two finds somebody waiting.
        let ticket = self.waiters.ticket(ask.identity.flight);
        let asked = Instant::now();
        let begin = Begin {
            ask,
            claim: &claim,
            joined,
            seen: self.fences.seen(),
            may_lead: terms.pod_refuses.is_none(),
            queued: terms.queued_since.map(|since| since.elapsed()),
            may_queue: !terms.patience.is_zero(),
        };
        Ok(match self.calls.begin(&begin).await? {
            BeginReply::Landed(sealed) => self.landed(ask, &sealed),
            BeginReply::Lost { fence } => lost(fence),
            BeginReply::Lead { fence, history } => self.lead(ask, asked, fence, history),
            BeginReply::Join(join) => self.join(ask, claim, join, ticket),
            BeginReply::Queued { look } => self.queue(terms, asked, look, ticket),
            BeginReply::Rejected(refusal) => self.rejected(refusal),
            BeginReply::RejectedByPod => rejected_by_pod(terms),
            BeginReply::Abandoned => {
                return Err(StoreError::did_not_run("the attempt was given up before redis answered".to_owned()));
            }
        })
    }

    fn landed(&self, ask: &Ask, sealed: &SealedOutcome) -> Begun {
        self.fences.see(sealed.fence);
        match self.opener(ask).open(sealed) {
            Some(landed) => Begun::Landed(landed),
            // It has our claim, so it should open: somebody wrote into Redis. Nobody is handed it, and the token is not
            // presented while the record says that it was rotated.
            None => Begun::Rejected(Refusal::AnotherClaim { retry_after: self.config.keep_outcome }),
        }
    }

    fn lead(&self, ask: &Ask, asked: Instant, fence: u64, history: TokenHistory) -> Begun {
        self.fences.see(fence);
        let Ask { identity, attempt } = ask;
        Begun::Lead(Lease {
            flight: identity.flight,
            claim: identity.claim,
            attempt: *attempt,
            fence,
            started: asked,
            granted: Instant::now(),
            history,
            is_local: false,
        })
    }

    fn join(&self, ask: &Ask, ours: String, theirs: Join, mut ticket: Ticket) -> Begun {
        let Join { fence, claim, leader, look } = theirs;
        self.fences.see(fence);
        let due = Instant::now() + look + self.jitter;
        let is_ours = claim == ours;
        let awaited = is_ours.then(|| Awaited { fence, claim: ours, opener: self.opener(ask) });
        ticket.join(fence, leader, due, awaited);
        Begun::Join(Joined { fence: is_ours.then_some(fence), leader, news: ticket })
    }

    fn queue(&self, terms: &AdmissionTerms, asked: Instant, look: Duration, mut ticket: Ticket) -> Begun {
        ticket.queue(Instant::now() + look + self.jitter);
        Begun::Queued(Queued { since: terms.queued_since.unwrap_or(asked), news: ticket })
    }

    fn rejected(&self, refusal: Refusal) -> Begun {
        if matches!(refusal, Refusal::Recovering { .. }) {
            self.agreement.may_be_forgotten();
        }
        Begun::Rejected(refusal)
    }

    pub(crate) async fn renew(&self, lease: &Lease) -> Result<Renewed, StoreError> {
        self.calls.renew(lease, self.fences.seen()).await
    }

    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        self.completer.complete(lease, ask, completion).await
    }

    /// Seals what was obtained without Redis, to be kept until Redis has it.
    pub(crate) fn seal(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> SealedCompletion {
        self.completer.seal(lease, ask, completion)
    }

    /// Waits until what was obtained without Redis has landed there, or is not worth it any more. For a close: nothing is
    /// obtained meanwhile.
    pub(crate) async fn drained(&self) {
        self.completer.later.close();
        self.completer.later.wait().await;
    }

    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        self.calls.abandon(ask, lease.fence).await
    }

    /// Of an attempt that may still be on its way: makes it arrive as abandoned, or gives its lead back.
    pub(crate) async fn disown(&self, ask: &Ask) -> Result<(), StoreError> {
        self.calls.abandon(ask, 0).await
    }

    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        self.calls.circuit().await
    }

    /// Whether all pods still agree on what they agreed on at start.
    pub(crate) fn agrees(&self) -> Result<(), StoreError> {
        self.agreement.holds()
    }

    /// Runs `act` if Redis has been out of reach for at least `span`. The outage cannot end while it runs.
    pub(crate) fn if_out_of_reach_for<T>(&self, span: Duration, act: impl FnOnce(&Fences) -> T) -> Option<T> {
        self.outage.if_lasts_for(span, || act(&self.fences))
    }

    /// Whether a flight could be begun now.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        self.prober.probe().await?;
        Ok(())
    }

    pub(crate) fn note_unshared(&self) -> UnsharedOutcome {
        self.outage.note_unshared()
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.outage.is_out_of_reach()
    }

    /// Counts the times the subscription was made again, and the outages: Redis may have forgotten what it held.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps::counted(self.inbox.gaps.subscribe())
    }

    pub(crate) fn close(&self) {
        if !self.completer.later.is_empty() {
            warn!(outcomes = self.completer.later.len(), "closing with outcomes that redis was not told of");
        }
        self.closed.cancel();
        self.waiters.tell_all_to_look();
    }

    fn opener(&self, ask: &Ask) -> Opener {
        Opener::new(&ask.identity, &self.config, &self.counters)
    }
}

/// Leaders of this token were lost, and it is not presented again.
fn lost(fence: u64) -> Begun {
    let outcome = Arc::new(Outcome::TokenLost(None));
    Begun::Landed(StoredOutcome { outcome, fence, age: Duration::ZERO })
}

/// The script says so only where the terms did.
fn rejected_by_pod(terms: &AdmissionTerms) -> Begun {
    let refusal = terms.pod_refuses.clone();
    Begun::Rejected(refusal.unwrap_or(Refusal::MemoryPressure { retry_after: FAIR_PAUSE }))
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("pod", &self.calls.pod()).finish_non_exhaustive()
    }
}
