//! `lib/held.lua`: how a flight comes along a chain.

use super::{Ask, Coming, Host, Reply};
use crate::chain::redis::{Held, Link};
use crate::chain::rules::Rule;

impl Host<'_> {
    /// Notes with which token somebody came, and answers why a walker cannot go on here.
    pub(super) fn come_along(&mut self, ask: &Ask, may_be_held: bool) -> Option<Reply> {
        let used = self.note_use(ask, may_be_held);
        if !ask.coming.is_walker() {
            return None;
        }
        match used {
            None => self.has(Rule::MissingBreaks).then_some(Reply::Broken),
            Some(used) => (used > ask.from && self.has(Rule::UseEnds)).then_some(Reply::Used),
        }
    }

    /// Answers the highest place that somebody came with, where the token is the holder's.
    fn note_use(&mut self, ask: &Ask, may_be_held: bool) -> Option<u8> {
        let rules = self.rules;
        let (directly, from_is_noted) = (rules.has(Rule::DirectMarks), rules.has(Rule::FromIsNoted));
        let is_holder = |holder: u8| holder == ask.claim.credential;
        let may_mark = |holder: u8| is_holder(holder) || !rules.has(Rule::OnlyHolderMarks);
        let mark = |generation: u8| match ask.coming {
            Coming::Directly | Coming::Past => {
                if directly {
                    generation
                } else {
                    0
                }
            }
            Coming::Taking | Coming::Walking => {
                if from_is_noted {
                    ask.from
                } else {
                    0
                }
            }
        };
        let mut found = None;
        let held = *self.db.held(ask.token);
        if let Some(Held { claim, generation, used, .. }) = held.filter(|_| may_be_held)
            && may_mark(claim.credential)
        {
            let used = used.max(mark(generation));
            self.db.held(ask.token).as_mut().expect("BUG: it was there").used = used;
            found = Some(used).filter(|_| is_holder(claim.credential));
        }
        if let Some(Link { holder, generation, used, .. }) = self.db.record(ask.token).link
            && may_mark(holder)
        {
            let used = used.max(mark(generation));
            self.db.record(ask.token).link.as_mut().expect("BUG: it was there").used = used;
            found = Some(used).filter(|_| is_holder(holder)).or(found);
        }
        if let Some(Held { answer, .. }) = held.filter(|_| may_be_held && !ask.coming.is_walker())
            && answer == ask.token + 1
            && self.has(Rule::UseReachesTip)
            && let Some(link) = &mut self.db.record(answer).link
            && is_holder(link.holder)
        {
            // The token that followed is behind a token that was used: an older way may lead there at once.
            link.used = link.used.max(found.unwrap_or(0));
        }
        found
    }
}
