//! `begin.lua`: what a flight is to do, as far as chains and credentials go.

use super::{Ask, Coming, Host, Reply};
use crate::chain::redis::{Age, Claim, Record, State, TokenState, bit};
use crate::chain::rules::Rule;
use crate::settings::Uncertain;

impl Host<'_> {
    /// Asks what a flight is to do. A client of credential 0 is known, all others are strangers.
    pub fn begin(&mut self, ask: &Ask) -> Reply {
        let noted = self.db.noted;
        if !ask.coming.is_walker() {
            self.note_use_for_judge(ask);
        }
        let record = *self.db.record(ask.token);
        let may_be_held = if self.has(Rule::HeldWhateverStands) {
            record.lock == 0
        } else {
            matches!(record.state, State::Nothing | State::Landed(TokenState::Rotated, _))
        };
        let ended = self.come_along(ask, may_be_held);
        let waits = ask.joined > 0 && self.has(Rule::WaiterIsServed);
        if let Some(end) = ended.filter(|_| !waits) {
            return end;
        }
        let rules = self.rules;
        let is_shared = |claim: Claim| claim == ask.claim || !rules.has(Rule::SameClaim);
        if let State::Landed(token, age) = record.state
            && is_shared(record.claim)
        {
            let was_waited_for = ask.joined > 0 && (record.fence >= ask.joined || token == TokenState::Rotated);
            if age == Age::Fresh || was_waited_for {
                return Reply::Landed(token, record.fence);
            }
        }
        if record.lock != 0 {
            let is_ours = record.claim == ask.claim;
            self.wait_for(ask, !is_ours);
            return Reply::Join(if is_ours { record.fence } else { 0 });
        }
        if let Some(end) = ended {
            return end;
        }
        let held = self.db.held(ask.token).filter(|_| may_be_held);
        let is_dead = matches!(record.state, State::Landed(TokenState::Dead, _));
        let is_spent = matches!(record.state, State::Landed(TokenState::Rotated, _))
            || is_dead && (self.is_own(ask, &record) || !self.has(Rule::DeadIsOwn));
        if ask.coming == Coming::Taking && held.is_none() && !is_spent {
            return Reply::Unused;
        }
        let record = self.notice_lost(ask.token);
        if let Some(reply) = self.judge_token(ask, &record) {
            return reply;
        }
        if let Some(held) = held
            && is_shared(held.claim)
            && ask.coming != Coming::Past
        {
            return Reply::Held(held.answer, held.fence, held.generation);
        }
        if ask.coming.is_walker() {
            let is_given = record.state != State::Nothing || record.link.is_some_and(|link| link.is_given);
            if (held.is_some() || is_spent) && self.has(Rule::GivenOnly) || !is_given && self.has(Rule::MissingBreaks) {
                return Reply::Broken;
            }
        }
        let is_never = self.is_never();
        if record.uncertain & bit(ask.claim.credential) != 0 && is_never {
            return Reply::TokenLost;
        }
        self.note_server();
        if self.db.is_recovering {
            self.wait_for(ask, false);
            return Reply::Recovering;
        }
        let is_old = record.link.map_or(0, |link| link.epoch) < noted;
        if ask.coming.is_walker() && is_old && self.has(Rule::LossBreaks) {
            return Reply::Broken;
        }
        if record.state == State::Lost && self.is_own(ask, &record) && is_never {
            return Reply::TokenLost;
        }
        if record.turn && ask.claim.credential != 0 {
            self.wait_for(ask, false);
            return Reply::Join(0);
        }
        self.lead(ask, &record)
    }

    fn is_never(&self) -> bool {
        self.uncertain == Uncertain::Never && self.has(Rule::NeverRefuses)
    }

    fn is_own(&self, ask: &Ask, record: &Record) -> bool {
        record.attempt == 0 || record.claim.credential == ask.claim.credential || !self.has(Rule::KeyedByClient)
    }

    /// Its pod is registered, so that there is a record. A known client of another claim has a place in the order.
    fn wait_for(&mut self, ask: &Ask, takes_turn: bool) {
        let takes_turn = takes_turn && ask.claim.credential == 0 && self.has(Rule::TurnOfKnown);
        let record = self.db.record(ask.token);
        record.has_waiting = true;
        record.turn |= takes_turn;
    }

    fn notice_lost(&mut self, token: u8) -> Record {
        let record = self.db.record(token);
        if record.state == State::Leading {
            (record.state, record.lost) = (State::Lost, true);
        }
        *record
    }

    /// What the record of a token that nobody leads says.
    fn judge_token(&self, ask: &Ask, record: &Record) -> Option<Reply> {
        match record.state {
            State::Landed(TokenState::Rotated, Age::Fresh) => Some(Reply::AnotherClaim),
            State::Landed(TokenState::Unknown, _) if self.is_own(ask, record) && self.is_never() => {
                Some(Reply::TokenLost)
            }
            State::Landed(..) | State::Nothing | State::Leading | State::Lost => None,
        }
    }

    fn lead(&mut self, ask: &Ask, before: &Record) -> Reply {
        let is_own = self.is_own(ask, before);
        let is_uncertain = match before.state {
            State::Lost | State::Landed(TokenState::Unknown, _) => true,
            State::Landed(TokenState::Untouched, _) => before.lost,
            State::Landed(..) | State::Nothing | State::Leading => false,
        };
        let mut uncertain = before.uncertain & !bit(ask.claim.credential);
        if is_uncertain && !is_own && self.has(Rule::OthersKept) {
            uncertain |= bit(before.claim.credential);
        }
        let fence = self.next_fence;
        *self.db.record(ask.token) = Record {
            state: State::Leading,
            lock: ask.attempt,
            attempt: ask.attempt,
            fence,
            claim: ask.claim,
            lost: is_own && before.lost && is_uncertain,
            uncertain,
            turn: before.turn && ask.claim.credential != 0,
            ..*before
        };
        Reply::Lead(fence)
    }
}
