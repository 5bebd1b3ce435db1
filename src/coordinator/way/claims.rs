//! A flight whose token other claims of its client come with, too: it waits for its turn, and presents the newest token of the login.

use std::mem;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tracing::debug;
use uuid::Uuid;

use super::Way;
use crate::admission::FAIR_PAUSE;
use crate::coordinator::inner::Inner;
use crate::coordinator::withdrawal::{self, Withdrawal};
use crate::error::{Differs, RefreshError, Refusal};
use crate::flight::ending::{Ending, Role};
use crate::flight::stage::FlightStage;
use crate::joiner::{self, Waited};
use crate::leader::Attempt;
use crate::outcome::ProviderFailure;
use crate::secret::Secret;
use crate::store::{Ask, AttemptId, ChainEnd, Coming, Followed, NewsSource, Origin, StoredOutcome};
use crate::token_response::TokenResponse;

/// So often a flight finds that others have gone on meanwhile from the token that it was told to present.
const MOST_TURNS: u32 = 8;
/// Over so many tokens a flight is led on.
const LONGEST: usize = 64;
/// Between two questions to a store that may have forgotten.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

impl<C, F> Way<'_, C>
where
    C: FnOnce(Attempt) -> F + Send + 'static,
    F: Future<Output = Result<TokenResponse, ProviderFailure>> + Send + 'static,
{
    /// Asks the store where the other claims went, and again each time that it is called or has waited for long enough.
    pub(super) async fn follow(&mut self) -> ControlFlow<Ending> {
        let is_led_on = matches!(self.ask.coming, Coming::Claiming { .. });
        if is_led_on && self.ask.origin.as_ref().is_some_and(|origin| origin.before.is_none()) {
            // Somebody has presented the newest token since this flight was told of it. Where the store does not know of that, it goes on
            // from there.
            let flight = self.ask.identity.flight;
            if self.presented_since.replace(flight) != Some(flight)
                && let Some(own) = self.own_among_claims.take()
            {
                return self.ask_own_again(own);
            }
        }
        if self.may_lead && self.call.is_none() {
            // It has made its call, and waits for no turn: what its own call brought is all there is.
            return self.rejected_among_claims();
        }
        loop {
            let own = self.own_among_claims.as_ref().filter(|_| is_led_on);
            let turn = AttemptId { attempt: own.unwrap_or(self.ask).attempt, ..self.ask.id() };
            let followed = self.inner.store.follow(self.ask, own, self.may_lead).await;
            match followed {
                Ok(Followed::Wait(_) | Followed::Newest { .. } | Followed::Own(_)) | Err(_) => self.turn = Some(turn),
                // The store took it back itself.
                Ok(Followed::Given(_)) => self.turn = None,
                Ok(_) => {}
            }
            return match followed {
                Ok(Followed::Wait(news)) => match self.wait_for_turn(news).await {
                    Continue(()) => continue,
                    over => over,
                },
                Ok(Followed::Given(landed)) => self.given(landed),
                Ok(Followed::Newest { token, origin }) => self.present_newest(&token, origin),
                Ok(Followed::Own(origin)) => self.present_own_in_turn(origin),
                Ok(Followed::Forgotten) => self.ask_when_it_recovers().await,
                Ok(Followed::Unused) => self.unused(),
                Ok(Followed::Spent) if !self.may_lead => self.fail(|_| RefreshError::NotUnderWay),
                Ok(Followed::Spent) => self.chain_over(ChainEnd::Used),
                Ok(Followed::Full) => self.rejected_among_claims(),
                Ok(Followed::Ended) => self.session_over(),
                Err(error) => self.unanswered(error).await,
            };
        }
    }

    /// Waits until it is called, or until it is to look.
    async fn wait_for_turn(&mut self, mut news: NewsSource) -> ControlFlow<Ending> {
        if self.ask.is_background {
            // Others come first, and nobody waits for this one.
            return self.rejected(Refusal::Budget { retry_after: FAIR_PAUSE });
        }
        self.flight.progress().is_at(FlightStage::Joined);
        self.flight.allow_wait_timeout();
        if !self.has_joined {
            self.inner.counters.joined_fleet.add_one();
            debug!(flight = %self.ask.identity.flight, "waits for its turn among the claims of its login");
        }
        self.has_joined = true;
        let waited = tokio::select! {
            waited = joiner::wait(&mut news, None, self.flight, &self.inner.overdue, &self.inner.store) => waited,
            // Nothing was sent so far, and nobody would have the answer.
            () = self.flight.deserted() => Waited::Over,
        };
        match waited {
            Waited::Landed(_) | Waited::BeginAgain => Continue(()),
            Waited::Over => self.fail(Inner::count_given_up),
        }
    }

    /// The store tells a flight that begins until when it recovers, or knows the login again by then.
    async fn ask_when_it_recovers(&mut self) -> ControlFlow<Ending> {
        if !self.may_try_again() {
            return self.fail(Inner::count_given_up);
        }
        self.inner.pause(BETWEEN_QUESTIONS).await;
        Continue(())
    }

    /// What its claim was given for a token that it comes with still.
    fn given(&mut self, landed: StoredOutcome) -> ControlFlow<Ending> {
        let role = if self.has_waited() { Role::JoinedFleet } else { Role::Latecomer };
        self.inner.counters.held_served.add_one();
        self.is_untold = true;
        Break(Ending::with(landed.outcome, landed.fence, role, landed.age))
    }

    /// Its own token is the newest.
    fn present_own_in_turn(&mut self, origin: Box<Origin>) -> ControlFlow<Ending> {
        self.turns += 1;
        if self.turns > MOST_TURNS {
            return self.rejected_among_claims();
        }
        self.ask.coming = Coming::InTurn;
        self.ask.origin = Some(origin);
        self.asks_anew();
        Continue(())
    }

    /// The newest token is presented instead of the caller's.
    fn present_newest(&mut self, token: &Secret, origin: Box<Origin>) -> ControlFlow<Ending> {
        let inner = self.inner;
        if self.ask.passed.len() >= LONGEST {
            // A chain without an end: the provider gave an old token again.
            return self.rejected_among_claims();
        }
        let member = self.ask.identity.chain.as_ref();
        let request = member.and_then(|member| member.with_token(token.expose(), inner.config.max_token));
        let Some(request) = request else { return self.present_own() };
        let mut next = Ask::new(inner.store.identity(request, &inner.config), Uuid::new_v4());
        next.coming = Coming::Claiming { from: origin.place };
        (next.is_background, next.authentication) = (self.ask.is_background, self.ask.authentication);
        next.passed.clone_from(&self.ask.passed);
        next.passed.push(token.clone());
        next.origin = Some(origin);
        let asked = self.asks(next);
        self.own_among_claims.get_or_insert(asked);
        self.asks_anew();
        Continue(())
    }
}

