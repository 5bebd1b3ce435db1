//! Promises 1, 2 and 6 behind sentinels and on a cluster: the node that serves a namespace is found anew when it is killed, is
//! relieved by order, or gives the slot away.
//!
//! `FAILOVERS=50` kills so many times instead of 2, and `--nocapture` shows what was measured.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use refresh_coordinator::{Config, Refresh, RefreshCoordinator, RefreshError, Refreshed};
use support::fleet::quick;
use support::provider::Provider;
use support::redis::RedisServer;
use support::redis::topology::{Cluster, Group, is_promoted};
use support::wait::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a busy machine adds to a bound.
const BUSY: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);

fn config() -> Config {
    // Longer than from the landing of an outcome to the promotion: for so long a pod keeps what a new server may lack.
    quick().with_lease(Duration::from_secs(4)).with_store_timeout(Duration::from_secs(1))
}

/// Two servers, and a URL that leads to the one that decides.
struct Pair {
    url: String,
    config: Config,
    decides: Arc<RedisServer>,
    takes_over: Arc<RedisServer>,
}

impl Pair {
    fn of_group(group: &Group) -> Self {
        let [decides, takes_over] = group.servers.clone();
        Self { url: group.url(), config: config(), decides, takes_over }
    }

    async fn of_cluster(cluster: &Cluster, config: Config) -> Self {
        let decides = cluster.owner(&config.namespace).await;
        let takes_over = cluster.replica.clone().expect("a replica");
        Self { url: cluster.url(), config, decides, takes_over }
    }

    async fn pods(&self, count: usize) -> Vec<RefreshCoordinator> {
        self.decides.in_use(&self.config.namespace).await;
        let mut pods = Vec::new();
        for _ in 0..count {
            pods.push(self.pod().await);
        }
        pods
    }

    async fn pod(&self) -> RefreshCoordinator {
        RefreshCoordinator::connect(&self.url, self.config.clone()).await.expect("the node is found")
    }
}

fn tokens(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}")).collect()
}

type Answers = JoinSet<(String, Duration, Result<Refreshed, RefreshError>)>;

fn comes(callers: &mut Answers, pod: &RefreshCoordinator, provider: &Provider, token: &str) {
    let (pod, call, token) = (pod.clone(), provider.refresh(token), token.to_owned());
    callers.spawn(async move {
        let came = Instant::now();
        let answer = pod.refresh(Refresh::new(token.as_str()), call).await;
        (token, came.elapsed(), answer)
    });
}

/// Comes again and again until there are tokens. Nobody's session ends meanwhile.
async fn is_served(pod: &RefreshCoordinator, provider: &Provider, token: &str) {
    until("it is served", async || match pod.refresh(Refresh::new(token), provider.refresh(token)).await {
        Ok(refreshed) => {
            assert_eq!(refreshed.tokens().access_token(), format!("access-for-{token}"));
            true
        }
        Err(error) => {
            assert!(error.is_transient(), "{token}: {error}");
            false
        }
    })
    .await;
}

/// How long after the promotion it worked again.
#[derive(Debug)]
struct Took {
    promotion: Duration,
    landed: Duration,
    joined: Duration,
    led: Duration,
    /// Callers that waited when the server was killed, and were told to come again.
    told_to_come_again: usize,
}

