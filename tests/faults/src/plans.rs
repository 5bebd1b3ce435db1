//! Which fleets there are, and what happens to each.

use crate::arguments::RunArguments;
use crate::chains::{self, Chain};
use crate::faults::{self, Act, Fault};
use crate::history::Harm;
use crate::planned::Planned;
use crate::settings::Setting;
use crate::topology::rows;
use crate::topology::servers::Topology;
use crate::transport::Transport;
use crate::wire::Rules;

/// A fleet, and what happens to it.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) topology: Topology,
    pub(crate) pods: usize,
    /// How many times the usual sessions.
    pub(crate) crowd: usize,
    pub(crate) rules: Rules,
    pub(crate) faults: Vec<Planned>,
}

/// The fleets that run one after the other, each with those that run beside it.
pub(crate) fn stages(arguments: &RunArguments) -> Vec<Vec<Plan>> {
    let named = match arguments.topology.as_deref() {
        Some(named) => named,
        None if arguments.long && arguments.over == Transport::Tcp => "all",
        None => "standalone",
    };
    let is_plain = arguments.only.is_none() && arguments.policy.is_none();
    let is_short = arguments.topology.is_none() && arguments.over == Transport::Tcp && !arguments.long && is_plain;
    let mut stages = Vec::new();
    if matches!(named, "standalone" | "all") {
        let mut fleets = standalone();
        while !fleets.is_empty() {
            // The driver is a TLS peer of all pods, on one thread.
            let beside = if arguments.over == Transport::Mtls { 2 } else { fleets.len() };
            stages.push(fleets.drain(..beside.min(fleets.len())).collect());
        }
    }
    if matches!(named, "sentinel" | "all") {
        stages.push(on(Topology::Sentinel));
    }
    if matches!(named, "cluster" | "all") {
        stages.push(on(Topology::Cluster));
    }
    if is_short {
        // Beside each other: they mostly wait.
        let both = [Topology::Sentinel, Topology::Cluster].map(|topology| on(topology).swap_remove(0));
        let is_short = |planned: &Planned| matches!(planned, Planned::Fault(fault) if rows::is_short(fault));
        let few = |plan: Plan| Plan { faults: plan.faults.into_iter().filter(is_short).collect(), ..plan };
        stages.push(both.into_iter().map(few).collect());
    }
    for plan in stages.iter_mut().flatten() {
        plan.faults.retain(|planned| arguments.only.as_ref().is_none_or(|only| planned.name().contains(only.as_str())));
    }
    let is_asked = |plan: &Plan| match (plan.topology, arguments.policy.as_deref()) {
        (_, None) => true,
        (Topology::Standalone, Some(only)) => plan.name == only,
        (Topology::Sentinel | Topology::Cluster, Some("retry")) => !plan.name.contains('-'),
        (Topology::Sentinel | Topology::Cluster, Some(only)) => {
            plan.name.rsplit('-').next() == Some(only) || plan.name == only
        }
    };
    for stage in &mut stages {
        // Those that nothing happens to have nothing to do.
        stage.retain(|plan| is_asked(plan) && !plan.faults.is_empty());
    }
    stages
}

/// Behind Sentinel, or on a Cluster.
fn on(topology: Topology) -> Vec<Plan> {
    let faults: Vec<_> = rows::rows(topology).into_iter().chain(Fault::of_settings()).map(Planned::Fault).collect();
    let plan = |(name, pods, rules)| Plan { name, topology, pods, crowd: 1, rules, faults: faults.clone() };
    rows::fleets(topology).into_iter().map(plan).collect()
}

/// The policies on one Redis. Ten pods wait where nobody waits for a lost leader longer than its lease.
fn standalone() -> Vec<Plan> {
    let rules = |presents_uncertain_tokens_again, retry_lost_after_ms, max_concurrent| Rules {
        namespace: "faults".to_owned(),
        lease_ms: 1500,
        store_timeout_ms: 1000,
        refresh_timeout_ms: 3000,
        wait_timeout_ms: 6000,
        call_limit_ms: 4500,
        keep_outcome_ms: 5000,
        retry_lost_after_ms,
        uncertain_memory_ms: 60_000,
        presents_uncertain_tokens_again,
        goes_on_alone: false,
        walks: false,
        max_concurrent,
        max_attempts: 5,
    };
    let fleets = [
        // So few that flights queue for a permit.
        ("retry", 4, 1, rules(true, 3000, 24)),
        ("retry0", 11, 1, rules(true, 0, 400)),
        // So many that two thousand are refreshed under faults of processes and connections.
        ("never", 4, 3, rules(false, 3000, 400)),
        ("local", 4, 1, Rules { goes_on_alone: true, ..rules(true, 3000, 400) }),
        ("chains", 3, 1, chains::rules(rules(true, 0, 400))),
        ("chains-never", 3, 1, chains::rules(rules(false, 3000, 400))),
    ];
    let plan = |(name, pods, crowd, rules): (_, _, _, Rules)| {
        let mut faults =
            if rules.walks { Chain::all().into_iter().map(Planned::Chain).collect() } else { faults_for(&rules) };
        if name == "retry" {
            faults.extend(Fault::of_settings().map(Planned::Fault));
        }
        Plan { name, topology: Topology::Standalone, pods, crowd, rules, faults }
    };
    fleets.into_iter().map(plan).collect()
}

/// Under those that neither a pod nor Redis is kept from the others by, a fleet that goes on alone is one that does not.
fn faults_for(rules: &Rules) -> Vec<Planned> {
    let mut faults = Fault::all();
    faults.retain(|fault| fault.act != Act::WrongClock || faults::wrong_clock().is_some());
    faults.retain(|fault| !rules.goes_on_alone || matches!(fault.harm, Harm::CutOff | Harm::Store));
    faults.into_iter().map(Planned::Fault).collect()
}

/// The names of all faults.
pub(crate) fn every_name() -> Vec<&'static str> {
    let on_topologies = [Topology::Sentinel, Topology::Cluster].map(rows::rows).concat();
    let chains = Chain::all().into_iter().map(|chain| chain.fault.name);
    let settings = Setting::ALL.map(|(name, _)| name);
    Fault::all().iter().chain(&on_topologies).map(|fault| fault.name).chain(settings).chain(chains).collect()
}
