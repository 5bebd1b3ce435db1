//! The circuit of a whole fleet: it opens once for all pods, lets out exactly as many probes as it should, survives
//! the death of a probe, and costs no session while the provider is ill. A pod that cannot reach the provider is
//! alone with that.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_coordinator::{
    Breaker, CircuitState, Config, ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Refreshed, Refusal,
    Role, TripReason,
};
use support::fleet::{Fleet, connect};
use support::monitor::Monitor;
use support::mortal::MortalPod;
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Answered = Result<Refreshed, RefreshError>;

/// Under a pepper all pods know the client by its credential, once it has succeeded.
fn quick() -> Config {
    support::fleet::quick().with_pepper("p".repeat(32))
}

fn refresh(token: &str) -> Refresh {
    Refresh::new(token).client("app", "secret")
}

fn breaker(max_failures: u32, open_ms: u64) -> Breaker {
    Breaker::default()
        .with_max_failures(max_failures)
        .with_open_duration(Duration::from_millis(open_ms))
        .with_half_open_requests(1)
}

fn bad_gateway() -> ProviderFailure {
    ProviderFailure::unknown("status 502")
}

/// Asks with a token that nobody else has, and gets this answer from the provider, if it is asked.
fn ask(
    callers: &mut JoinSet<Answered>,
    pod: &RefreshCoordinator,
    provider: &Provider,
    answer: Result<(), ProviderFailure>,
) {
    let (pod, token) = (pod.clone(), uuid::Uuid::new_v4().to_string());
    let call = provider.answering(&token, move |token| answer.map(|()| rotated(token)));
    callers.spawn(async move { pod.refresh(refresh(&token), call).await });
}

async fn fails(pod: &RefreshCoordinator) {
    let mut callers = JoinSet::new();
    ask(&mut callers, pod, &Provider::open(), Err(bad_gateway()));
    let told = callers.join_all().await.remove(0);
    assert!(matches!(&told, Err(RefreshError::Provider { .. })), "{told:?}");
}

async fn state(pod: &RefreshCoordinator) -> CircuitState {
    pod.circuit_state().await.expect("redis is there")
}