/// The server that decides is killed, or stopped, while 200 callers wait for 100 flights.
async fn killed(pair: &Pair, signal: &str) -> Took {
    let pods = pair.pods(3).await;
    let (a, b, c) = (&pods[0], &pods[1], &pods[2]);
    let (held, open) = (Provider::held(), Provider::open());
    let (flying, landed, new) = (tokens("flying", 100), tokens("landed", 20), tokens("new", 1));
    let mut callers = Answers::new();
    landed.iter().for_each(|token| comes(&mut callers, a, &open, token));
    while let Some(answer) = callers.join_next().await {
        answer.expect("no panic").2.expect("tokens");
    }
    let landed_at = Instant::now();
    flying.iter().for_each(|token| comes(&mut callers, a, &held, token));
    held.asked(flying.len()).await;
    flying.iter().for_each(|token| comes(&mut callers, b, &held, token));
    until("all are joined", async || b.metrics().joined_fleet == 100).await;

    let killed = Instant::now();
    pair.decides.signal(signal);
    is_promoted(&pair.takes_over).await;

    let promoted = Instant::now();
    let lands = async {
        is_served(c, &open, &landed[0]).await;
        promoted.elapsed()
    };
    let joins = async {
        let mut joiners = Answers::new();
        // Who comes before the leaders have put their flights back waits until the server has recovered.
        let locks = format!("rc:{{{}}}:lock:*", pair.config.namespace);
        pair.takes_over.until_so(&["KEYS", &locks], |there| there.lines().count() >= flying.len()).await;
        until("it is joined", async || {
            if joiners.is_empty() {
                comes(&mut joiners, c, &held, &flying[0]);
            }
            tokio::select! {
                answer = joiners.join_next() => {
                    let (_, _, answer) = answer.expect("it came").expect("no panic");
                    assert!(answer.is_err_and(|error| error.is_transient()), "nobody has answered yet");
                }
                () = tokio::time::sleep(5 * MS) => {}
            }
            c.metrics().joined_fleet > 0
        })
        .await;
        (promoted.elapsed(), joiners)
    };
    let leads = async {
        is_served(b, &open, &new[0]).await;
        promoted.elapsed()
    };
    let (landed_after, (joined, mut joiners), led) = tokio::join!(lands, joins, leads);
    held.release(1000);
    let mut told_to_come_again = 0;
    while let Some(answer) = callers.join_next().await {
        let (token, waited, answer) = answer.expect("no panic");
        assert!(waited < pair.config.wait_timeout + BUSY, "{token} waited {waited:?}");
        if let Err(error) = answer {
            assert!(error.is_transient(), "{token}: {error}");
            told_to_come_again += 1;
            is_served(c, &held, &token).await;
        }
    }
    while let Some(answer) = joiners.join_next().await {
        answer.expect("no panic").2.expect("tokens");
    }
    for token in &landed {
        is_served(b, &open, token).await;
    }
    let of = |provider: &Provider, tokens: &[String]| -> Vec<String> {
        tokens.iter().filter(|token| provider.presented(token) != 1).cloned().collect()
    };
    let again = [of(&held, &flying), of(&open, &landed), of(&open, &new)];
    let metrics: Vec<_> = pods.iter().map(RefreshCoordinator::metrics).collect();
    let took = (landed_at.elapsed(), killed.elapsed(), promoted.elapsed());
    assert!(
        again.iter().all(Vec::is_empty),
        "not presented once: {again:?}; since landed, killed, promoted: {took:?}; {metrics:#?}"
    );
    Took { promotion: promoted - killed, landed: landed_after, joined, led, told_to_come_again }
}

fn times() -> usize {
    std::env::var("FAILOVERS").map_or(2, |times| times.parse().expect("FAILOVERS is a number"))
}

