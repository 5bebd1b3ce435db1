//! Promise 3, for a whole fleet: thousands queue for the budget in the order they came, told and not asking, and what
//! a killed pod held is free again within a lease.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{Attempt, Config, Refresh, RefreshCoordinator, RefreshError};
use sha2::{Digest, Sha256};
use support::fleet::{connect, quick};
use support::mortal::MortalPod;
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

fn key(config: &Config, name: &str) -> String {
    format!("rc:{{{}}}:{name}", config.namespace)
}

/// A provider that notes in which order it was asked, and by how many at once.
#[derive(Clone)]
struct Counter {
    provider: Provider,
    order: Arc<Mutex<Vec<usize>>>,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Counter {
    fn held() -> Self {
        let (inside, most) = (Arc::default(), Arc::default());
        Self { provider: Provider::held(), order: Arc::default(), inside, most }
    }

    async fn refresh(&self, pod: &RefreshCoordinator, index: usize) -> Result<(), RefreshError> {
        let (counter, call) = (self.clone(), self.provider.refresh(&token(index)));
        let call = move |attempt: Attempt| async move {
            counter.order.lock().expect("not poisoned").push(index);
            counter.most.fetch_max(counter.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let answer = call(attempt).await;
            counter.inside.fetch_sub(1, Ordering::SeqCst);
            answer
        };
        pod.refresh(Refresh::new(token(index)), call).await.map(drop)
    }
}

fn token(index: usize) -> String {
    format!("t{index}")
}

/// Of a client that has succeeded, once its first refresh has.
fn known_caller(token: String) -> Refresh {
    Refresh::new(token).client("app", "a secret of the app's")
}

/// The flights that wait in the queue, and since when by Redis' clock, in microseconds.
async fn queue(redis: &RedisServer, config: &Config) -> Vec<(String, u64)> {
    let lines_in_turn = "local all = {} for _, client in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do for _, word in \
                         ipairs(redis.call('ZRANGE', KEYS[1] .. ':' .. client, 0, -1, 'WITHSCORES')) do all[#all + 1] = word \
                         end end return all";
    let text = redis.cli(&["EVAL", lines_in_turn, "1", &key(config, "queue")]).await;
    let lines: Vec<&str> = text.lines().collect();
    let places = lines.chunks_exact(2).map(|place| {
        let flight = place[0].rsplit(' ').next().expect("a flight").to_owned();
        (flight, place[1].parse::<f64>().expect("a time") as u64)
    });
    places.collect()
}

/// Flights that have queued, whether they still do or not.
fn has_queued(pods: &[RefreshCoordinator]) -> usize {
    pods.iter().map(|pod| pod.metrics().queued as usize).sum()
}

/// How often clients have sent a script.
async fn scripts_sent(redis: &RedisServer) -> usize {
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let of = |command: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")))?;
        line.split(',').next()?.parse::<usize>().ok()
    };
    of("evalsha").unwrap_or_default() + of("eval").unwrap_or_default()
}

/// The most flights that came earlier and were not there yet when one of these arrived.
fn most_overtaken(ranks: impl Iterator<Item = usize>, all: usize) -> usize {
    let (mut is_there, mut first_missing, mut most) = (vec![false; all], 0, 0);
    for rank in ranks {
        is_there[rank] = true;
        while first_missing < all && is_there[first_missing] {
            first_missing += 1;
        }
        most = most.max((first_missing..rank).filter(|earlier| !is_there[*earlier]).count());
    }
    most
}

/// The judge of the order is the queue's own stamps. A permit that comes free is reserved for the first of the queue,
/// so a leader that arrives at the provider can have overtaken only leaders that have a permit, too, and are still on
/// their way: they hold all other permits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_are_served_in_the_order_they_came_and_nobody_polls() {
    const PERMITS: usize = 10;
    const BEFORE: usize = 8_000;
    const ALL: usize = 10_000;
    let patience = Duration::from_secs(80);
    let config = quick()
        .with_max_concurrent_refreshes(PERMITS as u32)
        .with_budget_wait(Some(patience))
        .with_refresh_timeout(patience)
        .with_wait_timeout(patience)
        // All of them ask redis within the same second.
        .with_store_timeout(Duration::from_secs(20))
        .with_lease(Duration::from_secs(20));
    // Of the test's own: its commands are counted.
    let redis = RedisServer::start_own(&[]).await;
    let mut pods = Vec::new();
    for _ in 0..8 {
        pods.push(connect(&redis, &config).await);
    }
    let counter = Counter::held();
    let (sent_before, start) = (scripts_sent(&redis).await, Instant::now());
    let mut callers = JoinSet::new();
    let mut come = |indices: std::ops::Range<usize>| {
        for index in indices {
            let (counter, pod) = (counter.clone(), pods[index % pods.len()].clone());
            callers.spawn(async move { counter.refresh(&pod, index).await });
        }
    };

