//! `begin` over Redis: what a flight is to do, by what the script replies.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::RedisStore;
use super::calls::begin::{Begin, BeginReply, Join, MayLead, Urgency};
use super::sealed::SealedOutcome;
use super::waiters::{Awaited, Ticket};
use crate::admission::{AdmissionTerms, FAIR_PAUSE};
use crate::error::{Differs, Refusal};
use crate::metrics::Stopwatch;
use crate::moment::Moment;
use crate::outcome::Outcome;
use crate::own_lease::OwnLease;
use crate::store::contract::{self, Ask, Joined, Lease, Queued, ServerId, StoreError, StoredOutcome, TokenHistory};

type Begun = contract::Begun<Ticket>;

impl RedisStore {
    pub(crate) async fn begin(
        &self,
        ask: &Ask,
        joined: Option<u64>,
        terms: &AdmissionTerms,
    ) -> Result<Begun, StoreError> {
        if self.tasks.keep_running() && self.is_out_of_reach() {
            // Nobody has asked for Redis since the runtime of the prober ended, and nobody may once that of this flight has.
            _ = tokio::time::timeout(self.config.store_timeout, self.reached().again()).await;
        }
        self.agrees()?;
        self.outage.admits()?;
        self.agreement.is_standing()?;
        let claim = ask.identity.claim.to_string();
        // First the ticket, then the question: an outcome that lands between the two finds somebody waiting.
        let ticket = self.waiters.ticket(ask.identity.flight);
        let asked = Moment::now();
        let begin = Begin {
            ask,
            claim: &claim,
            joined,
            seen: self.fences.seen(),
            may_lead: match (&terms.pod_refuses, &terms.refuses_strangers) {
                (Some(_), _) => MayLead::No,
                (None, Some(_)) => MayLead::Known,
                (None, None) => MayLead::Yes,
            },
            standing: &self.roll.standing(ask),
            follows: self.config.follows_claims() && self.completer.register.all_follow(),
            waited: terms.waiting_since.map(|since| since.elapsed()),
            urgency: match (ask.is_background, terms.patience.is_zero()) {
                (true, _) => Urgency::Background,
                (false, true) => Urgency::AtOnce,
                (false, false) => Urgency::Queues,
            },
        };
        let watch = Stopwatch::start();
        let reply = self.calls.begin(&begin).await;
        self.counters.timings.begin.took(watch.stop());
        Ok(match reply? {
            BeginReply::Landed(sealed) => self.landed(ask, &sealed),
            BeginReply::Untold(sealed) => match self.landed(ask, &sealed) {
                Begun::Landed(landed) => Begun::Untold(landed),
                unopened => unopened,
            },
            BeginReply::TokenLost { fence } => lost(fence),
            BeginReply::Lead { fence, history, server } => {
                self.is_replicated(ask, fence).await?;
                self.lead(ask, asked, fence, history, server)
            }
            BeginReply::Join(join) => self.join(ask, claim, join, ticket),
            BeginReply::Queued { look } => self.queue(terms, asked.instant(), look, ticket),
            BeginReply::Recovering { look } => self.recovering(terms, asked.instant(), look, ticket),
            BeginReply::Held { sealed, generation } => self.held(ask, &sealed, generation),
            BeginReply::Claims => Begun::Claims,
            BeginReply::Unused => Begun::Unused,
            BeginReply::ChainOver(end) => Begun::ChainOver(end),
            BeginReply::Ended => Begun::Ended,
            BeginReply::Rejected(refusal) => Begun::Rejected(refusal),
            BeginReply::AnotherClaim(retry_after) => {
                let differs = Differs::of(ask.identity.chain.is_some(), begin.follows);
                Begun::Rejected(Refusal::AnotherClaim { differs, retry_after })
            }
            BeginReply::RejectedByPod => rejected_by_pod(terms),
            BeginReply::Abandoned => {
                return Err(StoreError::did_not_run("the attempt was given up before redis answered".to_owned()));
            }
        })
    }

    fn landed(&self, ask: &Ask, sealed: &SealedOutcome) -> Begun {
        self.fences.see(sealed.fence);
        let opener = self.opener(ask);
        let whole = self.completer.whole(&ask.identity.flight, sealed);
        match whole.and_then(|whole| opener.open(&whole)).or_else(|| opener.open(sealed)) {
            Some(landed) => Begun::Landed(landed),
            // It has our claim, so it should open: somebody wrote into Redis. Nobody is handed it, and the token is not
            // presented while the record says that it was rotated.
            None => Begun::Rejected(Refusal::AnotherClaim {
                differs: Differs::Claim,
                retry_after: self.config.keep_outcome,
            }),
        }
    }

    /// Whether replicas have the lead, where they are to have it before the token is presented.
    ///
    /// # Errors
    ///
    /// They do not, in time. The lead is given back: it is withdrawn with its attempt.
    async fn is_replicated(&self, ask: &Ask, fence: u64) -> Result<(), StoreError> {
        self.replicas.have(fence).await.map_err(|reason| {
            self.counters.leads_unreplicated.add_one();
            ask.note_unanswered();
            StoreError::may_have_run(format!("the lead is given back: {reason}"))
        })
    }

    fn lead(&self, ask: &Ask, asked: Moment, fence: u64, history: TokenHistory, server: Option<ServerId>) -> Begun {
        self.fences.see(fence);
        self.locator.is_active_for(self.config.lease);
        let Ask { identity, attempt, .. } = ask;
        Begun::Lead(Lease {
            flight: identity.flight,
            claim: identity.claim,
            attempt: *attempt,
            fence,
            started: asked.instant(),
            own: OwnLease::new(asked, self.config.lease),
            granted: Instant::now(),
            history,
            server,
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
        Begun::Queued(Queued { since: terms.waiting_since.unwrap_or(asked), news: ticket })
    }

    /// Another server decides than before, or one that has forgotten.
    fn recovering(&self, terms: &AdmissionTerms, asked: Instant, look: Duration, mut ticket: Ticket) -> Begun {
        if self.forgotten.is_recovering_for(look) {
            warn!(
                namespace = self.config.namespace,
                pod = self.pod(),
                for_ms = u64::try_from(look.as_millis()).unwrap_or(u64::MAX),
                setting = "lease",
                "redis has started anew or may have lost writes: no new leads until it has recovered"
            );
            self.agreement.may_be_forgotten();
        }
        ticket.wait_until(Instant::now() + look + self.jitter);
        Begun::Recovering(Queued { since: terms.waiting_since.unwrap_or(asked), news: ticket })
    }
}

/// Leaders of this token were lost, and it is not presented again.
fn lost(fence: u64) -> Begun {
    let outcome = Arc::new(Outcome::TokenLost(None));
    Begun::Landed(StoredOutcome { outcome, fence, age: Duration::ZERO })
}

/// The script says so only where the terms did.
fn rejected_by_pod(terms: &AdmissionTerms) -> Begun {
    let refusal = terms.pod_refuses.clone().or_else(|| terms.refuses_strangers.clone());
    Begun::Rejected(refusal.unwrap_or(Refusal::MemoryPressure { retry_after: FAIR_PAUSE }))
}
