//! The way of a refresh: what a pod does at each turn, and what it makes of the answer of `begin`. Mirrors
//! `src/coordinator/way.rs`.

use crate::pod::{Flight, Given, Kept, NEVER, Step};
use crate::provider::Outcome;
use crate::rules::Rule;
use crate::scene::{Fate, Scene};
use crate::scripts::{Command, Reply};
use crate::turn::Turn;

impl Scene<'_> {
    /// A caller comes, and a flight begins.
    pub fn come(&mut self) {
        self.world.attempts += 1;
        let (attempt, patience) = (self.world.attempts, self.scenario.patience);
        let step = Step::Ask { wait: 0 };
        let me = self.me();
        me.callers -= 1;
        me.flight = Some(Flight {
            attempt,
            step,
            joined: 0,
            has_waited: false,
            may_have_begun: false,
            overtaken: None,
            waits: Some(patience),
        });
    }

    /// Does what is to be done.
    pub fn take(&mut self, turn: Turn, fate: Fate, provider_is_busy: bool) {
        if matches!(turn, Turn::Renew | Turn::Complete | Turn::Greet) && self.is_superseded() {
            return self.world.move_to_primary(self.pod);
        }
        match turn {
            Turn::Link => self.link(),
            Turn::Greet => self.greet(),
            Turn::Resend => self.resend(fate),
            Turn::Begin => self.begin(fate),
            Turn::RenewFirst => self.renew_first(fate),
            Turn::Check => self.check(),
            Turn::Send => self.send(provider_is_busy),
            Turn::Renew => self.renew(fate),
            Turn::GiveUp => self.answered(Outcome::Unknown),
            Turn::Complete => self.complete(fate),
            Turn::GiveBack => self.give_back(fate),
        }
    }

    fn link(&mut self) {
        let (pod, lane) = (self.pod, self.me().lane);
        // A pod that has something in hand has reported when Redis has it.
        let has_in_hand = self.me().kept.is_some()
            || self.me().flight.is_some_and(|flight| {
                matches!(flight.step, Step::Led(_) | Step::Connecting(_) | Step::Calling { .. } | Step::Landing { .. })
            });
        let leases = self.scenario.pods.map(|settings| settings.map_or(0, |settings| settings.lease));
        let known = self.world.at_server(lane, self.scenario, self.rules, |host| {
            host.register(pod, !has_in_hand);
            (0..leases.len()).filter(|other| host.server.db.register & 1 << other != 0).map(|other| leases[other]).max()
        });
        let me = self.me();
        me.is_linked = true;
        me.knows = me.knows.max(lane);
        me.longest = me.longest.max(known.flatten().unwrap_or(0));
        if let Some(Flight { step: Step::Calling { renew_in, .. }, .. }) = &mut me.flight
            && *renew_in != NEVER
        {
            // Redis may have forgotten the lease.
            *renew_in = 0;
        }
    }

    fn greet(&mut self) {
        let names_itself = self.rules.has(Rule::ServerNamesItself);
        let me = self.me();
        if names_itself {
            me.knows = me.knows.max(me.lane);
        }
        if let Some(kept) = &mut me.kept {
            kept.has_greeted = true;
        }
    }

    fn resend(&mut self, fate: Fate) {
        let kept = self.me().kept.expect("BUG: nothing is kept");
        if self.ask(kept.command, fate).is_some() {
            let lane = self.me().lane;
            self.me().kept = Some(Kept { server: lane, ..kept });
        }
    }

    fn begin(&mut self, fate: Fate) {
        let Flight { joined, overtaken, has_waited, .. } = *self.flight();
        let settings = self.settings();
        let from = self.sender();
        let reply = self.ask(Command::Begin { from, joined, uncertain: settings.uncertain }, fate);
        let failed = |given| overtaken.map_or(given, Given::Outcome);
        self.flight().may_have_begun |= reply.is_none();
        match reply {
            Some(Reply::Landed(outcome)) => self.land(Given::Outcome(outcome)),
            Some(Reply::Lost) => self.land(failed(Given::Lost)),
            Some(Reply::Lead { fence, after_lost }) => self.led(fence, after_lost),
            Some(Reply::Join { fence, look_in }) => {
                let flight = self.flight();
                flight.joined = if fence > 0 { fence } else { joined };
                flight.has_waited = true;
                flight.step = Step::Ask { wait: look_in.max(1) };
                let me = self.me();
                me.seen = me.seen.max(fence);
            }
            Some(Reply::Queued) => self.me().go_on(Step::Ask { wait: 1 }),
            Some(Reply::Recovering(left)) => {
                if let Some(outcome) = overtaken {
                    // Nobody leads, and what its own call brought is all there is.
                    self.land(Given::Outcome(outcome));
                } else if self.rules.has(Rule::RecoveringWaits) || has_waited {
                    self.flight().has_waited = true;
                    self.me().go_on(Step::Ask { wait: left });
                } else {
                    self.land(Given::Recovering);
                }
            }
            Some(Reply::AnotherClaim | Reply::Abandoned) => self.land(failed(Given::Refused)),
            // Another flight has the token in hand: waiting loses nothing.
            None if has_waited => self.me().go_on(Step::Ask { wait: 1 }),
            None => {
                self.give(failed(Given::Refused));
                self.me().go_on(Step::GivingBack { fence: 0, is_unanswered: false, wait: 1 });
            }
            Some(Reply::Renewed | Reply::LeaseLost | Reply::Stands(_) | Reply::Stale) => {
                unreachable!("BUG: begin does not answer that")
            }
        }
    }

    fn give_back(&mut self, fate: Fate) {
        let Step::GivingBack { fence, is_unanswered, .. } = self.flight().step else {
            unreachable!("BUG: nothing is to be given back")
        };
        let from = self.sender();
        match self.ask(Command::Abandon { from, fence, is_unanswered }, fate) {
            Some(_) => self.me().flight = None,
            None => self.me().go_on(Step::GivingBack { fence, is_unanswered, wait: 1 }),
        }
    }
}
