//! What happens where another server takes over: a replica that lacks the last writes, an empty server, one with older data, or
//! one that lost nothing. Each test detaches the replica at a known write, so what is lost is the same in every run.

use super::stage::*;
use crate::test_endpoint::Endpoint;

/// Two pods, each with an endpoint of its own, on a primary with a replica.
pub(super) struct Servers {
    pub(super) a: Store,
    pub(super) b: Store,
    config: Config,
    ways: Vec<Endpoint>,
    pub(super) primary: RedisServer,
    pub(super) replica: RedisServer,
}

pub(super) fn config() -> Config {
    // Longer than the machine stands still: no lease is to end, and no recovery or outcome to be over, because it does.
    Config { lease: 6 * S, keep_outcome: 60 * S, max_concurrent_refreshes: 1000, ..super::stage::config() }
}

impl Servers {
    pub(super) async fn start(config: Config) -> Self {
        let primary = RedisServer::start_own(&[]).await;
        primary.in_use(&config.namespace).await;
        let replica = primary.start_replica().await;
        let ways = vec![Endpoint::to(primary.url()).await, Endpoint::to(primary.url()).await];
        let (a, b) = (pod("a", &ways[0], &config).await, pod("b", &ways[1], &config).await);
        Self { a, b, config, ways, primary, replica }
    }

    /// Another server takes over, and no connection to the one before is left.
    pub(super) fn fail_over(&self, to: &RedisServer) {
        for way in &self.ways {
            way.lead_to(to.url());
            way.cut();
        }
    }

    /// A pod that starts only now, where the others are, and its way there.
    pub(super) async fn late_pod(&self, server: &RedisServer) -> (Store, Endpoint) {
        let way = Endpoint::to(server.url()).await;
        (pod("late", &way, &self.config).await, way)
    }
}

async fn pod(name: &str, way: &Endpoint, config: &Config) -> Store {
    let client = redis::Client::open(way.url()).expect("a URL");
    let store = RedisStore::connect(client, name, Arc::new(config.clone()), Arc::default()).await;
    Store::Redis(store.expect("redis is there"))
}

/// A call of a script for a flight, by its number.
#[derive(Clone, Copy)]
enum Step {
    Begin(usize),
    Renew(usize),
    Complete(usize),
}

const FLIGHTS: usize = 24;

fn completes(flight: usize) -> bool {
    flight.is_multiple_of(2)
}

/// Flights that begin, are renewed, and half of which are completed, all in one another: 60 writes.
fn history() -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..FLIGHTS + 2 {
        if number < FLIGHTS {
            steps.push(Step::Begin(number));
        }
        if (1..=FLIGHTS).contains(&number) {
            steps.push(Step::Renew(number - 1));
        }
        if number >= 2 && completes(number - 2) {
            steps.push(Step::Complete(number - 2));
        }
    }
    steps
}

/// The flights of pod a.
#[derive(Default)]
struct Played {
    flights: Vec<(Ask, Lease)>,
}

