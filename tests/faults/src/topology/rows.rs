//! The fleets behind Sentinel and on a Cluster, and what happens to them.

use super::deeds::{Deed, ServerAct};
use super::servers::Topology;
use crate::faults::{Act, Fault, Scope};
use crate::history::{Harm, Kind};
use crate::steps::Stage;
use crate::tokens::Mode;
use crate::wire::Rules;

/// Name, pods, policy.
pub(crate) fn fleets(topology: Topology) -> Vec<(&'static str, usize, Rules)> {
    // Longer than a failover takes: for so long pods keep what a new server may lack.
    let rules = |presents_uncertain_tokens_again, goes_on_alone| Rules {
        namespace: "faults".to_owned(),
        lease_ms: 4000,
        store_timeout_ms: 1000,
        refresh_timeout_ms: 3000,
        wait_timeout_ms: 10_000,
        call_limit_ms: 4500,
        keep_outcome_ms: 8000,
        retry_lost_after_ms: 4000,
        uncertain_memory_ms: 60_000,
        presents_uncertain_tokens_again,
        goes_on_alone,
        walks: false,
        max_concurrent: 400,
        max_attempts: 5,
    };
    let [retry, never, local] = match topology {
        Topology::Standalone => return Vec::new(),
        Topology::Sentinel => ["sentinel", "sentinel-never", "sentinel-local"],
        Topology::Cluster => ["cluster", "cluster-never", "cluster-local"],
    };
    vec![(retry, 4, rules(true, false)), (never, 4, rules(false, false)), (local, 4, rules(true, true))]
}

/// Those of a run that is to be short.
pub(crate) fn is_short(fault: &Fault) -> bool {
    matches!(fault.name, "server killed" | "relieved by order" | "slot moves")
}

pub(crate) fn rows(topology: Topology) -> Vec<Fault> {
    let row = |name, act| {
        let harm = match act {
            ServerAct::HangAll { .. } => Harm::Store,
            ServerAct::HangReplica { .. } => Harm::Seen,
            _ => Harm::Failover,
        };
        let fault = Fault::new(name, Kind::Redis, Scope::Fleet, harm, Act::OnServers(Deed::of(act)));
        fault.answered(Mode::Well, 1500).sessions(24)
    };
    let deed = |fault: Fault, change: fn(&mut Deed)| {
        let Act::OnServers(mut deed) = fault.act else { unreachable!("BUG: all rows here are of servers") };
        change(&mut deed);
        Fault { act: Act::OnServers(deed), ..fault }
    };
    let lags = |fault| deed(fault, |deed| deed.lag_ms = 300);
    let beside_a_death = |fault: Fault| {
        let fault = deed(fault, |deed| deed.kills_a_pod = true).stopped_at(Stage::Sent);
        // Later: the replica has the leads.
        Fault { scope: Scope::OnePod, later_ms: 1600, ..fault }
    };
    let mut rows = vec![
        row("server killed", ServerAct::Kill),
        row("server killed at any moment", ServerAct::Kill).at_any_moment(),
        lags(row("server killed, its replica lags", ServerAct::Kill)).at_any_moment(),
        beside_a_death(row("server and leader killed", ServerAct::Kill)),
        row("server hangs and wakes", ServerAct::Hang),
        row("relieved by order", ServerAct::Relieve).at_any_moment(),
        beside_a_death(row("relieved by order, leader killed", ServerAct::Relieve)),
        row("server cut off from servers", ServerAct::CutOff).at_any_moment(),
        row("replica hangs", ServerAct::HangReplica { ms: 2200 }).at_any_moment(),
        row("all servers hang for long", ServerAct::HangAll { ms: 7000 }),
    ];
    match topology {
        Topology::Standalone => rows.clear(),
        Topology::Sentinel => rows.extend([
            lags(row("relieved by order, its replica lags", ServerAct::Relieve)),
            row("relieved, unseen by a sentinel", ServerAct::RelieveUnseenByOne).at_any_moment(),
        ]),
        Topology::Cluster => rows.extend([
            lags(row("replica takes over unasked, and lags", ServerAct::Usurp)),
            row("slot moves", ServerAct::MoveSlot).at_any_moment(),
            beside_a_death(row("slot moves, leader killed", ServerAct::MoveSlot)),
        ]),
    }
    rows
}