/// Tells what was measured, and holds it to what is promised.
fn judge(topology: &str, took: &[Took]) {
    let figures = |what: &str, of: &dyn Fn(&Took) -> Duration| {
        let mut all: Vec<_> = took.iter().map(of).collect();
        all.sort();
        let (median, most) = (all[(all.len() - 1) / 2], all[all.len() - 1]);
        println!("{topology}: {what}: median {median:?}, longest {most:?} of {}", all.len());
        median
    };
    figures("promoted after the kill", &|took| took.promotion);
    let landed = figures("landed outcomes after the promotion", &|took| took.landed);
    let joined = figures("joins after the promotion", &|took| took.joined);
    let led = figures("new leads after the promotion", &|took| took.led);
    let told: usize = took.iter().map(|took| took.told_to_come_again).sum();
    println!("{topology}: {told} of {} waiting callers were told to come again", 200 * took.len());
    assert!(landed < 500 * MS + BUSY && joined < 500 * MS + BUSY, "landed {landed:?}, joined {joined:?}");
    assert!(led < config().lease + BUSY, "{led:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_of_a_group_is_killed_under_flights() {
    let mut took = Vec::new();
    for _ in 0..times() {
        let group = Group::start(1000 * MS).await;
        took.push(killed(&Pair::of_group(&group), "-KILL").await);
    }
    judge("sentinel", &took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_in_a_cluster_is_killed_under_flights() {
    let mut took = Vec::new();
    for _ in 0..times() {
        let config = config();
        let cluster = Cluster::start_for(&config.namespace, 500 * MS).await;
        took.push(killed(&Pair::of_cluster(&cluster, config).await, "-KILL").await);
    }
    judge("cluster", &took);
}

/// A server that is stopped keeps its connections and answers nothing; it wakes as the one that decides.
async fn stopped_and_woken(pair: &Pair) -> Took {
    let took = killed(pair, "-STOP").await;
    pair.decides.signal("-CONT");
    let woken = pair.pod().await;
    is_served(&woken, &Provider::open(), "woken").await;
    pair.decides.until_so(&["INFO", "replication"], |info| info.contains("role:slave")).await;
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_of_a_group_is_stopped_under_flights() {
    let group = Group::start(1000 * MS).await;
    judge("sentinel, stopped", &[stopped_and_woken(&Pair::of_group(&group)).await]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_in_a_cluster_is_stopped_under_flights() {
    let config = config();
    let cluster = Cluster::start_for(&config.namespace, 500 * MS).await;
    judge("cluster, stopped", &[stopped_and_woken(&Pair::of_cluster(&cluster, config).await).await]);
}

/// Callers that come all the time, each with a token of its own.
struct Load {
    provider: Provider,
    is_over: Arc<AtomicBool>,
    callers: JoinSet<Told>,
}

/// What a caller of a load was told.
#[derive(Default)]
struct Told {
    tokens: Vec<String>,
    errors: Vec<(Instant, String)>,
    longest: Duration,
}

impl Load {
    fn start(pods: &[RefreshCoordinator]) -> Self {
        let (provider, is_over, mut callers) = (Provider::open(), Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..8 {
            let (pod, provider, is_over) = (pods[number % pods.len()].clone(), provider.clone(), Arc::clone(&is_over));
            callers.spawn(async move {
                let mut told = Told::default();
                while !is_over.load(Ordering::Relaxed) {
                    let token = format!("caller{number}-{}", told.tokens.len());
                    let came = Instant::now();
                    if let Err(error) = pod.refresh(Refresh::new(token.as_str()), provider.refresh(&token)).await {
                        assert!(error.is_transient(), "{token}: {error}");
                        told.errors.push((came, error.to_string()));
                    }
                    told.longest = told.longest.max(came.elapsed());
                    told.tokens.push(token);
                    tokio::time::sleep(5 * MS).await;
                }
                told
            });
        }
        Self { provider, is_over, callers }
    }

    /// Ends it. Nobody's token was presented twice, and nobody waited for too long.
    async fn end(self, what: &str, config: &Config) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut count, mut told, mut longest) = (0, Vec::new(), Duration::ZERO);
        for Told { tokens, errors, longest: waited } in self.callers.join_all().await {
            for token in &tokens {
                assert!(self.provider.presented(token) <= 1, "{token} was presented twice");
            }
            count += tokens.len();
            told.extend(errors);
            longest = longest.max(waited);
        }
        assert!(longest < config.wait_timeout + BUSY, "somebody waited {longest:?}");
        println!("{what}: {count} refreshes, {} told to come again, longest {longest:?}", told.len());
        if let (Some(first), Some(last)) = (told.iter().min(), told.iter().max()) {
            println!("{what}: told within {:?}: {} ... {}", last.0 - first.0, first.1, last.1);
        }
        told.len()
    }
}

/// Waits until this server has the subscriptions of all pods, by this command.
async fn are_subscribed(server: &RedisServer, counts: &str, pods: &[RefreshCoordinator]) {
    for pod in pods {
        let channel = format!("rc:{{{}}}:pod:{}", pod.config().namespace, pod.pod());
        server.until_so(&["PUBSUB", counts, &channel], |reply| reply.ends_with("\n1")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_relieve_the_master_by_order_under_load() {
    let group = Group::start(5000 * MS).await;
    let pair = Pair::of_group(&group);
    let pods = pair.pods(3).await;
    let load = Load::start(&pods);
    until("it runs", async || load.provider.total() > 100).await;

    group.sentinels[0].cli(&["SENTINEL", "FAILOVER", Group::MASTER]).await;
    is_promoted(&pair.takes_over).await;
    let promoted = Instant::now();
    are_subscribed(&pair.takes_over, "NUMSUB", &pods).await;
    println!("sentinel, by order: subscribed {:?} after the promotion", promoted.elapsed());
    let before = load.provider.total();
    until("it runs again", async || load.provider.total() > before + 100).await;
    println!("sentinel, by order: new leads {:?} after the promotion", promoted.elapsed());

    load.end("sentinel, by order", &pair.config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_relieves_the_owner_in_a_cluster_by_order_under_load() {
    let config = config();
    let cluster = Cluster::start_for(&config.namespace, 5000 * MS).await;
    let pair = Pair::of_cluster(&cluster, config).await;
    let pods = pair.pods(3).await;
    let load = Load::start(&pods);
    until("it runs", async || load.provider.total() > 100).await;

    pair.takes_over.cli(&["CLUSTER", "FAILOVER"]).await;
    is_promoted(&pair.takes_over).await;
    let promoted = Instant::now();
    are_subscribed(&pair.takes_over, "SHARDNUMSUB", &pods).await;
    println!("cluster, by order: subscribed {:?} after the promotion", promoted.elapsed());
    let before = load.provider.total();
    until("it runs again", async || load.provider.total() > before + 100).await;
    println!("cluster, by order: new leads {:?} after the promotion", promoted.elapsed());

    load.end("cluster, by order", &pair.config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_of_the_namespace_moves_under_load() {
    let config = config();
    let cluster = Cluster::start().await;
    let owner = cluster.owner(&config.namespace).await;
    let other = cluster.masters.iter().find(|node| node.port() != owner.port()).expect("another");
    let pair = Pair { url: cluster.url(), config, decides: owner, takes_over: Arc::clone(other) };
    let pods = pair.pods(3).await;
    let load = Load::start(&pods);
    until("it runs", async || load.provider.total() > 100).await;

    let began = Instant::now();
    cluster.move_slot(&pair.config.namespace, &pair.takes_over).await;
    let moved = Instant::now();
    println!("slot: moved in {:?}", moved - began);
    are_subscribed(&pair.takes_over, "SHARDNUMSUB", &pods).await;
    println!("slot: subscribed {:?} after the move", moved.elapsed());
    let before = load.provider.total();
    until("it runs again", async || load.provider.total() > before + 100).await;
    println!("slot: new leads {:?} after the move", moved.elapsed());

    load.end("slot", &pair.config).await;
}

/// Messages stay at the node that owns the slot: no other node of the cluster hears them. Over a connection that subscribes nothing
/// else is sent: when a slot moves, the server's word would be taken for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_cluster_tell_each_other_at_the_owner_alone() {
    let config = config();
    let cluster = Cluster::start().await;
    let owner = cluster.owner(&config.namespace).await;
    let pair = Pair { url: cluster.url(), config, decides: Arc::clone(&owner), takes_over: Arc::clone(&owner) };
    let pods = pair.pods(2).await;
    are_subscribed(&owner, "SHARDNUMSUB", &pods).await;
    let provider = Provider::held();
    let mut callers = Answers::new();

    comes(&mut callers, &pods[0], &provider, "t");
    provider.asked(1).await;
    comes(&mut callers, &pods[1], &provider, "t");
    until("it is joined", async || pods[1].metrics().joined_fleet == 1).await;
    provider.release(1);
    for (_, _, answer) in callers.join_all().await {
        answer.expect("tokens");
    }

    assert_eq!((pods[1].metrics().pushes, provider.presented("t")), (1, 1));
    let clients = owner.cli(&["CLIENT", "LIST"]).await;
    let last: Vec<_> = clients.lines().filter(|client| client.contains(" ssub=3 ")).collect();
    assert!(last.len() == 2 && last.iter().all(|client| client.contains(" cmd=ssubscribe ")), "{clients}");
    for node in &cluster.masters {
        let stats = node.cli(&["INFO", "commandstats"]).await;
        assert!(!stats.contains("cmdstat_publish:"), "{stats}");
        assert_eq!(stats.contains("cmdstat_evalsha:"), node.port() == owner.port(), "{stats}");
    }
}