impl Played {
    async fn play(&mut self, store: &Store, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Begin(flight) => {
                    let asked = ask(&token(flight));
                    let lease = lead(store, &asked).await;
                    self.flights.push((asked, lease));
                }
                Step::Renew(flight) => {
                    assert_eq!(
                        store.renew(&self.flights[flight].1, &self.flights[flight].0).await.expect("an answer"),
                        Renewed::Renewed
                    );
                }
                Step::Complete(flight) => {
                    let (asked, lease) = &self.flights[flight];
                    let stands = complete(store, lease, asked, &success(&token(flight))).await;
                    assert!(matches!(stands, Standing::Ours), "{stands:?}");
                }
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = (usize, &(Ask, Lease))> {
        self.flights.iter().enumerate().filter(|(flight, _)| !completes(*flight))
    }
}

fn token(flight: usize) -> String {
    format!("t{flight}")
}

/// Asks as somebody who holds the token. Nobody is given a lead, and nobody is refused, who could join, take or wait.
async fn waits_or_is_served(store: &Store, token: &str, who: &str) {
    let begun = begin(store, &ask(token)).await;
    assert!(
        matches!(begun, Begun::Join(_) | Begun::Landed(_) | Begun::Recovering(_)),
        "{who} asked for {token}: {begun:?}"
    );
}

/// The outcome, as soon as it is there.
async fn is_handed(store: &Store, token: &str) -> String {
    let deadline = Instant::now() + 10 * S;
    loop {
        match begin(store, &ask(token)).await {
            Begun::Landed(landed) => return access_token(&landed).to_owned(),
            Begun::Join(_) | Begun::Recovering(_) => assert!(Instant::now() < deadline, "{token} does not land"),
            other => panic!("{token}: {other:?}"),
        }
        tokio::time::sleep(5 * MS).await;
    }
}

/// What is promised whatever the new server has: living leaders keep their tokens, acknowledged successes are handed to all who
/// come with the old token, and newcomers wait until both are back.
async fn nothing_is_presented_twice_and_nothing_lost(servers: &Servers, played: &Played, to: &RedisServer) {
    let (late, _way) = servers.late_pod(to).await;
    let pods = [(&servers.b, "a pod that led nothing"), (&late, "a pod that started after")];
    for (pod, who) in pods {
        for flight in (0..FLIGHTS).rev() {
            waits_or_is_served(pod, &token(flight), who).await;
        }
        waits_or_is_served(pod, "new", who).await;
    }

    for (flight, (ask_of, lease)) in played.living() {
        let renewed = servers.a.renew(lease, ask_of).await.expect("an answer");
        assert_eq!(renewed, Renewed::Renewed, "t{flight} is not put back");
        for (pod, who) in pods {
            let begun = begin(pod, &ask(&token(flight))).await;
            assert!(matches!(&begun, Begun::Join(joined) if joined.fence == Some(lease.fence)), "{who}: {begun:?}");
        }
    }
    for flight in (0..FLIGHTS).filter(|flight| completes(*flight)) {
        assert_eq!(is_handed(&late, &token(flight)).await, token(flight));
        assert_eq!(is_handed(&servers.b, &token(flight)).await, token(flight));
    }
    for (flight, (asked, lease)) in played.living() {
        let stands = complete(&servers.a, lease, asked, &success(&token(flight))).await;
        assert!(matches!(stands, Standing::Ours), "{stands:?}");
        assert_eq!(is_handed(&late, &token(flight)).await, token(flight));
    }

    // Nothing else is held back for longer than a lease.
    to.wait(servers.config.lease).await;
    let highest = played.flights.iter().map(|(_, lease)| lease.fence).max();
    assert!(Some(lead(&late, &ask("new")).await.fence) > highest);
}

async fn promotion_without_the_last(writes: usize) {
    let servers = Servers::start(config()).await;
    let (steps, mut played) = (history(), Played::default());
    let (kept, lost) = steps.split_at(steps.len() - writes);
    played.play(&servers.a, kept).await;
    servers.primary.detach(&servers.replica).await;
    played.play(&servers.a, lost).await;

    servers.fail_over(&servers.replica);

    nothing_is_presented_twice_and_nothing_lost(&servers, &played, &servers.replica).await;
}

macro_rules! promotions {
    ($($name:ident: $writes:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                promotion_without_the_last($writes).await;
            }
        )*
    };
}

