//! Chains of tokens: what a walk may present and hand out, and which sessions may end.

use std::collections::{BTreeMap, HashMap};

use crate::history::{ClientResult, Who};
use crate::steps::{Answer, BY_DRIVER, Outcome, Verdict};
use crate::tokens::Token;

use super::index::{Call, Client, Forgot, Presentation};
use super::presentations::TOLERANCE;
use super::sessions::{LANDING, LANDING_AFTER};
use super::{Judge, Rule};

/// A session: all tokens that followed a first one.
#[derive(Default)]
struct Session<'a> {
    run: Option<usize>,
    clients: Vec<&'a Client<'a>>,
    works: Option<bool>,
}

impl Judge<'_> {
    pub(super) fn chains(&mut self) {
        if self.rules.walks {
            self.walks();
            self.handed_out();
            self.chain_sessions();
        }
    }

    /// A call presents once, its caller's token or one that followed it.
    fn walks(&mut self) {
        let mut by_call: HashMap<u64, Vec<&str>> = HashMap::new();
        for (token, presentations) in &self.index.presentations {
            let of_callers = presentations.iter().filter(|one| one.call != BY_DRIVER);
            of_callers.for_each(|one| by_call.entry(one.call).or_default().push(token));
        }
        let mut found = Vec::new();
        for (id, tokens) in by_call {
            let Some(call) = self.index.calls.get(&id) else { continue };
            if tokens.len() > 1 {
                found.push((call.run, format!("call {id} for {} presented {}", call.token, tokens.join(" and "))));
            }
            let astray = tokens.iter().find(|token| **token != call.token && !follows(token, call.token));
            if let Some(token) = astray {
                found.push((call.run, format!("call {id} for {} presented {token}", call.token)));
            }
        }
        for (run, what) in found {
            self.violated(Rule::Walk, run, what);
        }
    }

    /// What a caller is handed followed its own token, and was not presented before.
    fn handed_out(&mut self) {
        let index = &self.index;
        let mut found = Vec::new();
        for (id, call) in &index.calls {
            let Some((t, Outcome::Success { successor, .. })) = call.outcome else { continue };
            if !follows(successor, call.token) {
                found.push((Rule::SameOutcome, call.run, format!("call {id} for {} got {successor}", call.token)));
            }
            // A flight that is refused on its way hands out what it has found so far.
            let is_calm = !index.is_impaired(call.pod, call.asked, t) && !index.is_impaired_fleet(call.asked, t);
            let forgot = |since: u64| index.forgot.iter().any(|forgot| since <= forgot.t && forgot.from <= t);
            for presented in index.presentations.get(successor.as_str()).into_iter().flatten() {
                let Some(leader) = index.calls.get(&presented.call).filter(|_| presented.call != *id) else { continue };
                let Some((answered, Answer::Success { .. })) = leader.answered else { continue };
                let is_known = leader.outcome.is_some() && answered + LANDING < call.asked;
                if is_calm && is_known && !self.is_fresh(successor, call.asked) && !forgot(answered) {
                    let what = format!("call {id} for {} got {successor}, which was presented", call.token);
                    found.push((Rule::Walk, call.run, what));
                    break;
                }
            }
        }
        for (rule, run, what) in found {
            self.violated(rule, run, what);
        }
    }

    /// Whether the answer that brought this token may still be handed to everybody.
    fn is_fresh(&self, token: &str, t: u64) -> bool {
        let keep = self.rules.keep_outcome_ms * 1000 + LANDING;
        self.index.calls.values().any(|call| match call.answered {
            Some((answered, Answer::Success { successor })) => successor == token && t <= answered + keep,
            _ => false,
        })
    }

    /// Whether the pod ended before its success can have landed for certain.
    pub(super) fn went_down_with(&self, leader: &Call<'_>, answered: u64) -> bool {
        self.index.is_down(leader.pod, answered + LANDING)
    }

    /// What allows to present a token again whose success was to be held.
    pub(super) fn ground_past_what_is_held(&self, token: &str, answered: u64, t: u64) -> Result<&'static str, String> {
        let index = &self.index;
        let mut calls = index.calls.values();
        // A stranger's use ends nothing.
        if calls.any(|call| call.who == Who::Client && call.asked <= t && follows(call.token, token)) {
            return Ok("the newer token was used");
        }
        let life = Token::read(token).map_or(0, |token| token.access_life_s()) * 1_000_000;
        let may_be_lost = index.restarted.iter().any(|(from, at)| *from <= t && answered <= *at + LANDING);
        if may_be_lost && answered + life <= t + TOLERANCE {
            return Ok("redis may have lost writes");
        }
        // The way ends at the first link that is not held.
        let links = index.presentations.iter().filter(|(other, _)| **other == token || follows(other, token));
        let mut leaders =
            links.flat_map(|(_, presentations)| presentations).filter_map(|one| index.calls.get(&one.call));
        if leaders.any(|leader| self.landed_too_late(leader, t)) {
            return Ok("an answer landed too late");
        }
        Err("its answer was to be held".to_owned())
    }

    /// Whether a success may have come to Redis when its answer was no longer fresh: then it is not held.
    fn landed_too_late(&self, leader: &Call<'_>, t: u64) -> bool {
        let Some((answered, Answer::Success { .. })) = leader.answered else { return false };
        let keep = self.rules.keep_outcome_ms * 1000;
        let faults = self.index.faults.iter().filter(|fault| fault.hits(leader.pod));
        let still = self.index.stood_still.iter().copied();
        let mut spans = faults.map(|fault| (fault.began, fault.ended)).chain(still);
        spans.any(|(began, ended)| {
            began <= answered + LANDING && answered <= ended && answered + keep <= t.min(ended + LANDING_AFTER)
        })
    }

    /// Whether a success that landed shortly before Redis forgot was held again: its pod lands it once more.
    pub(super) fn was_to_land_again(&self, token: &str, leader: &Call<'_>, t: u64) -> bool {
        let index = &self.index;
        let Some((answered, Answer::Success { .. })) = leader.answered.filter(|_| self.rules.walks) else {
            return false;
        };
        let (lease, keep) = (self.rules.lease_ms * 1000, self.rules.keep_outcome_ms * 1000);
        let life = Token::read(token).map_or(0, |token| token.access_life_s()) * 1_000_000;
        let was_held = |forgot: &Forgot| {
            // Pods ask which server it is every third of a lease; where it was away they connect first.
            let was_away = index.restarted.iter().any(|(from, at)| forgot.from <= *at && *from <= forgot.t);
            let held_by = forgot.t + if was_away { LANDING_AFTER } else { lease / 3 + 2 * LANDING };
            let is_in_time = answered + LANDING < forgot.from && forgot.from + LANDING < answered + lease;
            let is_well = !index.is_down(leader.pod, held_by) && index.stood_still_between(answered, held_by) == 0;
            is_in_time && is_well && held_by < answered + keep && held_by < t
        };
        t + TOLERANCE < answered + life && index.forgot.iter().any(was_held)
    }

    /// What allows to present a token that was refused: the success of before landed late, and took the refusal's place.
    pub(super) fn ground_after_refusal(
        &self,
        token: &str,
        before: &[&Presentation],
        again: &Presentation,
    ) -> Option<&'static str> {
        let mut answers = before.iter().filter_map(|one| self.index.calls.get(&one.call)?.answered);
        let is_refused = answers.next_back().is_some_and(|(_, answer)| *answer == Answer::Denied);
        let (answered, _) = answers.find(|(_, answer)| matches!(answer, Answer::Success { .. }))?;
        let is_late = self.rules.walks && is_refused;
        is_late.then(|| self.ground_past_what_is_held(token, answered, self.decided(again)).ok())?
    }

    fn chain_sessions(&mut self) {
        let mut sessions: BTreeMap<String, Session<'_>> = BTreeMap::new();
        for client in self.index.clients.iter().filter(|client| client.run.is_some()) {
            let Some(token) = Token::read(client.token) else { continue };
            let session = sessions.entry(token.family).or_default();
            session.run = client.run;
            session.clients.push(client);
        }
        for (token, works) in &self.index.verified {
            if let Some(session) = Token::read(token).and_then(|token| sessions.get_mut(&token.family)) {
                session.works = Some(*works);
            }
        }
        let mut judged = Vec::new();
        let mut endless = Vec::new();
        for (family, session) in &sessions {
            for client in &session.clients {
                if let ClientResult::GaveUp { last } = client.result
                    && self.index.stood_still_between(client.came, client.t) == 0
                {
                    endless.push((session.run, format!("a client of {} came to no end: {last}", client.token)));
                }
            }
            let over = session.clients.iter().filter(|client| matches!(client.result, ClientResult::Over { .. }));
            let over = over.map(|client| client.t).min();
            let is_lost = session.works == Some(false) || over.is_some();
            judged.push((family.clone(), session.run, is_lost.then(|| self.why_over(family, over))));
        }
        for (run, what) in endless {
            self.violated(Rule::Finality, run, what);
        }
        for (family, run, lost) in judged {
            let Some(row) = self.row(run) else { continue };
            row.refreshes += 1;
            match lost {
                None => {}
                Some(Some(why)) => *row.sessions_named.entry(why).or_default() += 1,
                Some(None) => {
                    row.sessions_lost += 1;
                    self.violated(Rule::SessionKept, run, format!("the session {family} is lost"));
                }
            }
        }
    }

    /// What in the policy names the end of a session, of which somebody was first told at `over`.
    fn why_over(&self, family: &str, over: Option<u64>) -> Option<&'static str> {
        let index = &self.index;
        let over = over.unwrap_or(index.end);
        let of_family = |text: &str| Token::read(text).is_some_and(|token| token.family == family);
        let refused = |violation: &super::Violation| {
            violation.rule == Rule::OnePresentation && violation.what.split(' ').next().is_some_and(of_family)
        };
        if self.report.violations.iter().any(refused) {
            return None;
        }
        let tokens = index.presentations.iter().filter(|(token, _)| of_family(token));
        let mut newest: Option<(u64, &Presentation)> = None;
        for (token, presentations) in tokens {
            let own = presentations.iter().filter(|one| one.call != BY_DRIVER);
            let own: Vec<_> = own.filter(|one| one.verdict != Some(Verdict::WrongClient)).collect();
            if own.len() > 1 {
                return Some("presented again as the policy says");
            }
            let generation = Token::read(token).map_or(0, |token| token.generation);
            if let Some(one) = own.first()
                && newest.is_none_or(|(other, _)| other < generation)
            {
                newest = Some((generation, one));
            }
        }
        let calls: Vec<&Call<'_>> = index.calls.values().filter(|call| of_family(call.token)).collect();
        let is_told = |call: &&Call<'_>| matches!(call.outcome, Some((_, Outcome::Over { why })) if why == "lost");
        let is_refused = !self.rules.presents_uncertain_tokens_again && calls.iter().any(is_told);
        let leader = newest.and_then(|(_, one)| index.calls.get(&one.call))?;
        match leader.answered {
            Some((answered, Answer::Success { .. })) if self.went_down_with(leader, answered) => {
                return Some("the answer went down with its leader");
            }
            Some((_, Answer::Success { .. })) => {}
            Some((_, Answer::Unknown | Answer::GivenUp)) => return Some("its leader reported that nobody knows"),
            _ if index.is_down(leader.pod, over) => return Some("the answer went down with its leader"),
            _ => {}
        }
        // Somebody was to present the next token, and nobody knows whether that was done.
        let may_lead = |call: &&Call<'_>| {
            (call.led.is_some() && call.answered.is_none() && index.is_down(call.pod, over))
                || self.may_lead_unheard(call)
        };
        (is_refused && calls.iter().any(may_lead)).then_some("never presents what is uncertain")
    }
}

/// Whether a token came later in the chain of another.
fn follows(newer: &str, older: &str) -> bool {
    let (Some(newer), Some(older)) = (Token::read(newer), Token::read(older)) else { return false };
    newer.family == older.family && newer.generation > older.generation
}