    come(0..BEFORE);
    counter.provider.asked(PERMITS).await;
    until("all but the first queue", async || has_queued(&pods) == BEFORE - PERMITS).await;
    let mut came: HashMap<String, u64> = queue(&redis, &config).await.into_iter().collect();
    let queued = start.elapsed();
    // The rest comes while permits change hands.
    let served = BEFORE / 8;
    counter.provider.release(served);
    come(BEFORE..ALL);
    counter.provider.asked(PERMITS + served).await;
    until("the others queue", async || has_queued(&pods) == ALL - PERMITS).await;
    came.extend(queue(&redis, &config).await);
    counter.provider.release(ALL);
    let answers = callers.join_all().await;
    let (took, sent) = (start.elapsed(), scripts_sent(&redis).await - sent_before);

    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused[0]);
    assert_eq!(counter.provider.total(), ALL);
    assert_eq!(counter.most.load(Ordering::SeqCst), PERMITS);
    assert_eq!(came.len(), ALL - PERMITS, "all but the first have queued");
    let mut by_time: Vec<(u64, &String)> = came.iter().map(|(flight, at)| (*at, flight)).collect();
    by_time.sort();
    let ranks: HashMap<&String, usize> =
        by_time.iter().enumerate().map(|(rank, (_, flight))| (*flight, rank)).collect();
    let order = counter.order.lock().expect("not poisoned").clone();
    let flights = order[PERMITS..].iter().map(|index| hash(&token(*index)));
    let overtaken = most_overtaken(flights.map(|flight| ranks[&flight]), ranks.len());
    println!(
        "{ALL} refreshes through {PERMITS} permits from {} pods in {took:.1?} ({BEFORE} queued within {queued:.1?}); \
         {sent} scripts sent, {:.3} a refresh; at most {overtaken} were overtaken on the way to the provider",
        pods.len(),
        sent as f64 / ALL as f64
    );
    assert!(overtaken < PERMITS, "{overtaken} were overtaken");
    // Queue, lead, complete; the first ones do not queue. The rest is for pods that look whether permits have ended.
    assert!((3 * ALL - PERMITS..3 * ALL + ALL / 100).contains(&sent), "{sent} scripts were sent");
}

/// The judge is what redis is sent while nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_costs_a_look_of_each_pod_now_and_then_however_many_wait() {
    const PERMITS: usize = 2;
    const ALL: usize = 400;
    let config = quick()
        .with_max_concurrent_refreshes(PERMITS as u32)
        .with_budget_wait(Some(Duration::from_secs(30)))
        .with_wait_timeout(Duration::from_secs(30))
        .with_refresh_timeout(Duration::from_secs(30));
    let redis = RedisServer::start_own(&[]).await;
    let mut pods = Vec::new();
    for _ in 0..4 {
        pods.push(connect(&redis, &config).await);
    }
    let (counter, mut callers) = (Counter::held(), JoinSet::new());
    for index in 0..ALL {
        let (counter, pod) = (counter.clone(), pods[index % pods.len()].clone());
        callers.spawn(async move { counter.refresh(&pod, index).await });
    }
    until("all but the first queue", async || has_queued(&pods) == ALL - PERMITS).await;

    let before = scripts_sent(&redis).await;
    redis.wait(2 * config.lease).await;
    let sent = scripts_sent(&redis).await - before;
    counter.provider.release(ALL);

    assert!(callers.join_all().await.iter().all(Result::is_ok));
    println!("{ALL} flights in {} pods queued for 2 leases: {sent} scripts sent", pods.len());
    // Two leaders renew three times per lease; the pods look when the first permit should have ended, which is later by
    // a renewal each time, or a flight with a reserved permit should have come.
    assert!((2 * PERMITS..=60).contains(&sent), "{sent} scripts were sent");
}

