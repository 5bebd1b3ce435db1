//! Lands an outcome in Redis: at once, or, where it was obtained without Redis, when that is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::calls::complete::{Complete, CompleteReply, HeldNext};
use super::calls::land_family::LandInFamily;
use super::half_open::HalfOpen;
use super::keeper::Keeper;
use super::large::LargeAnswers;
use super::outage::Outage;
use super::register::Register;
use super::replicas::Replicas;
use super::roll::Roll;
use super::sealed::{Opener, SealedOutcome, Sealing, kept_identity, next_identity, seal};
use super::unlanded::Unlanded;
use crate::admission::attempts;
use crate::config::Config;
use crate::identity::{Hash, Identity};
use crate::metrics::{Counters, Stopwatch};
use crate::outcome::{Outcome, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Ask, Completion, LARGEST_HELD, Lease, Standing, StoreError};

pub(super) struct Completer {
    pub(super) config: Arc<Config>,
    pub(super) counters: Arc<Counters>,
    pub(super) outage: Arc<Outage>,
    pub(super) unlanded: Arc<Unlanded>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) register: Arc<Register>,
    pub(super) large: LargeAnswers,
    pub(super) roll: Arc<Roll>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) half_open: HalfOpen,
}

impl Completer {
    pub(super) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        let complete = Arc::new(self.arguments(lease, ask, completion));
        let watch = Stopwatch::start();
        let reply = self.keeper.land(&complete).await;
        self.counters.timings.complete.took(watch.stop());
        let reply = reply?;
        if let Err(reason) = self.replicas.have(lease.fence).await {
            // The provider has answered. This pod keeps what a server that takes over may lack.
            self.counters.outcomes_unreplicated.add_one();
            warn!(flight = %lease.flight, fence = lease.fence, reason, "an outcome is not with its replicas yet");
        }
        let standing = self.standing(ask, reply);
        if matches!(standing, Standing::Ours) {
            self.roll.is_noted(&complete.noted);
        }
        Ok(standing)
    }

    /// The completion, sealed as Redis will get it.
    pub(super) fn seal(self: &Arc<Self>, lease: &Lease, ask: &Ask, completion: &Completion) -> SealedCompletion {
        SealedCompletion { completer: Arc::clone(self), complete: Arc::new(self.arguments(lease, ask, completion)) }
    }

    /// What this outcome stands for, where it was too large to be shared and this pod has led.
    pub(super) fn whole(&self, flight: &Hash, sealed: &SealedOutcome) -> Option<SealedOutcome> {
        self.large.whole(flight, sealed)
    }

    fn arguments(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Complete {
        let Completion { outcome, health, age, is_untold } = completion;
        let outcome: &Outcome = outcome;
        let retention = self.retention(outcome);
        let Sealing { shared: sealed, whole } = seal(&ask.identity, &self.config, lease, outcome);
        let next = next_identity(&ask.identity, outcome, &self.config);
        let next = next.or_else(|| kept_identity(ask, outcome, &self.config));
        let next = next.filter(|_| whole.is_none() && sealed.len() <= LARGEST_HELD);
        let held = next.as_ref().and_then(|next| held(ask, next, outcome, &self.config));
        let family = next.as_ref().and_then(|next| LandInFamily::of(ask, lease, outcome, next, &self.config));
        if let Some(whole) = whole {
            self.large.keep(lease.flight, lease.attempt, lease.fence, whole, retention.kept);
        }
        Complete {
            flight: lease.flight,
            session: ask.identity.session,
            claim: lease.claim,
            client: ask.identity.client,
            client_name: ask.identity.client_name(self.config.pepper.as_ref()),
            account: ask.identity.account,
            standing: self.roll.standing(ask),
            noted: self.roll.to_note(ask, outcome),
            attempt: lease.attempt,
            fence: lease.fence,
            granted: lease.granted,
            answered: Instant::now() - *age,
            is_unanswered: ask.is_unanswered(),
            is_untold: (*is_untold).into(),
            class: outcome.class(),
            token: outcome.token_state(),
            retention,
            is_charged: outcome.is_charged(ask.identity.payer),
            allowed: attempts::allowed_by(outcome, &self.config),
            health: *health,
            sealed,
            held,
            ends_held: (ask.identity.chain.as_ref())
                .filter(|_| outcome.token_state() == TokenState::Dead)
                .map(|member| member.holder),
            family,
        }
    }

    /// For how long it is fresh and remembered. Where any living pod never presents an uncertain token again, all remember
    /// which tokens are uncertain.
    fn retention(&self, outcome: &Outcome) -> Retention {
        let mut retention = Retention::of(outcome, &self.config);
        if outcome.token_state() == TokenState::Unknown && self.register.remembers_strictly() {
            retention.kept = retention.kept.max(self.config.uncertain_memory);
        }
        retention
    }

    fn standing(&self, ask: &Ask, reply: CompleteReply) -> Standing {
        match reply {
            CompleteReply::Landed { is_ended, evicted, of_stranger, moved } => {
                if let Some(moved) = moved {
                    self.half_open.say(&moved, ask.identity.flight);
                }
                self.counters.held_evicted.add(evicted);
                if of_stranger {
                    ask.note_stranger();
                }
                if is_ended { Standing::Ended } else { Standing::Ours }
            }
            CompleteReply::Stale => Standing::Stale,
            CompleteReply::Stands { sealed, is_untold } => {
                let stands = if is_untold { Standing::TheirsUntold } else { Standing::Theirs };
                Opener::new(&ask.identity, &self.config, &self.counters).open(&sealed).map_or(Standing::Stale, stands)
            }
        }
    }
}

/// Where the answer is held until somebody has used it: its holders.
fn held(ask: &Ask, next: &Identity, outcome: &Outcome, config: &Config) -> Option<HeldNext> {
    let Outcome::Success(tokens) = outcome else { return None };
    let known_for = config.claim_is_known_for(tokens.expires_in());
    let holder = ask.identity.chain.as_ref()?.holder;
    let next_holder = next.chain.as_ref()?.holder;
    Some(HeldNext { coming: ask.coming, holder, next: next.flight, next_holder, next_claim: next.claim, known_for })
}

/// A completion until Redis has it: of a lead that this pod gave itself (`on_store_outage = local`), or of a flight that cannot
/// wait.
pub(crate) struct SealedCompletion {
    completer: Arc<Completer>,
    complete: Arc<Complete>,
}

impl SealedCompletion {
    /// Lands it, if Redis is back. None: it is not.
    pub(crate) async fn try_now(&self, ask: &Ask) -> Option<Standing> {
        if self.completer.outage.is_out_of_reach() {
            return None;
        }
        let reply = self.completer.keeper.land(&self.complete).await.ok()?;
        Some(self.completer.standing(ask, reply))
    }

    /// Lands it when Redis is back, unless Redis would not keep it by then.
    pub(crate) fn when_redis_is_back(self) {
        self.completer.unlanded.add_while_kept(self.complete);
    }

    /// Lands it as soon as it can be, within so long from the provider's answer on.
    pub(crate) fn within(self, within: Duration) {
        let until = self.complete.answered + within;
        self.completer.unlanded.add(self.complete, until);
    }
}
