//! A pod in a world under rules: what the way of a refresh is told with, and where its commands go.

use crate::judge;
use crate::pod::{Flight, Given, Holds, NEVER, Pod, Step};
use crate::provider::Outcome;
use crate::rules::{Rule, Rules};
use crate::scenario::Scenario;
use crate::scripts::{Command, Reply, Sender};
use crate::settings::Settings;
use crate::world::World;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives.
    RequestLost,
    /// It runs, and its answer never arrives.
    ReplyLost,
    /// Its pod gives it up; it arrives later.
    Late,
}

/// A pod with its settings, in a world under rules: where the way of a refresh goes on.
pub struct Scene<'a> {
    /// The world.
    pub world: &'a mut World,
    /// The configuration.
    pub scenario: &'a Scenario,
    /// The rules in force.
    pub rules: Rules,
    /// Which pod.
    pub pod: usize,
}

impl Scene<'_> {
    /// The pod.
    pub fn me(&mut self) -> &mut Pod {
        &mut self.world.pods[self.pod]
    }

    /// Its settings.
    pub fn settings(&self) -> Settings {
        self.scenario.pods[self.pod].expect("BUG: a pod that is not in the scenario acts")
    }

    /// What its commands say of it.
    pub fn sender(&self) -> Sender {
        self.world.pods[self.pod].sender(self.pod, &self.settings())
    }

    /// Its flight.
    pub fn flight(&mut self) -> &mut Flight {
        self.me().flight.as_mut().expect("BUG: a pod without a flight acts for one")
    }

    /// Sends a command over the pod's lane. None: no answer, and it may have run.
    pub fn ask(&mut self, command: Command, fate: Fate) -> Option<Reply> {
        let lane = self.me().lane;
        let reply = match fate {
            Fate::RequestLost => None,
            Fate::Late => {
                self.me().late = Some((lane, command));
                None
            }
            Fate::ReplyLost => {
                self.world.run(lane, &command, self.scenario, self.rules);
                None
            }
            Fate::Answered => self.world.run(lane, &command, self.scenario, self.rules),
        };
        let names_itself = self.rules.has(Rule::ServerNamesItself);
        let (is_primary, lease) = (lane == self.world.primary.id, self.settings().lease);
        let is_wronged = reply == Some(Reply::LeaseLost) && judge::is_wronged(self.world, &command);
        let me = self.me();
        match reply {
            None => me.is_disturbed = true,
            Some(reply) => {
                if names_itself {
                    me.knows = me.knows.max(lane);
                }
                let is_granted = matches!(reply, Reply::Lead { .. } | Reply::Renewed);
                if is_primary && is_granted {
                    me.heard = lease;
                } else if is_primary && is_wronged {
                    // It is told to renew no more, so its silence says nothing from now on.
                    me.heard = NEVER;
                }
            }
        }
        reply
    }

    /// The callers of the flight are given something, if they still wait.
    pub fn give(&mut self, given: Given) {
        if self.flight().waits.take().is_none() {
            return;
        }
        let claim = self.settings().claim;
        judge::given(self.world, self.pod, claim, given);
    }

    /// The flight is over, but for an attempt that is to be given back.
    pub fn land(&mut self, given: Given) {
        self.give(given);
        if self.rules.has(Rule::GoneBegin) && self.flight().may_have_begun {
            self.me().go_on(Step::GivingBack { fence: 0, is_unanswered: false, wait: 0 });
        } else {
            self.me().flight = None;
        }
    }

    /// The flight is over.
    pub fn end(&mut self, given: Given) {
        self.give(given);
        self.me().flight = None;
    }

    /// The outcome of a success or of an uncertain end that the process knows of from now on.
    pub fn hold(&mut self, attempt: u8, outcome: Outcome) {
        let is_uncertain = outcome == Outcome::Unknown;
        if outcome.is_success() || is_uncertain {
            let claim = self.settings().claim;
            self.me().holds = Some(Holds { attempt, claim, outcome, is_settled: false, left: NEVER });
        }
    }
}
