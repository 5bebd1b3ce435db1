//! Along a chain of tokens: what the flight of a rotated token does, where its answer is held.
//!
//! Its caller came with an old token, because the answer that brought the new one was lost on its way. Nobody knows yet whether
//! somebody else has the new one, so the flight looks at that first: while nobody has used it, the answer is handed out; where
//! the access token is over, the newer refresh token is presented instead of the caller's. A walk presents at most once, and
//! only a token that was given and, as far as the store knows, never presented.

use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::inner::Inner;
use crate::flight::ending::{Ending, Role};
use crate::outcome::{Class, Outcome, TokenState};
use crate::retention;
use crate::secret::Secret;
use crate::store::{Ask, Coming, Held, StoredOutcome, Tip};
use crate::token_response::TokenResponse;

/// So many answers are looked at in a row. A walk leaves a short way behind, so a second one is two or three.
const LONGEST: u32 = 64;
/// So many passed tokens are told of, the newest.
const MOST_PASSED: usize = 16;

/// How far a flight has come along a chain.
pub(super) struct Walk {
    /// The question that it began with, of its caller's own token. None until the next one is asked.
    pub(super) own: Option<Ask>,
    /// Where the caller's own token stands.
    from: u64,
    /// The newest answer that was found.
    last: StoredOutcome,
    found: Instant,
    /// The tokens between the caller's own and that answer's.
    passed: Vec<Secret>,
    looked_at: u32,
}

impl Walk {
    /// The answer that is held for the caller's own token.
    pub(super) fn begin(held: Held) -> Box<Self> {
        let Held { landed, passed, generation } = held;
        Box::new(Self { own: None, from: generation, last: landed, found: Instant::now(), passed, looked_at: 1 })
    }

    /// The next answer was found.
    pub(super) fn goes_on(&mut self, held: Held) {
        self.passes_on();
        self.passed.extend(held.passed);
        self.last = held.landed;
        self.found = Instant::now();
        self.looked_at += 1;
    }

    /// What to ask about the token in the newest answer. None where there is none, or the way is too long.
    pub(super) fn next(&self, inner: &Inner, own: &Ask) -> Option<Ask> {
        let member = own.identity.chain.as_ref().filter(|_| self.looked_at <= LONGEST)?;
        let request = member.with_token(self.tokens()?.refresh_token()?, inner.config.max_token)?;
        let mut ask = Ask::new(inner.store.identity(request, &inner.config), Uuid::new_v4());
        ask.coming =
            if self.is_good(inner) { Coming::Taking { from: self.from } } else { Coming::Walking { from: self.from } };
        (ask.is_background, ask.authentication) = (own.is_background, own.authentication);
        ask.passed.clone_from(&self.passed);
        ask.passed.push(self.tokens()?.refresh_token()?.into());
        Some(ask)
    }

    /// The newest answer, for the flight's callers, where its access token lives.
    pub(super) fn take_living(&self, inner: &Inner) -> Option<Ending> {
        let lives = self.tokens().is_some_and(|tokens| retention::lives(tokens, &inner.config) > self.age());
        lives.then(|| self.take(inner))
    }

    /// The newest answer, for the flight's callers.
    pub(super) fn take(&self, inner: &Inner) -> Ending {
        inner.counters.held_served.add_one();
        debug!(looked_at = self.looked_at, "handed what was held");
        let StoredOutcome { outcome, fence, .. } = &self.last;
        Ending::with(outcome.clone(), *fence, Role::Latecomer, self.age()).passing(&self.passed)
    }

    /// The token in the newest answer was presented, and brought this. Answers what to hold for the caller's own token.
    pub(super) fn ended(&mut self, ending: Ending) -> (Ending, Option<TipOrEnd>) {
        let Some(outcome) = ending.outcome() else { return (ending, None) };
        match outcome.class() {
            Class::Success if outcome.token_state() == TokenState::Kept => (ending, None),
            Class::Success => {
                self.passes_on();
                let (outcome, fence, age) = ending.stored().expect("BUG: it holds an outcome");
                self.last = StoredOutcome { outcome, fence, age };
                self.found = Instant::now();
                self.looked_at += 1;
                (ending.passing(&self.passed), Some(TipOrEnd::Tip))
            }
            _ if outcome.token_state() == TokenState::Dead => (ending, Some(TipOrEnd::End)),
            _ => (ending, None),
        }
    }

    /// Whether the way was longer than the next one is to be.
    pub(super) fn was_long(&self) -> bool {
        self.looked_at > 1
    }

    /// Tells the store what the chain has come to. The callers were told already: where it fails, the next way is as long.
    pub(super) async fn leave(&self, inner: &Inner, what: TipOrEnd) {
        let tip = match what {
            TipOrEnd::End => None,
            TipOrEnd::Tip => {
                let landed = StoredOutcome { age: self.age(), ..self.last.clone() };
                Some(Tip { landed, passed: self.passed.clone() })
            }
        };
        let Some(own) = &self.own else { return };
        if let Err(error) = inner.store.tip(own, tip.as_ref()).await {
            warn!(flight = %own.identity.flight, %error, "the store was not told how far a chain has come");
        }
    }

    fn passes_on(&mut self) {
        if let Some(token) = self.tokens().and_then(TokenResponse::refresh_token).map(Secret::from) {
            self.passed.push(token);
        }
        let excess = self.passed.len().saturating_sub(MOST_PASSED);
        self.passed.drain(..excess);
    }

    fn is_good(&self, inner: &Inner) -> bool {
        self.tokens().is_some_and(|tokens| retention::good_for(tokens, &inner.config) > self.age())
    }

    fn tokens(&self) -> Option<&TokenResponse> {
        match &*self.last.outcome {
            Outcome::Success(tokens) => Some(tokens),
            Outcome::Failure(_) | Outcome::TokenLost(_) => None,
        }
    }

    fn age(&self) -> std::time::Duration {
        self.last.age + self.found.elapsed()
    }
}

/// What is held for the caller's own token from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TipOrEnd {
    /// The newest answer.
    Tip,
    /// Nothing: the chain leads nowhere.
    End,
}
