//! All there is at a moment: pods, servers, the provider, and the faults that may still happen.

use crate::pod::{Flight, Pod, Step};
use crate::promises::Promise;
use crate::provider::Provider;
use crate::redis::{Db, Server, bit};
use crate::rules::{Rule, Rules};
use crate::scenario::{Faults, Scenario};
use crate::scripts::{Command, Host, Reply};
use crate::settings::{PODS, Presence};

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The pods.
    pub pods: [Pod; PODS],
    /// The primary.
    pub primary: Server,
    /// A demoted primary that still answers.
    pub demoted: Option<Server>,
    /// The primary's data before each of its last writes: where a replica may have stopped.
    pub log: Vec<Db>,
    /// The provider.
    pub provider: Provider,
    /// What may still go wrong.
    pub faults: Faults,
    /// The last attempt that was begun.
    pub attempts: u8,
    /// The highest fence that was ever given.
    pub highest: u8,
    /// Redis' clock was set back.
    pub is_set_back: bool,
    /// Redis has lost writes.
    pub has_lost_writes: bool,
    /// The success that a caller of each claim was given; zero is none.
    pub given: [u8; 2],
    /// The promise that was broken.
    pub broken: Option<Promise>,
}

impl World {
    /// Where every history of a scenario begins: the namespace was used before, and nobody leads.
    pub fn new(scenario: &Scenario, rules: Rules) -> Self {
        let mut db = Db::default();
        if rules.has(Rule::Incarnation) {
            db.noted = Some(0);
        }
        let mut pods = [(); PODS].map(|()| Pod::default());
        for (index, pod) in pods.iter_mut().enumerate() {
            let Some(settings) = scenario.pods[index] else { continue };
            pod.callers = settings.callers;
            if settings.presence == Presence::Running {
                (pod.is_alive, pod.is_linked) = (true, true);
                db.register |= bit(index);
                db.reported |= bit(index);
            }
        }
        let leases = scenario.pods.iter().flatten().filter(|settings| settings.presence == Presence::Running);
        let longest = leases.map(|settings| settings.lease).max().unwrap_or(0);
        for pod in pods.iter_mut().filter(|pod| pod.is_alive) {
            pod.longest = longest;
        }
        Self {
            pods,
            primary: Server { id: 0, db, young: 0, young_primary: 0 },
            demoted: None,
            log: Vec::new(),
            provider: Provider::default(),
            faults: scenario.faults,
            attempts: 0,
            highest: 0,
            is_set_back: false,
            has_lost_writes: false,
            given: [0; 2],
            broken: None,
        }
    }

    /// Breaks a promise, unless one is broken already.
    pub fn breaks(&mut self, promise: Promise) {
        self.broken.get_or_insert(promise);
    }

    /// Runs something at a server, if it still answers; what it changes of the primary may be lost with it.
    pub fn at_server<R>(
        &mut self,
        server: u8,
        scenario: &Scenario,
        rules: Rules,
        run: impl FnOnce(&mut Host<'_>) -> R,
    ) -> Option<R> {
        let listens = |pod: &Pod| pod.is_alive && pod.is_linked && pod.lane == server;
        let listening = (0..PODS).filter(|&pod| listens(&self.pods[pod])).map(bit).sum();
        let time = (!self.is_set_back).then_some(self.highest);
        let leases = scenario.pods.map(|settings| settings.map_or(0, |settings| settings.lease));
        let is_primary = self.primary.id == server;
        let place = if is_primary {
            &mut self.primary
        } else {
            self.demoted.as_mut().filter(|demoted| demoted.id == server)?
        };
        let before = (is_primary && self.faults.replacements > 0).then(|| place.db.clone());
        let mut host = Host { server: place, rules, listening, time, leases, woken: 0 };
        let result = run(&mut host);
        let woken = host.woken & listening;
        if let Some(before) = before
            && before != self.primary.db
        {
            self.log.push(before);
        }
        for pod in (0..PODS).filter(|&pod| woken & bit(pod) != 0 && !scenario.deaf) {
            if let Some(Flight { step: Step::Ask { wait }, .. }) = &mut self.pods[pod].flight {
                *wait = 0;
            }
        }
        Some(result)
    }

    /// Runs a command. A lead or a renewal that the primary grants is heard of by the fleet.
    pub fn run(&mut self, server: u8, command: &Command, scenario: &Scenario, rules: Rules) -> Option<Reply> {
        let reply = self.at_server(server, scenario, rules, |host| host.run(command))?;
        if let Reply::Lead { fence, .. } = reply {
            self.highest = self.highest.max(fence);
        }
        Some(reply)
    }

    /// A tick passes.
    pub fn tick(&mut self) {
        self.primary.tick();
        if let Some(demoted) = &mut self.demoted {
            demoted.tick();
        }
        for db in &mut self.log {
            db.tick();
        }
        for pod in &mut self.pods {
            pod.tick();
        }
    }
}