async fn until_half_open(pod: &RefreshCoordinator) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let state = state(pod).await;
        if matches!(state, CircuitState::HalfOpen { .. }) {
            return;
        }
        assert!(Instant::now() < deadline, "the circuit is still {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next that ends, and a failure where none does.
async fn next(callers: &mut JoinSet<Answered>) -> Answered {
    let next = tokio::time::timeout(Duration::from_secs(30), callers.join_next()).await;
    next.expect("one is answered").expect("one is left").expect("no panic")
}

fn refusal(told: &Answered) -> Option<&Refusal> {
    match told {
        Err(RefreshError::Refused(refusal)) => Some(refusal),
        Ok(_) | Err(_) => None,
    }
}

/// How often the circuit was opened, by what the scripts write.
fn openings(monitor: &Monitor, config: &Config) -> usize {
    let written = format!(r#""HSET" "rc:{{{}}}:circuit" "state" "open""#, config.namespace);
    monitor.text().matches(&written).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circuit_opens_once_for_all_pods_and_late_failures_do_not_move_it() {
    let config = quick().with_breaker(breaker(3, 2000));
    let fleet = Fleet::on_redis(8, &config).await;
    let monitor = Monitor::start(fleet.redis()).await;
    let (provider, late) = (Provider::held(), Provider::held());
    let (mut callers, mut late_callers) = (JoinSet::new(), JoinSet::new());
    for pod in &fleet.pods {
        for _ in 0..4 {
            ask(&mut callers, pod, &provider, Err(bad_gateway()));
        }
        ask(&mut late_callers, pod, &late, Err(bad_gateway()));
    }
    provider.asked(32).await;
    late.asked(8).await;

    // All of them fail at once, and are all counted before the first could be a probe.
    provider.release(32);
    let failed = callers.join_all().await;
    let opened = state(&fleet.pods[7]).await;
    let mut refused = JoinSet::new();
    for pod in &fleet.pods {
        ask(&mut refused, pod, &provider, Ok(()));
    }
    let refused = refused.join_all().await;
    until_half_open(&fleet.pods[3]).await;
    let mut probe = JoinSet::new();
    ask(&mut probe, &fleet.pods[5], &Provider::open(), Ok(()));
    let probed = probe.join_all().await.remove(0);
    // These were sent before it opened.
    late.release(8);
    let failed_late = late_callers.join_all().await;

    assert!(failed.iter().chain(&failed_late).all(|told| matches!(told, Err(RefreshError::Provider { .. }))));
    assert!(matches!(opened, CircuitState::Open { reason: TripReason::Failures, .. }), "{opened:?}");
    for told in &refused {
        let Some(Refusal::CircuitOpen { retry_after }) = refusal(told) else { panic!("{told:?}") };
        assert!(*retry_after <= config.breaker.open_duration, "{retry_after:?}");
    }
    assert_eq!(provider.total(), 32, "a circuit that is open lets nobody out");
    assert!(probed.is_ok(), "{probed:?}");
    for pod in &fleet.pods {
        assert_eq!(state(pod).await, CircuitState::Closed { failures: 0 });
    }
    monitor.caught_up(fleet.redis()).await;
    println!("40 failures in 8 pods, {} opening", openings(&monitor, &config));
    assert_eq!(openings(&monitor, &config), 1);
}

/// Opens, waits until it is half-open, lets all pods ask at once, and sees how many reach the provider.
async fn trials(redis: &RedisServer, config: &Config, trials: usize) -> usize {
    let probes = config.breaker.half_open_requests as usize;
    let mut pods = Vec::new();
    for _ in 0..8 {
        pods.push(connect(redis, config).await);
    }
    for trial in 0..trials {
        let opener = &pods[trial % pods.len()];
        fails(opener).await;
        until_half_open(opener).await;
        let (provider, mut callers) = (Provider::held(), JoinSet::new());
        for pod in &pods {
            ask(&mut callers, pod, &provider, Ok(()));
        }

        // The provider answers only when all others have been refused.
        for _ in probes..pods.len() {
            let told = next(&mut callers).await;
            let Some(Refusal::CircuitOpen { retry_after }) = refusal(&told) else { panic!("trial {trial}: {told:?}") };
            assert!(*retry_after <= Duration::from_secs(1), "{retry_after:?}");
        }
        provider.asked(probes).await;
        provider.release(pods.len());
        for _ in 0..probes {
            let told = next(&mut callers).await;
            assert!(told.is_ok(), "trial {trial}: {told:?}");
        }

        assert_eq!(provider.total(), probes, "trial {trial}");
        for pod in &pods {
            assert_eq!(state(pod).await, CircuitState::Closed { failures: 0 }, "trial {trial}");
        }
    }
    trials
}

async fn trials_in_namespaces(namespaces: usize, each: usize, probes: u32) {
    let (redis, start) = (Arc::new(RedisServer::start().await), Instant::now());
    let mut all = JoinSet::new();
    for _ in 0..namespaces {
        let redis = Arc::clone(&redis);
        let config = quick()
            .with_breaker(breaker(1, 10).with_half_open_requests(probes))
            // No probe is to be given up because the machine is busy.
            .with_lease(Duration::from_secs(5))
            .with_store_timeout(Duration::from_secs(5));
        all.spawn(async move { trials(&redis, &config, each).await });
    }
    let done: usize = all.join_all().await.into_iter().sum();
    println!("{done} times exactly {probes} of 8 pods probed, within {:.1?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_probe_leaves_the_fleet_and_closes_the_circuit_for_all() {
    trials_in_namespaces(6, 50, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_two_probes_leave_the_fleet_where_two_may() {
    trials_in_namespaces(4, 15, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_of_a_killed_pod_is_back_within_a_lease() {
    let config = quick().with_breaker(breaker(1, 10));
    let redis = RedisServer::start().await;
    let pods = [connect(&redis, &config).await, connect(&redis, &config).await];
    let killed = MortalPod::connect(redis.url(), &config).await;
    fails(&pods[0]).await;
    until_half_open(&pods[0]).await;
    let (dead, living) = (Provider::held(), Provider::open());
    let call = dead.refresh("t");
    killed.spawn(|pod| async move { pod.refresh(refresh("t"), call).await });
    dead.asked(1).await;

    killed.die();
    let start = Stopwatch::start();
    let circuit = format!("rc:{{{}}}:circuit", config.namespace);
    // As an operator sees it with redis-cli alone: the probe, and when it ends.
    let script = "local now, circuit = redis.call('TIME'), redis.call('HGETALL', KEYS[1])
        for i = 1, #circuit, 2 do
            if string.match(circuit[i], '^probe:') then return string.match(circuit[i + 1], '^%d+') - now[1] * 1000 - math.floor(now[2] / 1000) end
        end";
    let left = redis.cli(&["EVAL", script, "1", &circuit]).await;
    assert!(left.parse::<i64>().expect("a probe is out") <= 3000, "the lease is 3 s, and it lasts for {left} ms");
    let (mut refused, mut callers) = (0, JoinSet::new());
    let took = loop {
        ask(&mut callers, &pods[refused % 2], &living, Ok(()));
        let told = next(&mut callers).await;
        let Some(Refusal::CircuitOpen { retry_after }) = refusal(&told) else {
            assert!(told.is_ok(), "{told:?}");
            break start.elapsed();
        };
        refused += 1;
        tokio::time::sleep(*retry_after).await;
    };

    println!("a killed pod's probe was replaced after {took:.0?}, {refused} refused meanwhile; the lease is 3 s");
    assert!(refused > 0, "it was out");
    assert_eq!((dead.total(), living.total()), (1, 1));
    assert!(took < config.lease + Duration::from_millis(1500), "{took:?}");
    assert_eq!(state(&pods[0]).await, CircuitState::Closed { failures: 0 });
}

/// A provider that rotates, and says at reuse that the grant is over; and that can be ill.
#[derive(Default)]
struct Rotating {
    is_ill: AtomicBool,
    asked_while_ill: AtomicUsize,
    /// How often each session's token was rotated.
    rotated: Mutex<HashMap<usize, usize>>,
}

impl Rotating {
    fn answer(&self, session: usize, token: &str) -> Result<refresh_coordinator::TokenResponse, ProviderFailure> {
        if self.is_ill.load(Ordering::SeqCst) {
            self.asked_while_ill.fetch_add(1, Ordering::SeqCst);
            return Err(bad_gateway());
        }
        let mut rotated = self.rotated.lock().expect("not poisoned");
        let times = rotated.entry(session).or_default();
        if token != format!("{session}.{times}") {
            return Err(ProviderFailure::denied("invalid_grant"));
        }
        *times += 1;
        let body = format!(r#"{{"access_token":"a","refresh_token":"{session}.{times}","expires_in":300}}"#);
        Ok(refresh_coordinator::TokenResponse::from_json(body).expect("a token response"))
    }
}

/// All clocks of the defaults run 600 times as fast; the pause between two probes does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_minutes_of_bad_gateways_cost_no_session() {
    const SESSIONS: usize = 50;
    let ten_minutes = Duration::from_secs(1);
    let defaults = Config::default();
    let config = quick()
        .with_max_refresh_attempts(defaults.max_refresh_attempts)
        .with_refresh_attempt_window(defaults.refresh_attempt_window / 600)
        .with_refresh_cooldown_period(defaults.refresh_cooldown_period / 600)
        .with_max_concurrent_refreshes(defaults.max_concurrent_refreshes)
        .with_keep_failure(Duration::from_millis(1))
        .with_breaker(defaults.breaker.with_open_duration(defaults.breaker.open_duration / 600));
    let fleet = Fleet::on_redis(8, &config).await;
    let provider = Arc::new(Rotating::default());
    provider.is_ill.store(true, Ordering::SeqCst);
    let told: Arc<Mutex<HashMap<&'static str, usize>>> = Arc::default();
    let (mut callers, start) = (JoinSet::new(), Instant::now());
    for session in 0..SESSIONS {
        // Two tabs, that meet another pod with every try.
        for tab in 0..2 {
            let (pods, provider, told) = (fleet.pods.clone(), Arc::clone(&provider), Arc::clone(&told));
            callers.spawn(async move {
                let token = format!("{session}.0");
                for turn in session + 3 * tab.. {
                    let refresh = refresh(token.as_str()).session(format!("session {session}"));
                    let (provider, presented) = (Arc::clone(&provider), token.clone());
                    let call = move |_| async move { provider.answer(session, &presented) };
                    let error = match pods[turn % pods.len()].refresh(refresh, call).await {
                        Ok(refreshed) => return refreshed.tokens().refresh_token().expect("a successor").to_owned(),
                        Err(error) => error,
                    };
                    assert!(!error.is_session_over() && error.is_transient(), "{error:?}");
                    let what = match &error {
                        RefreshError::Provider { .. } => "bad gateway",
                        RefreshError::Refused(Refusal::CircuitOpen { .. }) => "circuit open",
                        RefreshError::Refused(Refusal::CoolingDown { .. }) => "cooling down",
                        _ => "other",
                    };
                    *told.lock().expect("not poisoned").entry(what).or_default() += 1;
                    // An honest client waits as long as it is told, and a moment when nobody tells it.
                    tokio::time::sleep(error.retry_after().unwrap_or(config.breaker.open_duration)).await;
                }
                unreachable!("BUG: it tries until it has tokens")
            });
        }
    }

    fleet.redis().wait(ten_minutes).await;
    let rotated_while_ill = provider.rotated.lock().expect("not poisoned").len();
    provider.is_ill.store(false, Ordering::SeqCst);
    let (healthy, ill_for) = (Stopwatch::start(), start.elapsed());
    let successors = tokio::time::timeout(Duration::from_secs(30), callers.join_all()).await.expect("all recover");
    let recovered = healthy.elapsed();

    let asked = provider.asked_while_ill.load(Ordering::SeqCst);
    println!(
        "{SESSIONS} sessions with two tabs through ten minutes of 502 (600 times as fast): the provider was asked \
         {asked} times meanwhile, all recovered within {recovered:.1?} of its health; told {:?}",
        told.lock().expect("not poisoned")
    );
    assert_eq!(rotated_while_ill, 0);
    let rotated = provider.rotated.lock().expect("not poisoned");
    assert_eq!(rotated.len(), SESSIONS);
    assert!(rotated.values().all(|times| *times == 1), "once each: {rotated:?}");
    for (place, successor) in successors.iter().enumerate() {
        assert!(successor.ends_with(".1"), "caller {place} has {successor}");
    }
    // The leaders that were out when it opened, and a probe for each time it was open.
    let most = 10 + ill_for.div_duration_f64(config.breaker.open_duration).ceil() as usize;
    assert!((3..=most).contains(&asked), "asked {asked} times, not 3 to {most}");
    assert!(recovered < Duration::from_secs(10), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_that_cannot_reach_the_provider_stops_nobody_else_and_only_joins() {
    let config = quick().with_breaker(breaker(3, 1500)).with_max_refresh_attempts(1);
    let fleet = Fleet::on_redis(4, &config).await;
    let (broken, others) = fleet.pods.split_first().expect("four pods");
    let no_dns = Provider::open();
    let not_sent = || Err(ProviderFailure::not_sent("failed to lookup address information"));
    let (mut told, start) = (Vec::new(), Instant::now());
    for _ in 0..5 {
        let mut callers = JoinSet::new();
        ask(&mut callers, broken, &no_dns, not_sent());
        told.extend(callers.join_all().await);
    }

    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for pod in others {
        for _ in 0..10 {
            ask(&mut callers, pod, &provider, Ok(()));
        }
    }
    // What another pod leads, the broken one joins.
    let (leader, call) = (others[0].clone(), provider.refresh("shared"));
    callers.spawn(async move { leader.refresh(refresh("shared"), call).await });
    provider.asked(31).await;
    let (joiner, call) = (broken.clone(), no_dns.answering("shared", move |_| not_sent().map(|()| unreachable!())));
    let joined = tokio::spawn(async move { joiner.refresh(refresh("shared"), call).await });
    until("the broken pod joins", async || broken.metrics().joined_fleet == 1).await;
    provider.release(31);
    let answers = callers.join_all().await;
    let joined = joined.await.expect("no panic").expect("tokens");

    let failures = told
        .iter()
        .filter(|told| matches!(told, Err(RefreshError::Provider { failure, .. }) if failure.is_transient()));
    assert_eq!(failures.count(), 3);
    for told in &told[3..] {
        let Some(Refusal::NotReaching { retry_after }) = refusal(told) else { panic!("{told:?}") };
        assert!(*retry_after <= config.breaker.open_duration, "{retry_after:?}");
    }
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(joined.role(), Role::JoinedFleet);
    assert_eq!(state(broken).await, CircuitState::Closed { failures: 0 });
    assert_eq!(no_dns.total(), 3);
    // It tries again by itself.
    let back = until_it_leads(broken).await.duration_since(start);
    println!("a pod without DNS failed 3 times and led nothing for {back:.1?}; 31 flights of others passed meanwhile");
    assert!(back >= config.breaker.open_duration, "{back:?}");
}

/// Asks when it is told to.
async fn until_it_leads(pod: &RefreshCoordinator) -> Instant {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "it never leads again");
        let mut callers = JoinSet::new();
        ask(&mut callers, pod, &Provider::open(), Ok(()));
        let told = callers.join_all().await.remove(0);
        match refusal(&told) {
            Some(refusal) => tokio::time::sleep(refusal.retry_after()).await,
            None => {
                assert!(told.is_ok(), "{told:?}");
                return Instant::now();
            }
        }
    }
}
