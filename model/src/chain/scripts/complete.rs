//! `complete.lua` and `lib/hold.lua`: an outcome lands, and its answer is held until somebody has used it.

use super::{Ask, Coming, Complete, Host, Standing};
use crate::chain::redis::{Age, Held, Link, Record, State, TOKENS, TokenState};
use crate::chain::rules::Rule;

impl Host<'_> {
    /// Lands an outcome.
    pub fn complete(&mut self, done: &Complete) -> Standing {
        let Complete { ask, outcome, .. } = *done;
        let record = self.db.record(ask.token);
        if record.lock == ask.attempt {
            record.lock = 0;
        }
        let mut record = *record;
        if matches!(record.state, State::Landed(_, Age::Stale))
            && record.attempt != ask.attempt
            && record.fence < done.fence
        {
            // Older data: the flight began after that outcome was over.
            record.state = State::Nothing;
        }
        let has_landed = matches!(record.state, State::Landed(..));
        if record.success_of == ask.attempt || (has_landed && record.attempt == ask.attempt) {
            return Standing::Ours;
        }
        let lands = match outcome {
            TokenState::Rotated => !matches!(record.state, State::Landed(TokenState::Rotated, _)),
            TokenState::Dead | TokenState::Untouched | TokenState::Unknown => {
                let is_own = matches!(record.state, State::Leading | State::Lost) && record.attempt == ask.attempt;
                is_own || (record.state == State::Nothing && record.lock == 0 && outcome == TokenState::Unknown)
            }
        };
        if !lands {
            return if has_landed && record.claim == ask.claim { Standing::Theirs } else { Standing::Stale };
        }
        self.land(done, record);
        match outcome {
            TokenState::Rotated => self.hold(done),
            TokenState::Dead => self.end(&ask),
            TokenState::Untouched | TokenState::Unknown => {}
        }
        // The judge's: nobody who came with the token is forgotten where its success lands.
        if outcome == TokenState::Rotated && ask.coming == Coming::Directly {
            self.note_use_for_judge(&ask);
        }
        Standing::Ours
    }

    fn land(&mut self, done: &Complete, before: Record) {
        let &Complete { ask, fence, outcome, .. } = done;
        let is_spent = matches!(outcome, TokenState::Rotated | TokenState::Dead);
        let stays_given = !is_spent && self.has(Rule::UntouchedStaysGiven);
        let dead_is_own = self.has(Rule::DeadIsOwn);
        let tells_use = self.has(Rule::CompletionTellsUse);
        let mut link = before.link;
        if let Some(link) = &mut link {
            link.is_given &= stays_given || (outcome == TokenState::Dead && dead_is_own);
            if tells_use && link.holder == ask.claim.credential {
                let mark = if ask.coming.is_walker() { ask.from } else { link.generation };
                link.used = link.used.max(mark);
            }
        }
        *self.db.record(ask.token) = Record {
            // A failure that says nothing of the token is fresh for a moment only.
            state: State::Landed(outcome, if is_spent { Age::Fresh } else { Age::Stale }),
            lock: before.lock,
            attempt: ask.attempt,
            fence,
            claim: ask.claim,
            uncertain: if outcome == TokenState::Rotated { 0 } else { before.uncertain },
            has_waiting: false,
            success_of: if outcome == TokenState::Rotated { ask.attempt } else { before.success_of },
            link,
            ..before
        };
    }

    /// The provider has judged the token.
    fn end(&mut self, ask: &Ask) {
        let is_ours = self.db.held(ask.token).is_some_and(|held| held.claim == ask.claim);
        if is_ours && self.has(Rule::DeadIsOver) {
            *self.db.held(ask.token) = None;
        }
    }

    /// Where somebody came with this token, the answer that gave it is over.
    fn release_before(&mut self, token: u8) {
        let is_used = self.db.record(token).link.is_some_and(|link| link.used >= link.generation);
        if is_used && token > 1 && self.has(Rule::ReleaseBefore) {
            *self.db.held(token - 1) = None;
        }
    }

    /// Holds the answer, unless somebody has its token already.
    fn hold(&mut self, done: &Complete) {
        let &Complete { ask, fence, epoch, is_late, is_large, .. } = done;
        let next = ask.token + 1;
        let is_held = self.has(Rule::HeldAnswers) && !is_large && !(is_late && self.has(Rule::LateNotHeld));
        let link = self.db.record(ask.token).link;
        let (generation, used) = link.map_or((1, 0), |link| (link.generation, link.used));
        if is_held {
            self.release_before(ask.token);
        }
        if !is_held || usize::from(next) > TOKENS {
            return;
        }
        let new_only = self.has(Rule::NewLinkOnly);
        let record = self.db.record(next);
        if new_only && record.is_there() {
            return;
        }
        record.link =
            Some(Link { holder: ask.claim.credential, generation: generation + 1, used, is_given: true, epoch });
        *self.db.held(ask.token) = Some(Held { claim: ask.claim, fence, answer: next, generation, used });
    }
}
