//! What became of the sessions: successes that were held, and tokens that no longer work.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{ClientResult, Who};
use crate::steps::{Answer, BY_DRIVER, Outcome, Reply, Verdict};
use crate::tokens::Token;

use super::index::{Call, Client};
use super::{Judge, Rule, SLACK};

/// How long a success may take from the leader's answer to every caller that asks, in us.
pub(super) const LANDING: u64 = 300_000;
/// The same after the pod was cut off: connections are made again, with pauses of up to a second.
pub(super) const LANDING_AFTER: u64 = 1_200_000;

impl Judge<'_> {
    /// What a living process held, every caller gets that waits or comes.
    pub(super) fn successes(&mut self) {
        let index = &self.index;
        let mut found = Vec::new();
        for (id, leader) in &index.calls {
            let Some((answered, Answer::Success { .. })) = leader.answered else { continue };
            let lands_by = |t: u64| {
                let cut_off = index.cut_off_until(leader.pod, answered, t);
                cut_off.map_or(answered + LANDING, |end| end.max(answered) + LANDING_AFTER)
            };
            // A leader that died before it could share what it held was no living process. Its own caller is told when
            // Redis was: until then it may have been slow.
            let slow = if leader.outcome.is_none() { SLACK } else { 0 };
            if index.down_at(leader.pod).is_some_and(|down| down <= lands_by(down) + slow) {
                continue;
            }
            for (other, call) in index.of_token(leader.token) {
                let Some((t, Outcome::Over { why })) = call.outcome else { continue };
                let comes = call.asked <= answered + self.rules.keep_outcome_ms * 1000;
                // Its pod went on alone, and saw nothing of it.
                let is_alone = self.alone_until(call.pod, t).is_some();
                let is_forgotten = index.forgot.iter().any(|forgot| {
                    let is_gone = !forgot.is_failover || self.is_out_of_keeping(answered, forgot);
                    is_gone && forgot.t >= answered && forgot.t <= t
                });
                if call.who == Who::Client && comes && t > lands_by(t) && !is_forgotten && !is_alone {
                    found.push((
                        call.run,
                        format!("call {id} held the success of {}, call {other} was told {why}", leader.token),
                    ));
                }
            }
        }
        for (run, what) in found {
            if let Some(row) = self.row(run) {
                row.outcomes_lost += 1;
            }
            self.violated(Rule::SuccessKept, run, what);
        }
    }

    /// Sessions that ended, and what in the policy names it.
    pub(super) fn sessions(&mut self) {
        let mut by_token: BTreeMap<&str, (Option<usize>, Vec<&Client<'_>>)> = BTreeMap::new();
        // What becomes of chains is judged by session, not by token.
        let is_chain = |client: &&Client<'_>| self.rules.walks && client.run.is_some();
        for client in self.index.clients.iter().filter(|client| !is_chain(client)) {
            by_token.entry(client.token).or_insert((client.run, Vec::new())).1.push(client);
        }
        let not_allowed: BTreeSet<String> = self
            .report
            .violations
            .iter()
            .filter(|violation| violation.rule == Rule::OnePresentation)
            .filter_map(|violation| violation.what.split(' ').next().map(str::to_owned))
            .collect();
        let mut counted = Vec::new();
        let mut lost = Vec::new();
        let mut endless = Vec::new();
        for (token, (run, clients)) in by_token {
            counted.push(run);
            for client in &clients {
                // While the machine stood still, its clients could not try.
                if let ClientResult::GaveUp { last } = client.result
                    && self.index.stood_still_between(client.came, client.t) == 0
                {
                    endless.push((run, format!("a client of {token} came to no end: {last}")));
                }
            }
            let over = clients.iter().filter(|client| matches!(client.result, ClientResult::Over { .. }));
            let over = over.map(|client| client.t).min();
            let is_alive = clients.iter().any(|client| matches!(client.result, ClientResult::Success { .. }));
            let works = self.index.verified.get(token).copied();
            if works != Some(false) && (is_alive || over.is_none()) {
                continue;
            }
            lost.push((run, token, self.name_loss(token, over, not_allowed.contains(token))));
        }
        for run in counted {
            if let Some(row) = self.row(run) {
                row.refreshes += 1;
            }
        }
        for (run, what) in endless {
            self.violated(Rule::Finality, run, what);
        }
        for client in 0..self.index.clients.len() {
            let client = &self.index.clients[client];
            let fault = self.index.faults.iter().find(|fault| Some(fault.run) == client.run);
            let Some(fault) = fault else { continue };
            let (run, span) = (client.run, client.t.saturating_sub(fault.began.max(client.came)));
            if span > 0
                && let Some(row) = self.row(run)
            {
                row.recovery.push(span);
            }
        }
        for (run, token, named) in lost {
            let must_live = self.rules.presents_uncertain_tokens_again && self.had_sent_nothing(run, token);
            let named = named.filter(|_| !must_live);
            let what = format!("the session of {token} is lost");
            if let Some(row) = self.row(run) {
                match named {
                    Some(name) => *row.sessions_named.entry(name).or_default() += 1,
                    None => row.sessions_lost += 1,
                }
            }
            if named.is_none() {
                self.violated(Rule::SessionKept, run, what);
            }
        }
    }

    /// Whether its first leader was killed, as the fault wanted, before it sent anything.
    fn had_sent_nothing(&self, run: Option<usize>, token: &str) -> bool {
        if !self.runs.iter().any(|known| Some(known.id) == run && known.nothing_was_sent) {
            return false;
        }
        let led = self.index.of_token(token).filter(|(_, call)| call.led.is_some());
        let first = led.min_by_key(|(_, call)| call.led);
        first.is_some_and(|(_, call)| !call.has_sent && self.index.down_at(call.pod).is_some())
    }

    /// Whether an earlier token of the family was presented again: that ends the family, and only this one shows it.
    fn ended_before(&self, token: &str) -> bool {
        let Some(Token { family, generation: 1.., .. }) = Token::read(token) else { return false };
        let verdicts = self.index.presentations.iter().filter_map(|(other, presentations)| {
            let other = Token::read(other)?;
            (other.family == family).then_some(presentations)
        });
        verdicts.flatten().any(|one| one.verdict == Some(Verdict::Reused) && one.call != BY_DRIVER)
    }

    /// Whether Redis may have given a lead of which the pod could not hear, nor give it back in time: the call was made
    /// before its pod was cut off, for so long that a leader counts as lost.
    pub(super) fn may_lead_unheard(&self, call: &Call<'_>) -> bool {
        let Some((t, Outcome::Later { why, .. })) = call.outcome else { return false };
        let lost = 1000 * self.rules.retry_lost_after_ms.max(self.rules.lease_ms);
        let cut_off = self.index.cut_off_after(call.pod, call.asked, t);
        why == "store_outage" && cut_off.is_some_and(|end| call.asked + lost <= end)
    }

    /// `over`: when it was first told that it is.
    fn name_loss(
        &self,
        token: &str,
        over: Option<u64>,
        was_presented_against_the_policy: bool,
    ) -> Option<&'static str> {
        let index = &self.index;
        let over = over.unwrap_or(index.end);
        let none = Vec::new();
        let presentations = index.presentations.get(token).unwrap_or(&none);
        let of_callers: Vec<_> = presentations.iter().filter(|one| one.call != BY_DRIVER).collect();
        let refused = index
            .of_token(token)
            .any(|(_, call)| matches!(call.outcome, Some((_, Outcome::Over { why })) if why == "lost"));
        let Some(first) = of_callers.first() else {
            // Where no function was ever called, living pods know that nothing was sent, and say so in time.
            let mut calls = index.of_token(token).map(|(_, call)| call);
            if calls.all(|call| call.led.is_none() && !index.is_down(call.pod, over) && !self.may_lead_unheard(call)) {
                return None;
            }
            // Nobody sent it, but somebody was to: under never that is enough.
            return (refused && !self.rules.presents_uncertain_tokens_again)
                .then_some("never presents what is uncertain");
        };
        if was_presented_against_the_policy {
            return None;
        }
        if self.ended_before(token) {
            return Some("presented again as the policy says");
        }
        let leader = index.calls.get(&first.call)?;
        // With a success in a living hand, nothing names the loss.
        if let Some((answered, Answer::Success { .. })) = leader.answered
            && of_callers.len() == 1
        {
            let is_down = index.down_at(leader.pod).is_some_and(|down| down <= answered + 3 * LANDING_AFTER);
            return is_down.then_some("the answer went down with its leader");
        }
        if of_callers.len() > 1 {
            return Some("presented again as the policy says");
        }
        if first.verdict == Some(Verdict::Rotated) && first.reply == Some(Reply::Broken) {
            return Some("the provider's answer did not come");
        }
        if matches!(leader.answered, Some((_, Answer::Unknown | Answer::GivenUp))) {
            return Some("its leader reported that nobody knows");
        }
        if index.is_down(leader.pod, over) {
            return Some("the answer went down with its leader");
        }
        (refused && !self.rules.presents_uncertain_tokens_again).then_some("never presents what is uncertain")
    }
}
