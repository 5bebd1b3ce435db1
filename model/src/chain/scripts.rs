//! The scripts, as far as chains go: a function for each, at a server under rules.

use super::redis::{Age, Claim, Db, Held, Record, State, TokenState, bit};
use super::rules::{Rule, Rules};
use crate::settings::Uncertain;

mod along;
mod begin;
mod complete;

/// As what a flight comes to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coming {
    /// With the token itself.
    Directly,
    /// With an older one, and with an access token that is good: only to ask whether this one was used.
    Taking,
    /// With an older one: it would present this one.
    Walking,
    /// With the token itself, which is presented although its answer is held.
    Past,
}

impl Coming {
    /// Whether it comes with an older token.
    pub fn is_walker(self) -> bool {
        matches!(self, Self::Taking | Self::Walking)
    }
}

/// What `begin` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The caller's attempt.
    pub attempt: u8,
    /// The token that it asks about.
    pub token: u8,
    /// What must be equal.
    pub claim: Claim,
    /// As what it comes.
    pub coming: Coming,
    /// The place of its own token, where it walks.
    pub from: u8,
    /// The fence that it joined, 0 for none.
    pub joined: u8,
}

/// What `begin` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The outcome is there.
    Landed(TokenState, u8),
    /// The policy refuses.
    TokenLost,
    /// Somebody leads; the fence is told to the same claim.
    Join(u8),
    /// The asker leads under this fence.
    Lead(u8),
    /// Redis may have forgotten.
    Recovering,
    /// The token was rotated for another claim a moment ago.
    AnotherClaim,
    /// The answer is held: the token in it, its fence, the place of the asked one.
    Held(u8, u8, u8),
    /// Nobody has used the token.
    Unused,
    /// Somebody came with it or with a later one.
    Used,
    /// What became of it is not known.
    Broken,
}

/// What `complete` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Complete {
    /// What was asked when the lead was given.
    pub ask: Ask,
    /// Its fence.
    pub fence: u8,
    /// What the provider did.
    pub outcome: TokenState,
    /// The server that was noted when the provider answered.
    pub epoch: u8,
    /// It landed later than `keep_outcome` after the answer.
    pub is_late: bool,
    /// Its answer is too large to be held.
    pub is_large: bool,
}

/// What stands after `complete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// What was completed.
    Ours,
    /// A success of the same claim.
    Theirs,
    /// Nothing for the leader's callers.
    Stale,
}

/// A server while a script runs.
pub struct Host<'a> {
    /// Its data.
    pub db: &'a mut Db,
    /// The rules in force.
    pub rules: Rules,
    /// Which server it is.
    pub server: u8,
    /// The fence that would be given next.
    pub next_fence: u8,
    /// The policy.
    pub uncertain: Uncertain,
}

impl Host<'_> {
    fn has(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }

    /// `renew.lua`: puts back what Redis does not hold.
    pub fn put_back(&mut self, ask: &Ask, fence: u8) {
        self.note_server();
        let record = self.db.record(ask.token);
        let is_own = record.attempt == ask.attempt;
        let is_held = record.lock != 0 && record.lock != ask.attempt;
        // What was over when the flight began is older data.
        let has_landed = matches!(record.state, State::Landed(_, age) if is_own || age == Age::Fresh);
        if record.fence > fence || (is_held && !is_own) || has_landed {
            return;
        }
        *record = Record {
            state: State::Leading,
            lock: ask.attempt,
            attempt: ask.attempt,
            fence,
            claim: ask.claim,
            ..*record
        };
    }

    /// `abandon.lua`: gives a lead back that left the token as it was.
    pub fn abandon(&mut self, ask: &Ask) {
        let record = self.db.record(ask.token);
        if record.attempt != ask.attempt || !matches!(record.state, State::Leading | State::Lost) {
            return;
        }
        let state = if record.lost { State::Lost } else { State::Nothing };
        let lock = if record.lock == ask.attempt { 0 } else { record.lock };
        *record = Record { state, lock, attempt: 0, fence: 0, claim: Claim::default(), ..*record };
    }

    /// `tip.lua`: what is held for an older token leads further. None: it leads nowhere, and is over.
    pub fn tip(&mut self, own: u8, claim: Claim, tip: Option<(u8, u8)>) {
        let needs_link = self.has(Rule::TipNeedsLink);
        let is_there = |db: &mut Db, answer| !needs_link || db.record(answer).link.is_some();
        let Some(there) = self.db.held(own).filter(|there| there.claim == claim) else { return };
        match tip {
            None => *self.db.held(own) = None,
            Some((answer, fence)) if there.fence < fence && is_there(self.db, answer) => {
                *self.db.held(own) = Some(Held { answer, fence, ..there });
            }
            Some(_) => {}
        }
    }

    /// Another server than before: nobody is given a lead until leaders and successes are back.
    fn note_server(&mut self) {
        if self.db.noted != self.server {
            self.db.noted = self.server;
            self.db.is_recovering = self.rules.has(Rule::Recovering);
        }
    }

    /// The judge's: somebody with the credential came with this token.
    fn note_use_for_judge(&mut self, ask: &Ask) {
        if ask.claim.credential == 0 {
            self.db.uses |= bit(ask.token);
        }
    }
}
