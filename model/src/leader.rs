//! What a leader does: looks at its lease, sends the token, renews meanwhile, lands the answer. Mirrors `src/leader.rs`.

use crate::judge;
use crate::pod::{Given, Kept, Lead, NEVER, Step};
use crate::provider::Outcome;
use crate::rules::Rule;
use crate::scene::{Fate, Scene};
use crate::scripts::{Command, Reply};
use crate::settings::{CALL_LIMIT, LONGEST_LEASE, Uncertain};

impl Scene<'_> {
    pub(crate) fn led(&mut self, fence: u8, after_lost: bool) {
        let own_lease = self.settings().lease;
        let is_fence_used = judge::is_fence_used(self.world, self.pod, fence);
        let was_success_held = judge::success_is_held(self.world, self.pod, None);
        let (named, me) = (self.rules.has(Rule::ServerNamesItself), self.me());
        let server = if named { me.lane } else { me.knows };
        me.seen = me.seen.max(fence);
        if let Some(outcome) = self.flight().overtaken {
            // The leader that overtook this flight is gone. What its own call brought is all there is.
            self.give(Given::Outcome(outcome));
            self.me().go_on(Step::GivingBack { fence, is_unanswered: false, wait: 0 });
            return;
        }
        let lead = Lead {
            fence,
            server,
            own_lease,
            age: 0,
            after_lost,
            is_unanswered: false,
            is_fence_used,
            was_success_held,
        };
        self.me().go_on(Step::Led(lead));
    }

    /// Whether the locator says that the pod's server is not the primary any more.
    pub(crate) fn is_superseded(&self) -> bool {
        self.rules.has(Rule::AskLocator) && self.world.pods[self.pod].lane < self.world.primary.id
    }

    fn renewal(&mut self, lead: &Lead) -> Command {
        let from = self.sender();
        let Lead { fence, age, after_lost, own_lease, .. } = *lead;
        Command::Renew { from, fence, age, after_lost, stands: own_lease > 0 }
    }

    pub(crate) fn renew_first(&mut self, fate: Fate) {
        let Step::Led(lead) = self.flight().step else { unreachable!("BUG: only a lead is renewed first") };
        let renewal = self.renewal(&lead);
        let own_lease = self.settings().lease;
        match self.ask(renewal, fate) {
            Some(Reply::Renewed) => self.me().go_on(Step::Led(Lead { own_lease, ..lead })),
            Some(_) => self.begin_again(&lead),
            None => self.me().go_on(Step::Led(Lead { is_unanswered: true, ..lead })),
        }
    }

    /// The same attempt asks anew, and takes what its own fence brought, should another have ended it.
    fn begin_again(&mut self, lead: &Lead) {
        let flight = self.flight();
        flight.joined = lead.fence;
        flight.has_waited = true;
        flight.step = Step::Ask { wait: 0 };
    }

    /// Whether the call may be made under this lead.
    fn may_call(&mut self, lead: &Lead) -> bool {
        let newest = self.world.primary.id;
        let (superseded, asks) = (self.rules.has(Rule::Superseded), self.rules.has(Rule::AskLocator));
        let me = self.me();
        if asks {
            me.knows = newest;
        }
        if superseded && lead.server < me.knows {
            // Over a lane to the newest from now on.
            if me.lane < newest {
                self.world.move_to_primary(self.pod);
            }
            return false;
        }
        lead.own_lease > 0 || !self.rules.has(Rule::OwnLease)
    }

    pub(crate) fn check(&mut self) {
        let Step::Led(lead) = self.flight().step else { unreachable!("BUG: nothing was led") };
        if self.may_call(&lead) {
            self.me().go_on(Step::Connecting(lead));
        } else {
            self.begin_again(&lead);
        }
    }

    /// First the last look, then the sending. Where the scenario stops processes even between the two, there is none.
    pub(crate) fn send(&mut self, provider_is_busy: bool) {
        let Step::Connecting(lead) = self.flight().step else { unreachable!("BUG: nothing is connected") };
        if self.rules.has(Rule::LookAgain) && !self.scenario.last_gap && !self.may_call(&lead) {
            return self.begin_again(&lead);
        }
        let settings = self.settings();
        judge::presentation(self.world, self.pod, &lead, settings.uncertain);
        let attempt = self.flight().attempt;
        let answer = self.world.provider.present(self.pod as u8, attempt, lead.fence, provider_is_busy);
        // The lease began with the lead, and the renewals count from there.
        let renew_in = (settings.lease / 3).saturating_sub(settings.lease - lead.own_lease);
        self.me().go_on(Step::Calling { lead, renew_in, limit_in: CALL_LIMIT, answer });
    }

    pub(crate) fn renew(&mut self, fate: Fate) {
        let Step::Calling { mut lead, limit_in, answer, .. } = self.flight().step else {
            unreachable!("BUG: no call is under way")
        };
        let renewal = self.renewal(&lead);
        let lease = self.settings().lease;
        let renew_in = match self.ask(renewal, fate) {
            Some(Reply::Renewed) => {
                lead.own_lease = lease;
                lease / 3
            }
            // Nothing to renew any more, but the call goes on: it may have rotated the token.
            Some(_) => NEVER,
            None => {
                lead.is_unanswered = true;
                1
            }
        };
        self.me().go_on(Step::Calling { lead, renew_in, limit_in, answer });
    }

    /// The call has ended.
    pub fn answered(&mut self, outcome: Outcome) {
        let Step::Calling { lead, .. } = self.flight().step else { unreachable!("BUG: no call is under way") };
        let attempt = self.flight().attempt;
        self.hold(attempt, outcome);
        if self.me().heard == NEVER {
            self.me().heard = 0;
        }
        self.me().go_on(Step::Landing { lead, outcome, wait: 0 });
    }

    pub(crate) fn complete(&mut self, fate: Fate) {
        let Step::Landing { lead, outcome, .. } = self.flight().step else { unreachable!("BUG: nothing is to land") };
        let from = self.sender();
        let Lead { fence, mut is_unanswered, .. } = lead;
        is_unanswered |= self.rules.has(Rule::GoneBegin) && self.flight().may_have_begun;
        let command = Command::Complete { from, fence, outcome, is_unanswered };
        match self.ask(command, fate) {
            Some(Reply::Landed(outcome)) => {
                self.keep(command, outcome);
                self.end(Given::Outcome(outcome));
            }
            Some(Reply::Stands(theirs)) => {
                self.let_go();
                self.end(Given::Outcome(theirs));
            }
            Some(_) if outcome.is_success() => {
                self.let_go();
                self.end(Given::Outcome(outcome));
            }
            Some(_) => {
                self.let_go();
                let flight = self.flight();
                (flight.overtaken, flight.joined, flight.has_waited) = (Some(outcome), fence, true);
                flight.step = Step::Ask { wait: 0 };
            }
            None => {
                // The callers of this pod need not wait for the store.
                self.give(Given::Outcome(outcome));
                self.me().go_on(Step::Landing { lead, outcome, wait: 1 });
            }
        }
    }

    /// It landed. What would be lost with the server is kept for the next one.
    fn keep(&mut self, command: Command, outcome: Outcome) {
        let settings = self.settings();
        let is_uncertain = outcome == Outcome::Unknown && settings.uncertain == Uncertain::Never;
        let is_bounded = self.rules.has(Rule::LeaseHasBound);
        let me = self.me();
        let left = if is_bounded { LONGEST_LEASE } else { me.longest.max(settings.lease) };
        if let Some(holds) = &mut me.holds {
            holds.left = left;
        }
        let (success, uncertain) = (self.rules.has(Rule::KeepSuccess), self.rules.has(Rule::KeepUncertain));
        if (outcome.is_success() && success) || (is_uncertain && uncertain) {
            let me = self.me();
            // A greeting longer than is promised: writes may be lost just after one.
            me.kept = Some(Kept { command, has_greeted: true, server: me.lane, left: left + 1 });
        }
    }

    /// Another outcome stands: what this process holds is worth nothing any more.
    fn let_go(&mut self) {
        self.me().holds = None;
    }
}