fn hash(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_of_a_killed_pod_are_back_within_a_lease_though_nobody_asks() {
    let config = quick().with_max_concurrent_refreshes(3).with_budget_wait(Some(Duration::from_secs(5)));
    let redis = RedisServer::start().await;
    let pod = MortalPod::connect(redis.url(), &config).await;
    let counter = Counter::held();
    for index in 0..5 {
        let counter = counter.clone();
        pod.spawn(|pod| async move { counter.refresh(&pod, index).await });
    }
    counter.provider.asked(3).await;
    let (permits, budget) = (key(&config, "permits"), key(&config, "budget"));
    redis.until_queued(&key(&config, "queue"), 2).await;

    pod.die();
    let killed = Instant::now();

    // What stands then, and for how long, is redis' own word; nobody is there to change it.
    let script = "return {redis.call('GET', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('PTTL', KEYS[1]), \
                  redis.call('PTTL', KEYS[2])}";
    let stands = redis.cli(&["EVAL", script, "2", &budget, &permits]).await;
    let stands: Vec<i64> = stands.lines().map(|word| word.parse().expect("a number")).collect();
    let [in_use, members, left, members_left] = stands[..] else { panic!("{stands:?}") };
    assert_eq!((in_use, members), (3, 3));
    assert_eq!(left, members_left, "the two end together");
    assert!(left <= 3000, "the lease is 3 s, and they last for {left} ms");
    redis.until(&["EXISTS", &budget, &permits], "0").await;
    println!("3 permits of a killed pod were free after {:.0?}; the lease is 3 s", killed.elapsed());
    // Nor does its place in the queue stay.
    redis.until(&["EXISTS", &key(&config, "queue")], "0").await;
    assert_eq!(counter.provider.total(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_of_a_killed_pod_go_to_those_who_queue_in_others_and_not_to_newcomers() {
    let config = quick().with_max_concurrent_refreshes(3).with_budget_wait(Some(Duration::from_secs(8)));
    let redis = RedisServer::start().await;
    let killed = MortalPod::connect(redis.url(), &config).await;
    let (dead, living) = (Counter::held(), Counter::held());
    for index in 0..3 {
        let counter = dead.clone();
        killed.spawn(|pod| async move { counter.refresh(&pod, index).await });
    }
    dead.provider.asked(3).await;
    let mut callers = JoinSet::new();
    let mut others = Vec::new();
    for index in 3..9 {
        let (counter, pod) = (living.clone(), connect(&redis, &config).await);
        others.push(pod.clone());
        callers.spawn(async move { counter.refresh(&pod, index).await });
    }
    redis.until_queued(&key(&config, "queue"), 6).await;

    killed.die();
    let start = Stopwatch::start();
    // Newcomers, all the time: one of them is the first to come when the permits end.
    let mut newcomer = 9;
    while living.provider.total() < 3 {
        assert!(start.elapsed() < Duration::from_secs(30), "the permits do not come back");
        let (counter, pod) = (living.clone(), others[newcomer % others.len()].clone());
        callers.spawn(async move { counter.refresh(&pod, newcomer).await });
        newcomer += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = start.elapsed();
    let first = living.order.lock().expect("not poisoned").clone();
    living.provider.release(newcomer);

    assert!(callers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(living.most.load(Ordering::SeqCst), 3);
    println!(
        "flights that queue had the permits of a killed pod after {took:.0?}, before {} newcomers; the lease is 3 s",
        newcomer - 9
    );
    assert!(first.iter().all(|index| (3..9).contains(index)), "{first:?} were first");
    assert!(took < config.lease + Duration::from_millis(1500), "{took:?}");
}

/// Looks at counter and permits in one step, every millisecond.
struct Observer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Observed>,
}

#[derive(Debug, Default)]
struct Observed {
    looks: usize,
    most: usize,
    /// The longest time between two looks.
    blind: Duration,
    unequal: Vec<String>,
}

impl Observer {
    async fn start(redis: &Arc<RedisServer>, config: &Config) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (redis, stopped) = (Arc::clone(redis), Arc::clone(&stop));
        let (permits, budget) = (key(config, "permits"), key(config, "budget"));
        let task = tokio::spawn(async move {
            let script = "return {redis.call('GET', KEYS[1]) or '0', redis.call('ZCARD', KEYS[2])}";
            let (mut observed, mut looked) = (Observed::default(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let both = redis.cli(&["EVAL", script, "2", &budget, &permits]).await;
                let (counter, members) = both.split_once('\n').expect("two numbers");
                if counter != members {
                    observed.unequal.push(format!("counter {counter}, permits {members}"));
                }
                observed.looks += 1;
                observed.blind = observed.blind.max(looked.elapsed());
                looked = Instant::now();
                observed.most = observed.most.max(members.parse().expect("a number"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            observed
        });
        Self { stop, task }
    }

    async fn saw(self) -> Observed {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("it looks to the end")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counter_and_permits_are_equal_at_every_moment_of_a_storm_with_kills() {
    const KILLS: usize = 25;
    let config = quick()
        .with_max_concurrent_refreshes(6)
        .with_lease(Duration::from_secs(1))
        .with_store_timeout(Duration::from_secs(1));
    let redis = Arc::new(RedisServer::start().await);
    let next = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let pod = async || {
        let pod = MortalPod::connect(redis.url(), &config).await;
        for _ in 0..10 {
            let (next, asked) = (Arc::clone(&next), Arc::clone(&asked));
            pod.spawn(|pod| async move {
                loop {
                    let token = token(next.fetch_add(1, Ordering::Relaxed));
                    let (asked, presented) = (Arc::clone(&asked), token.clone());
                    let call = move |_| async move {
                        asked.fetch_add(1, Ordering::Relaxed);
                        // So that every kill finds some of them in the middle.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        Ok(rotated(&presented))
                    };
                    // Whatever comes of it, when the pod next to it dies.
                    _ = pod.refresh(known_caller(token), call).await;
                }
            });
        }
        pod
    };
    // Of strangers, a quarter of the permits would be kept from all.
    let first = connect(&redis, &config).await;
    first.refresh(known_caller(token(usize::MAX)), async |_| Ok(rotated("first"))).await.expect("tokens");
    let mut pods = Vec::new();
    for _ in 0..4 {
        pods.push(pod().await);
    }
    let observer = Observer::start(&redis, &config).await;
    let start = Instant::now();

    for kill in 0..KILLS {
        let so_far = asked.load(Ordering::Relaxed);
        until("the storm goes on", async || asked.load(Ordering::Relaxed) >= so_far + 60).await;
        let fresh = pod().await;
        std::mem::replace(&mut pods[kill % 4], fresh).die();
    }
    let lasted = start.elapsed();
    pods.into_iter().for_each(MortalPod::die);
    let end = Stopwatch::start();
    redis.until(&["EXISTS", &key(&config, "budget"), &key(&config, "permits")], "0").await;
    let rest = end.elapsed();
    let observed = observer.saw().await;

    println!(
        "{KILLS} pods killed and {} refreshes begun within {lasted:.1?}: looked {} times, up to {} permits out; free \
         {rest:.0?} after the last kill, the lease is 1 s",
        asked.load(Ordering::Relaxed),
        observed.looks,
        observed.most
    );
    assert!(observed.unequal.is_empty(), "unequal {} times: {:?}", observed.unequal.len(), observed.unequal);
    assert!(observed.most >= 6, "the storm is one");
    // A leader that cannot renew in time, because everything stands still, has lost its permit to another, and has it again when
    // it goes on.
    assert!(observed.most == 6 || observed.blind > config.lease / 3, "{observed:?}");
    assert!(observed.looks > 500, "looked {} times only", observed.looks);
    assert!(rest < Duration::from_secs(1 + 1), "{rest:?}");
}