promotions! {
    promotion_that_lost_the_last_write: 1;
    promotion_that_lost_the_last_2_writes: 2;
    promotion_that_lost_the_last_5_writes: 5;
    promotion_that_lost_the_last_50_writes: 50;
    promotion_that_lost_every_write: 60;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_starts_empty() {
    let servers = Servers::start(config()).await;
    let mut played = Played::default();
    played.play(&servers.a, &history()).await;
    let empty = RedisServer::start_own(&[]).await;

    servers.fail_over(&empty);

    nothing_is_presented_twice_and_nothing_lost(&servers, &played, &empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_starts_with_older_data() {
    let servers = Servers::start(config()).await;
    let (steps, mut played) = (history(), Played::default());
    played.play(&servers.a, &steps[..10]).await;
    servers.primary.cli(&["SAVE"]).await;
    let dir = servers.primary.cli(&["CONFIG", "GET", "dir"]).await;
    let dir = dir.lines().last().expect("its directory").to_owned();
    played.play(&servers.a, &steps[10..]).await;
    let older = RedisServer::start_own(&["--dir", &dir]).await;

    servers.fail_over(&older);

    nothing_is_presented_twice_and_nothing_lost(&servers, &played, &older).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_server_that_lost_nothing_serves_joins_and_outcomes_at_once() {
    let servers = Servers::start(config()).await;
    let mut played = Played::default();
    played.play(&servers.a, &history()).await;
    servers.primary.detach(&servers.replica).await;

    servers.fail_over(&servers.replica);

    let (late, _way) = servers.late_pod(&servers.replica).await;
    for flight in 0..FLIGHTS {
        for pod in [&late, &servers.b] {
            let begun = begin(pod, &ask(&token(flight))).await;
            let is_served = matches!((&begun, completes(flight)), (Begun::Landed(_), true) | (Begun::Join(_), false));
            assert!(is_served, "{}: {begun:?}", token(flight));
        }
    }
    nothing_is_presented_twice_and_nothing_lost(&servers, &played, &servers.replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lead_that_a_demoted_primary_gives_does_not_count() {
    let servers = Servers::start(config()).await;
    servers.primary.detach(&servers.replica).await;
    // The endpoint was looked at before it changed: that is good for a third of a lease.
    for way in &servers.ways {
        way.lead_to(servers.replica.url());
    }
    let lease = lead(&servers.b, &ask("t")).await;
    servers.primary.wait(servers.config.lease / 3).await;

    assert!(!servers.b.is_current(&lease).await.expect("the endpoint answers"));

    // And from now on the pod asks where the endpoint leads to.
    let deadline = Instant::now() + 10 * S;
    while !matches!(begin(&servers.b, &anybody()).await, Begun::Recovering(_)) {
        assert!(Instant::now() < deadline, "the pod stays with the demoted primary");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_that_a_demoted_primary_acknowledged_lands_where_the_endpoint_leads() {
    let servers = Servers::start(config()).await;
    let asked = ask("t");
    let lease = lead(&servers.a, &asked).await;
    servers.primary.detach(&servers.replica).await;
    for way in &servers.ways {
        way.lead_to(servers.replica.url());
    }

    let stands = complete(&servers.a, &lease, &asked, &success("one")).await;

    assert!(matches!(stands, Standing::Ours), "{stands:?}");
    let (late, _way) = servers.late_pod(&servers.replica).await;
    assert_eq!(is_handed(&late, "t").await, "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_that_a_demoted_primary_acknowledges_after_the_pod_has_moved_over_is_not_lost() {
    let servers = Servers::start(config()).await;
    let asked = ask("t");
    let lease = lead(&servers.a, &asked).await;
    servers.primary.detach(&servers.replica).await;
    // Connections that stand bring no answer for a while.
    servers.ways[0].hold();
    let outcome = success("one");
    let completion = completion(&outcome);
    let completing = servers.a.complete(&lease, &asked, &completion);
    let flight = format!("rc:{{{}}}:flight:{}", servers.config.namespace, asked.identity.flight);
    let moved_over = async {
        servers.primary.until(&["HGET", &flight, "state"], "landed").await;
        servers.ways[0].lead_to(servers.replica.url());
        let name = format!("name=refresh-coordinator:{}:a", servers.config.namespace);
        servers.replica.until_so(&["CLIENT", "LIST"], |clients| clients.contains(&name)).await;
        // Over connections made anew.
        assert!(matches!(begin(&servers.a, &anybody()).await, Begun::Recovering(_)));
        servers.ways[0].release();
    };

    let (stands, ()) = tokio::join!(completing, moved_over);

    assert!(matches!(stands, Ok(Standing::Ours)), "{stands:?}");
    let (late, _way) = servers.late_pod(&servers.replica).await;
    assert_eq!(is_handed(&late, "t").await, "one");
}

/// A machine that stood still, or a network that was away, notices late that another server has taken over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_is_kept_for_as_long_as_the_endpoint_cannot_be_asked() {
    let servers = Servers::start(Config { lease: S, ..config() }).await;
    let asked = ask("t");
    let lease = lead(&servers.a, &asked).await;
    servers.primary.detach(&servers.replica).await;
    assert!(matches!(complete(&servers.a, &lease, &asked, &success("one")).await, Standing::Ours));

    // Longer than a lease and what is added to it.
    servers.ways[0].lead_to("redis://127.0.0.1:1");
    servers.ways[0].cut();
    servers.replica.wait(3 * S).await;
    servers.ways[0].lead_to(servers.replica.url());

    let flight = format!("rc:{{{}}}:flight:{}", servers.config.namespace, asked.identity.flight);
    servers.replica.until(&["HGET", &flight, "state"], "landed").await;
    let (late, _way) = servers.late_pod(&servers.replica).await;
    assert_eq!(is_handed(&late, "t").await, "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_server_that_has_been_up_for_long_gives_no_lead_beside_a_living_leader() {
    let servers = Servers::start(Config { lease: S, ..config() }).await;
    let spare = RedisServer::start_own(&[]).await;
    spare.wait(3 * S).await;
    let asked = ask("t");
    let lease = lead(&servers.a, &asked).await;
    // Pod a still listens at the server before; pod b is the first that comes.
    servers.ways[1].lead_to(spare.url());
    servers.ways[1].cut();

    waits_or_is_served(&servers.b, "t", "a pod that led nothing").await;

    servers.ways[0].lead_to(spare.url());
    servers.ways[0].cut();
    assert_eq!(servers.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Renewed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_whose_renewals_were_lost_is_not_told_as_lost_before_it_can_move_over() {
    let never = Config { uncertain: Uncertain::Never, store_timeout: S / 2, lease: 4 * S, ..config() };
    let servers = Servers::start(never).await;
    let asked = ask("t");
    let lease = lead(&servers.a, &asked).await;
    servers.primary.detach(&servers.replica).await;
    let lock = format!("rc:{{{}}}:lock:{}", servers.config.namespace, asked.identity.flight);
    while servers.replica.cli(&["EXISTS", &lock]).await == "1" {
        servers.primary.wait(servers.config.lease / 3).await;
        assert_eq!(servers.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Renewed);
    }
    // Pod a has asked the endpoint just before: it asks again a third of a lease later.
    servers.ways[1].lead_to(servers.replica.url());
    servers.ways[1].cut();
    let came = Instant::now();
    while came.elapsed() < servers.config.lease / 3 {
        waits_or_is_joined(&servers.b, "t").await;
        tokio::time::sleep(20 * MS).await;
    }

    servers.ways[0].lead_to(servers.replica.url());
    servers.ways[0].cut();
    assert_eq!(servers.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Renewed);
    complete(&servers.a, &lease, &asked, &success("one")).await;
    assert_eq!(is_handed(&servers.b, "t").await, "one");
}

async fn waits_or_is_joined(store: &Store, token: &str) {
    match begin(store, &ask(token)).await {
        Begun::Join(_) | Begun::Recovering(_) => {}
        other => panic!("{token}: {other:?}"),
    }
}
