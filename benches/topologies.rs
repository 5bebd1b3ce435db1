//! What does a refresh that nobody else asks for cost on a Cluster, and what where a replica is waited for?
//!
//! On a Cluster the floor is two round trips of a script that does nothing, straight to the node that owns the namespace, in
//! turn with the pod's. A replica that is waited for is beside the same pod without.

use redis::aio::MultiplexedConnection;
use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_benches::leads::{LANES, Round, bare, bare_script, coordinator, middle};
use refresh_coordinator_benches::pods::{connect, told, wide};
use refresh_coordinator_benches::redis_server::RedisServer;
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};

const TASKS: [usize; 2] = [1, 16];

fn main() {
    if is_wanted() {
        let runtime = runtime();
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report =
        Report::open("topologies", "What does a refresh cost on a Cluster, and where a replica is waited for?");
    report.setting(told(&wide()));
    report.setting(format!("distinct tokens, 1.5 KB answers, {LANES} lanes; median of {} rounds, in turn", rounds(7)));
    on_a_cluster(&mut report).await;
    with_a_replica(&mut report).await;
}

fn flights(tasks: usize) -> usize {
    let many = if is_quick() { 2_048 } else { 8_192 };
    if tasks == 1 { many / 4 } else { many }
}

/// A pod beside bare scripts that go to the node itself.
async fn on_a_cluster(report: &mut Report) {
    let node = RedisServer::start_cluster().await;
    let url = node.url().replace("redis://", "redis+cluster://");
    let pod = RefreshCoordinator::connect(&url, wide()).await.expect("the cluster is there");
    let mut lanes: Vec<MultiplexedConnection> = Vec::new();
    for _ in 0..LANES {
        lanes.push(node.connect().await);
    }
    let script = bare_script(&mut lanes[0].clone()).await;

    for tasks in TASKS {
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for round in 0..=rounds(7) {
            let our = coordinator(&pod, tasks, flights(tasks)).await;
            let floor = bare(&lanes, &script, tasks, flights(tasks)).await;
            if round > 0 {
                ours.push(our);
                floors.push(floor);
            }
        }
        rows(report, &format!("on a Cluster, {tasks} tasks"), "two bare EVALSHA at the owner", &ours, &floors);
    }
}

/// The same pods on one server with a replica: one waits for it, the other does not.
async fn with_a_replica(report: &mut Report) {
    let primary = RedisServer::start().await;
    let _replica = primary.start_replica().await;
    let plain = connect(&primary, &wide()).await;
    let waiting = connect(&primary, &wide().with_wait_replicas(1)).await;

    for tasks in TASKS {
        let (mut ours, mut beside) = (Vec::new(), Vec::new());
        for round in 0..=rounds(7) {
            let our = coordinator(&waiting, tasks, flights(tasks) / 4).await;
            let without = coordinator(&plain, tasks, flights(tasks) / 4).await;
            if round > 0 {
                ours.push(our);
                beside.push(without);
            }
        }
        rows(report, &format!("wait_replicas = 1, {tasks} tasks"), "without", &ours, &beside);
    }
}

fn rows(report: &mut Report, what: &str, beside: &str, ours: &[Round], others: &[Round]) {
    let mut row = |figure: &str, of: fn(&Round) -> f64, unit: &'static str| {
        report.row(Row::new(format!("{what}: {figure}"), middle(ours, of), unit).beside(beside, middle(others, of)));
    };
    row("p50", |round| round.p50, "us");
    row("p99", |round| round.p99, "us");
    row("refreshes", |round| round.per_second, "per s");
}
