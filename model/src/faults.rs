//! What goes wrong with servers and clocks, and what becomes of pods meanwhile.

use crate::pod::{NEVER, Pod};
use crate::redis::{Db, Server};
use crate::scenario::{Replacement, Scenario};
use crate::settings::{LONGEST_LEASE, PODS};
use crate::world::World;

impl World {
    /// The ways in which the server may be replaced now.
    pub fn replacements(&self, scenario: &Scenario) -> Vec<Replacement> {
        let lost = |most: u8| 0..=(self.log.len() as u8).min(most);
        let all = scenario.replacements.iter().flat_map(|&replacement| -> Vec<Replacement> {
            match replacement {
                Replacement::Promote(most) => lost(most).map(Replacement::Promote).collect(),
                Replacement::Demote(most) => lost(most).map(Replacement::Demote).collect(),
                Replacement::RestartOld(most) => lost(most).map(Replacement::RestartOld).collect(),
                Replacement::PromoteEmpty | Replacement::RestartEmpty => vec![replacement],
            }
        });
        all.collect()
    }

    /// Another server is the primary from now on.
    pub fn replace(&mut self, replacement: Replacement, scenario: &Scenario) {
        self.faults.replacements -= 1;
        let lost = match replacement {
            Replacement::Promote(lost) | Replacement::Demote(lost) | Replacement::RestartOld(lost) => Some(lost),
            Replacement::PromoteEmpty | Replacement::RestartEmpty => None,
        };
        let mut db = match lost {
            None => Db::default(),
            Some(0) => self.primary.db.clone(),
            Some(lost) => self.log[self.log.len() - usize::from(lost)].clone(),
        };
        // Reports name the run id that they were made under.
        db.reported = 0;
        self.has_lost_writes |= lost != Some(0);
        let was_up =
            matches!(replacement, Replacement::Promote(_) | Replacement::Demote(_) | Replacement::PromoteEmpty);
        let id = self.primary.id + 1;
        let young = if was_up { 0 } else { LONGEST_LEASE };
        let primary = Server { id, db, young, young_primary: LONGEST_LEASE };
        let before = std::mem::replace(&mut self.primary, primary);
        self.demoted = matches!(replacement, Replacement::Demote(_)).then_some(before);
        self.log.clear();
        for pod in self.pods.iter_mut().filter(|pod| pod.is_alive) {
            let is_held = self.demoted.as_ref().is_some_and(|demoted| demoted.id == pod.lane);
            if is_held {
                if scenario.told_of_promotion {
                    pod.knows = id;
                }
            } else {
                pod.lane = id;
                // Its connection ended, unless a proxy kept it.
                pod.is_linked &= scenario.hidden_by_proxy;
                if let Some(holds) = &mut pod.holds {
                    // What the process holds when writes are lost is not lost.
                    holds.left = NEVER;
                }
            }
            // What was under way to a server that is gone is gone.
            let reached = |server: u8| self.demoted.as_ref().is_some_and(|demoted| demoted.id == server);
            pod.late = pod.late.filter(|&(server, _)| reached(server));
        }
    }

    /// Pods go to the primary when nothing can be at the demoted one any more.
    pub fn move_to_primary(&mut self, pod: usize) {
        let id = self.primary.id;
        let pod = &mut self.pods[pod];
        (pod.lane, pod.is_linked, pod.is_disturbed) = (id, false, true);
        if !self.pods.iter().any(|pod| pod.is_alive && pod.lane != id) {
            self.demoted = None;
        }
    }

    /// All data is gone, and the server stays.
    pub fn flush(&mut self) {
        self.faults.flushes -= 1;
        self.primary.db = Db::default();
        self.has_lost_writes = true;
        self.log.clear();
    }

    /// A process ends, with all that it knew.
    pub fn crash(&mut self, pod: usize) {
        self.faults.crashes -= 1;
        let Pod { callers, late, .. } = self.pods[pod];
        self.pods[pod] = Pod { callers, late, ..Pod::default() };
    }

    /// A process starts.
    pub fn start(&mut self, pod: usize) {
        debug_assert!(pod < PODS);
        self.faults.starts -= 1;
        let lane = self.primary.id;
        let pod = &mut self.pods[pod];
        (pod.is_alive, pod.lane) = (true, lane);
    }
}