impl<C> Way<'_, C> {
    /// What to withdraw now that the way is over: a turn, or a place in the order, of a flight that has not led in it.
    pub(super) fn turn_to_give_back(&mut self) -> Option<AttemptId> {
        self.turn.take()
    }

    fn rejected_among_claims(&mut self) -> ControlFlow<Ending> {
        self.rejected(Refusal::AnotherClaim { differs: Differs::Claim, retry_after: self.inner.config.keep_outcome })
    }

    /// Begins once more with the caller's own token: the store knows where the others went since.
    pub(super) fn ask_own_again(&mut self, own: Ask) -> ControlFlow<Ending> {
        self.asks_of(own);
        self.turns += 1;
        if self.turns > MOST_TURNS {
            return self.rejected_among_claims();
        }
        if self.ask.is_unanswered() {
            // It was withdrawn. Else the turn is kept for its attempt.
            self.ask.start_anew();
        }
        self.asks_anew();
        Continue(())
    }

    /// Another question. The one before is to change nothing when it arrives, where it was not answered in time.
    pub(super) fn asks(&mut self, next: Ask) -> Ask {
        let asked = mem::replace(self.ask, next);
        if asked.is_unanswered() {
            withdrawal::later(self.inner, asked.id(), Withdrawal::UnansweredBegin);
        }
        asked
    }

    /// The question of its caller's own token again.
    pub(super) fn asks_of(&mut self, own: Ask) {
        self.asks(own);
        if self.ask.coming == Coming::InTurn {
            self.ask.coming = Coming::Directly;
        }
    }

    /// What it waited for so far says nothing of what it asks now.
    pub(super) fn asks_anew(&mut self) {
        (self.awaited_fence, self.has_joined) = (None, false);
        (self.waiting_since, self.queueing_since) = (None, None);
    }
}
