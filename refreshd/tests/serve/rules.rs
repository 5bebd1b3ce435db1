//! The rules of admission over several daemons that share nothing but a real Redis: attempts of a session, the budget,
//! the circuit, what the provider asks for by Retry-After, and a daemon that is killed while it holds permits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Answer, Gate, Provider, Seen, json};
use crate::redis::RedisServer;
use crate::stopwatch::Stopwatch;
use crate::within;

/// Longer than a busy machine stands still, so that a refusal is by a rule and no outage.
pub(super) const PATIENT: &str = "--store-timeout=5s";

/// Three daemons in front of one provider, in a namespace of their own.
struct Fleet {
    redis: RedisServer,
    namespace: String,
    daemons: Vec<Daemon>,
    client: reqwest::Client,
}

/// What a caller was told.
#[derive(Clone, Debug)]
struct Told {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

impl Fleet {
    async fn start(provider: &Provider, more: &[&str]) -> Self {
        let redis = RedisServer::start().await;
        let namespace = format!("rules-{}", uuid::Uuid::new_v4().simple());
        redis.in_use(&namespace).await;
        let common = ["--redis", redis.url(), "--namespace", &namespace, "--session-header", "x-session"];
        let arguments = [&common, more].concat();
        let mut daemons = Vec::new();
        for _ in 0..3 {
            daemons.push(Daemon::start(provider, &arguments).await);
        }
        Self { redis, namespace, daemons, client: client() }
    }

    fn key(&self, name: &str) -> String {
        format!("rc:{{{}}}:{name}", self.namespace)
    }

    /// One call of a session, with a token that nobody else has, to one of the daemons.
    fn call(&self, daemon: usize, session: &str) -> impl Future<Output = Told> + Send + use<> {
        self.present(daemon, session, &uuid::Uuid::new_v4().to_string())
    }

    fn present(&self, daemon: usize, session: &str, token: &str) -> impl Future<Output = Told> + Send + use<> {
        let request = self.client.post(self.daemons[daemon % 3].url("/token")).header("content-type", FORM);
        // A client with a credential: known with every token once it has succeeded.
        let request = request.header("x-session", session).basic_auth("app", Some("pw")).body(refresh(token));
        async move {
            let answer = within(request.send()).await.expect("an answer");
            let retry_after = answer
                .headers()
                .get("retry-after")
                .map(|seconds| Duration::from_secs(seconds.to_str().expect("ASCII").parse().expect("seconds")));
            Told { status: answer.status().as_u16(), retry_after, body: within(answer.text()).await.expect("text") }
        }
    }
}

impl Told {
    /// Refused by us, and told when to come again. Clients drop their session on 400 and 401.
    #[track_caller]
    fn is_refused(&self, status: u16, setting: &str, longest: Duration) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.starts_with(r#"{"error":"temporarily_unavailable""#), "{self:?}");
        assert!(self.body.contains(setting), "{self:?}");
        let retry_after = self.retry_after.expect("Retry-After");
        assert!((Duration::from_secs(1)..=longest).contains(&retry_after), "{self:?}");
    }
}

fn tokens() -> Answer {
    json(200, r#"{"access_token":"a2","token_type":"Bearer","expires_in":300,"refresh_token":"r2"}"#)
}

fn with_retry_after(status: u16, seconds: u64) -> Answer {
    let answer = http::Response::builder().status(status).header("retry-after", seconds);
    Some(answer.body(b"of the provider".to_vec()).expect("a response"))
}

/// Splits by status: with tokens, and the others.
fn with_tokens(told: Vec<Told>) -> (Vec<Told>, Vec<Told>) {
    told.into_iter().partition(|told| told.status == 200)
}

#[tokio::test]
async fn session_leads_exactly_its_attempts_however_its_calls_are_spread() {
    let provider = Provider::start(async |_| tokens()).await;
    let cooldown = Duration::from_secs(3);
    let fleet = Fleet::start(&provider, &["--refresh-cooldown-period", "3s", PATIENT]).await;
    for round in 1..=2 {
        let before = provider.seen().len();
        let mut callers = JoinSet::new();
        for call in 0..60 {
            callers.spawn(fleet.call(call, "s3ss10n"));
        }
        let (served, refused) = with_tokens(callers.join_all().await);

        // Five is the default, and after the cooldown the count begins anew.
        assert_eq!((served.len(), refused.len(), provider.seen().len() - before), (5, 55, 5), "round {round}");
        for told in &refused {
            told.is_refused(429, "(setting max_refresh_attempts)", cooldown);
        }
        let another = fleet.call(round, &format!("another {round}")).await;
        assert_eq!(another.status, 200, "nobody else is held: {another:?}");
        println!("60 calls of one session over 3 daemons: {} led, {} refused", served.len(), refused.len());
        let longest = refused.iter().filter_map(|told| told.retry_after).max();
        tokio::time::sleep(longest.expect("it is told")).await;
    }
}

#[tokio::test]
async fn session_that_keeps_to_its_window_is_never_refused() {
    let provider = Provider::start(async |_| tokens()).await;
    let fleet = Fleet::start(&provider, &["--refresh-attempt-window", "2s", PATIENT]).await;
    for window in 0..2 {
        let callers: JoinSet<_> = (0..5).map(|call| fleet.call(window + call, "s3ss10n")).collect();
        let (served, refused) = with_tokens(callers.join_all().await);

        assert_eq!(served.len(), 5, "{refused:?}");
        let attempts = fleet.redis.keys(&fleet.key("attempts:*")).await;
        let [attempts] = &attempts[..] else { panic!("{attempts:?}") };
        fleet.redis.until(&["EXISTS", attempts], "0").await;
    }
}

/// How many requests a provider answers at once.
#[derive(Clone, Default)]
struct Inside {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Inside {
    async fn count<T>(&self, answer: impl Future<Output = T>) -> T {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let answer = answer.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn provider_is_asked_by_all_daemons_together_no_more_than_the_budget_at_once() {
    let (gate, inside) = (Gate::closed(), Inside::default());
    let provider = {
        let (gate, inside) = (gate.clone(), inside.clone());
        Provider::start(move |_| {
            let (gate, inside) = (gate.clone(), inside.clone());
            async move {
                inside
                    .count(async {
                        gate.passed().await;
                        // So that the next ones arrive while the others are inside.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        tokens()
                    })
                    .await
            }
        })
        .await
    };
    let fleet = Fleet::start(&provider, &["--budget-wait", "20s", PATIENT]).await;
    let callers: JoinSet<_> = (0..200).map(|call| fleet.call(call, &format!("session {call}"))).collect();
    // Ten is the default.
    provider.asked(10).await;
    fleet.redis.until_queued(&fleet.key("queue"), 190).await;
    let stands = (fleet.redis.cli(&["GET", &fleet.key("budget")]).await, provider.seen().len(), inside.most());

    gate.open();
    let (served, refused) = with_tokens(callers.join_all().await);

    assert_eq!(stands, ("10".to_owned(), 10, 10));
    assert_eq!(served.len(), 200, "{refused:?}");
    assert_eq!((inside.most(), provider.seen().len()), (10, 200));
    fleet.redis.until(&["EXISTS", &fleet.key("budget"), &fleet.key("permits"), &fleet.key("queue")], "0").await;
    println!("200 refreshes over 3 daemons: up to {} at once at the provider", inside.most());
}

#[tokio::test]
async fn budget_that_is_not_waited_for_refuses_with_its_name() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, tokens()).await;
    let fleet = Fleet::start(&provider, &["--max-concurrent-refreshes", "2", "--budget-wait", "0s", PATIENT]).await;
    let first: JoinSet<_> = (0..2).map(|call| fleet.call(call, &format!("session {call}"))).collect();
    provider.asked(2).await;

    for daemon in 0..3 {
        let told = fleet.call(daemon, "one too many").await;
        told.is_refused(429, "(setting max_concurrent_refreshes)", Duration::from_secs(1));
    }
    gate.open();

    assert_eq!(with_tokens(first.join_all().await).0.len(), 2);
    assert_eq!(fleet.call(2, "one too many").await.status, 200, "and was not charged");
    assert_eq!(provider.seen().len(), 3);
}

/// A provider that never answers the first three.
async fn deaf_to_three() -> Provider {
    let times = Arc::new(AtomicUsize::new(0));
    Provider::start(move |_| {
        let times = Arc::clone(&times);
        async move {
            if times.fetch_add(1, Ordering::SeqCst) < 3 {
                std::future::pending::<()>().await;
            }
            tokens()
        }
    })
    .await
}

/// Three daemons, of which the first holds all permits.
async fn full(provider: &Provider) -> Fleet {
    let fleet = Fleet::start(provider, &["--max-concurrent-refreshes", "3", "--lease", "1s"]).await;
    for call in 0..3 {
        // Their daemon will die: nobody is answered.
        let request = fleet.client.post(fleet.daemons[0].url("/token")).header("content-type", FORM);
        let request = request.body(refresh(&format!("dying{call}")));
        tokio::spawn(async move { drop(request.send().await) });
    }
    provider.asked(3).await;
    fleet
}

#[tokio::test]
async fn permits_of_a_killed_daemon_are_back_within_a_lease_though_nobody_calls() {
    let provider = deaf_to_three().await;
    let fleet = full(&provider).await;
    fleet.daemons[0].signal(Signal::SIGKILL);
    let killed = Instant::now();

    // As an operator sees it with redis-cli alone.
    let (budget, permits) = (fleet.key("budget"), fleet.key("permits"));
    let script = "return {redis.call('GET', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('PTTL', KEYS[1]), \
                  redis.call('PTTL', KEYS[2])}";
    let stands = fleet.redis.cli(&["EVAL", script, "2", &budget, &permits]).await;
    fleet.redis.until(&["EXISTS", &budget, &permits], "0").await;
    let took = killed.elapsed();

    let stands: Vec<i64> = stands.lines().map(|word| word.parse().expect("a number")).collect();
    assert_eq!(stands[..2], [3, 3]);
    assert!(stands[2] == stands[3] && stands[2] <= 1000, "the lease is 1 s: {stands:?}");
    println!("3 permits of a killed daemon were free after {took:.0?}; the lease is 1 s");
}

#[tokio::test]
async fn permits_of_a_killed_daemon_go_to_those_who_queue_at_others() {
    let provider = deaf_to_three().await;
    let fleet = full(&provider).await;
    let callers: JoinSet<_> = (0..6).map(|call| fleet.call(1 + call % 2, &format!("session {call}"))).collect();
    fleet.redis.until_queued(&fleet.key("queue"), 6).await;

    fleet.daemons[0].signal(Signal::SIGKILL);
    let killed = Stopwatch::start();
    let (served, refused) = with_tokens(callers.join_all().await);
    let took = killed.elapsed();

    assert_eq!(served.len(), 6, "{refused:?}");
    assert_eq!(provider.seen().len(), 9);
    println!(
        "6 that queued were served {took:.0?} after the daemon that held all permits was killed; the lease is 1 s"
    );
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

/// Looks at counter and permits in one step, every millisecond.
struct Observer {
    stop: Arc<AtomicBool>,
    /// How often it looked, the most permits it saw, and what was wrong.
    task: tokio::task::JoinHandle<(usize, usize, Vec<String>)>,
}

impl Observer {
    fn start(fleet: &Arc<Fleet>) -> Self {
        let (fleet, stop) = (Arc::clone(fleet), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (budget, permits) = (fleet.key("budget"), fleet.key("permits"));
            let script = "return {redis.call('GET', KEYS[1]) or '0', redis.call('ZCARD', KEYS[2])}";
            let (mut looks, mut most, mut unequal) = (0, 0, Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let both = fleet.redis.cli(&["EVAL", script, "2", &budget, &permits]).await;
                let (counter, members) = both.split_once('\n').expect("two numbers");
                if counter != members {
                    unequal.push(format!("counter {counter}, permits {members}"));
                }
                looks += 1;
                most = most.max(members.parse().expect("a number"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (looks, most, unequal)
        });
        Self { stop, task }
    }

    async fn saw(self) -> (usize, usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("it looks to the end")
    }
}

/// A leader that is stopped past its lease has lost its permit, and has it again when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counter_and_permits_are_equal_while_daemons_are_stopped_continued_and_killed() {
    let provider = Provider::start(async |_| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        tokens()
    })
    .await;
    let limits = ["--lease", "300ms", "--store-timeout", "300ms", "--max-concurrent-refreshes", "6"];
    let fleet = Arc::new(Fleet::start(&provider, &limits).await);
    let (is_over, mut callers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for caller in 0..30 {
        let (fleet, is_over) = (Arc::clone(&fleet), Arc::clone(&is_over));
        callers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let token = uuid::Uuid::new_v4().to_string();
                let request = fleet.client.post(fleet.daemons[caller % 3].url("/token")).header("content-type", FORM);
                // Whatever comes of it, when the daemon is stopped or killed.
                let sent = request.body(refresh(&token)).send();
                if !matches!(tokio::time::timeout(Duration::from_secs(1), sent).await, Ok(Ok(_))) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    let observer = Observer::start(&fleet);

    for round in 0..4 {
        let so_far = provider.seen().len();
        provider.asked(so_far + 50).await;
        fleet.daemons[round % 2].signal(Signal::SIGSTOP);
        fleet.redis.wait(Duration::from_millis(600)).await;
        fleet.daemons[round % 2].signal(Signal::SIGCONT);
    }
    let so_far = provider.seen().len();
    provider.asked(so_far + 50).await;
    is_over.store(true, Ordering::SeqCst);
    for daemon in &fleet.daemons {
        daemon.signal(Signal::SIGKILL);
    }
    let killed = Stopwatch::start();
    fleet.redis.until(&["EXISTS", &fleet.key("budget"), &fleet.key("permits")], "0").await;
    let rest = killed.elapsed();
    let (looks, most, unequal) = observer.saw().await;
    callers.join_all().await;

    println!(
        "{} refreshes while 2 of 3 daemons were stopped twice and all were killed: looked {looks} times, up to {most} \
         permits out; free {rest:.0?} after the kill, the lease is 300 ms",
        provider.seen().len()
    );
    assert!(unequal.is_empty(), "unequal {} times: {unequal:?}", unequal.len());
    assert!(looks > 300, "looked {looks} times only");
    assert!(most >= 6, "the storm is one");
    assert!(rest < Duration::from_millis(300 + 1000), "{rest:?}");
}

/// The refresh token of a request.
fn presented(seen: &Seen) -> &str {
    seen.body.rsplit_once("refresh_token=").expect("a refresh").1
}

/// A provider that is busy for tokens of this name, holds tokens named `probe` until the gate opens, and has tokens for
/// all others.
async fn busy_provider(gate: &Gate, busy: fn() -> Answer) -> Provider {
    let gate = gate.clone();
    Provider::start(move |seen| {
        let gate = gate.clone();
        async move {
            match presented(&seen) {
                token if token.starts_with("busy") => busy(),
                token => {
                    if token.starts_with("probe") {
                        gate.passed().await;
                    }
                    tokens()
                }
            }
        }
    })
    .await
}

/// All are held; when it is over, exactly one goes first, and then all may.
async fn is_held_then_probed(fleet: &Fleet, provider: &Provider, gate: &Gate) {
    let before = provider.seen().len();
    let held: JoinSet<_> = (0..9).map(|call| fleet.call(call, &format!("held {call}"))).collect();
    let held = held.join_all().await;
    for told in &held {
        told.is_refused(503, "(setting breaker)", Duration::from_secs(3));
    }
    assert_eq!(provider.seen().len(), before, "nobody asks meanwhile");
    let longest = held.iter().filter_map(|told| told.retry_after).max();
    tokio::time::sleep(longest.expect("it is told")).await;

    let ask = |call: usize| fleet.present(call, &format!("session {call}"), &format!("probe{call}"));
    let mut callers: JoinSet<_> = (0..9).map(ask).collect();
    for _ in 0..8 {
        let told = within(callers.join_next()).await.expect("one is left").expect("no panic");
        told.is_refused(503, "(setting breaker)", Duration::from_secs(1));
    }
    provider.asked(before + 1).await;
    gate.open();
    let probe = within(callers.join_next()).await.expect("one is left").expect("no panic");
    assert_eq!((probe.status, provider.seen().len()), (200, before + 1));

    let after: JoinSet<_> = (0..9).map(|call| fleet.call(call, &format!("after {call}"))).collect();
    assert_eq!(with_tokens(after.join_all().await).0.len(), 9);
}

#[tokio::test]
async fn one_limited_session_stops_nobody_else_and_three_stop_all_until_a_probe_has_gone_first() {
    let gate = Gate::closed();
    let provider = busy_provider(&gate, || with_retry_after(429, 3)).await;
    let fleet = Fleet::start(&provider, &[PATIENT]).await;

    let limited = fleet.present(0, "limited 0", "busy0").await;
    let again = fleet.call(1, "limited 0").await;
    let others: JoinSet<_> = (0..9).map(|call| fleet.call(call, &format!("other {call}"))).collect();
    let (served, stopped) = with_tokens(others.join_all().await);

    assert_eq!((limited.status, limited.body.as_str()), (429, "of the provider"));
    assert_eq!(limited.retry_after, Some(Duration::from_secs(3)));
    again.is_refused(429, "the provider asked this session to come later", Duration::from_secs(3));
    assert_eq!(served.len(), 9, "{stopped:?}");
    assert_eq!(provider.seen().len(), 10, "the session that is limited does not ask");

    for session in 1..3 {
        let limited = fleet.present(session, &format!("limited {session}"), &format!("busy{session}")).await;
        assert_eq!((limited.status, limited.body.as_str()), (429, "of the provider"));
    }
    is_held_then_probed(&fleet, &provider, &gate).await;
}

#[tokio::test]
async fn provider_that_is_unavailable_for_a_time_is_left_in_peace_until_a_probe_has_gone_first() {
    let gate = Gate::closed();
    let provider = busy_provider(&gate, || with_retry_after(503, 3)).await;
    let fleet = Fleet::start(&provider, &[PATIENT]).await;

    let busy = fleet.present(0, "first", "busy0").await;

    assert_eq!((busy.status, busy.body.as_str()), (503, "of the provider"));
    is_held_then_probed(&fleet, &provider, &gate).await;

    let half_open = fleet.daemons[0].logged("circuit half open").await;
    for part in [r#""reason":"retry_after""#, r#""setting":"breaker.half_open_requests""#, r#""pod":""#] {
        assert!(half_open.contains(part), "no {part}: {half_open}");
    }

    // Who is on call reads of all three, once in the whole fleet.
    let mut log = String::new();
    for daemon in fleet.daemons {
        daemon.signal(Signal::SIGTERM);
        log += &daemon.ended().await.1;
        log += "\n";
    }
    let opened: Vec<_> = log.lines().filter(|line| line.contains("circuit opened")).collect();
    assert!(opened.len() == 1 && opened[0].contains(r#""reason":"retry_after""#), "{opened:?}");
    assert!(opened[0].contains(r#""for_ms":3000"#) && opened[0].contains(r#""flight":""#), "{opened:?}");
    assert_eq!(log.matches("circuit closed").count(), 1, "{log}");
    assert_eq!(log.matches("circuit half open").count(), 1, "{log}");
}

/// All clocks of the defaults run 300 times as fast; Retry-After counts whole seconds all the same.
#[tokio::test]
async fn provider_that_answers_502_for_long_costs_nobody_the_session() {
    const SESSIONS: usize = 30;
    let is_ill = Arc::new(AtomicBool::new(true));
    // How often each session's token was rotated: a reuse is refused.
    let rotated: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let provider = {
        let (is_ill, rotated) = (Arc::clone(&is_ill), Arc::clone(&rotated));
        Provider::start(move |seen| {
            let (is_ill, rotated) = (Arc::clone(&is_ill), Arc::clone(&rotated));
            async move {
                if is_ill.load(Ordering::SeqCst) {
                    return json(502, "<html>bad gateway</html>");
                }
                let (session, turn) = presented(&seen).split_once('.').expect("one of the test's");
                let mut rotated = rotated.lock().expect("no panic");
                let times = rotated.entry(session.to_owned()).or_default();
                if turn != times.to_string() {
                    return json(400, r#"{"error":"invalid_grant"}"#);
                }
                *times += 1;
                json(200, &format!(r#"{{"access_token":"a","expires_in":300,"refresh_token":"{session}.{times}"}}"#))
            }
        })
        .await
    };
    let open = Duration::from_millis(100);
    let clocks =
        ["--breaker-open-duration", "100ms", "--refresh-attempt-window", "1s", "--refresh-cooldown-period", "2s"];
    let fleet = Arc::new(Fleet::start(&provider, &clocks).await);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for session in 0..SESSIONS {
        let fleet = Arc::clone(&fleet);
        callers.spawn(async move {
            let mut tries = 0;
            loop {
                let told = fleet.present(session + tries, &format!("session {session}"), &format!("{session}.0")).await;
                tries += 1;
                match told.status {
                    200 => return (session, told.body, tries),
                    // Theirs, as it came.
                    502 => assert_eq!(told.body, "<html>bad gateway</html>"),
                    503 => told.is_refused(503, "(setting breaker)", Duration::from_secs(1)),
                    // A session that happens to be the probe time and again has used up its attempts.
                    429 => told.is_refused(429, "(setting max_refresh_attempts)", Duration::from_secs(2)),
                    _ => panic!("{told:?}"),
                }
                tokio::time::sleep(told.retry_after.unwrap_or(open)).await;
            }
        });
    }

    fleet.redis.wait(Duration::from_secs(2)).await;
    let (asked, ill_for) = (provider.seen().len(), start.elapsed());
    let rotated_while_ill = rotated.lock().expect("no panic").len();
    is_ill.store(false, Ordering::SeqCst);
    let healthy = Instant::now();
    let recovered = within(callers.join_all()).await;
    let took = healthy.elapsed();

    println!(
        "502 for {ill_for:.1?}: the provider was asked {asked} times, all {SESSIONS} sessions recovered within {took:.1?} \
         after {} tries",
        recovered.iter().map(|(_, _, tries)| tries).sum::<usize>()
    );
    assert_eq!(rotated_while_ill, 0);
    for (session, body, _) in &recovered {
        assert!(body.contains(&format!(r#""refresh_token":"{session}.1""#)), "{body}");
    }
    assert!(rotated.lock().expect("no panic").values().all(|times| *times == 1));
    // The presentations that were under way when it opened, and a probe for each time it was open.
    let most = 10 + ill_for.div_duration_f64(open).ceil() as usize;
    assert!((3..=most).contains(&asked), "asked {asked} times, not 3 to {most}");
}

/// Redis still has its subscription, so permits are reserved for its flights, which cannot come.
#[tokio::test]
async fn flights_that_queue_in_a_stopped_daemon_hold_up_nobody_for_long() {
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, tokens()).await;
    // A flight whose turn came just before the stop may lead, and keeps its permit for its lease: that is to be short.
    let fleet =
        Fleet::start(&provider, &["--max-concurrent-refreshes", "2", "--budget-wait", "10s", "--lease", "3s"]).await;
    let first: JoinSet<_> = (0..2).map(|call| fleet.call(1, &format!("first {call}"))).collect();
    provider.asked(2).await;
    let stopped: JoinSet<_> = (0..40).map(|call| fleet.call(0, &format!("stopped {call}"))).collect();
    fleet.redis.until_queued(&fleet.key("queue"), 40).await;
    let behind: JoinSet<_> = (0..20).map(|call| fleet.call(1 + call % 2, &format!("behind {call}"))).collect();
    fleet.redis.until_queued(&fleet.key("queue"), 60).await;

    fleet.daemons[0].signal(Signal::SIGSTOP);
    let start = Instant::now();
    gate.open();
    let (served, refused) = with_tokens(behind.join_all().await);
    let took = start.elapsed();
    fleet.daemons[0].signal(Signal::SIGCONT);
    let (woken, late) = with_tokens(stopped.join_all().await);

    assert_eq!(with_tokens(first.join_all().await).0.len(), 2);
    println!(
        "behind 40 flights of a stopped daemon: {} served and {} refused after {took:.1?}; of the stopped {} and {}",
        served.len(),
        refused.len(),
        woken.len(),
        late.len()
    );
    assert_eq!(served.len(), 20, "{refused:?}");
    // It was stopped for less than budget_wait.
    assert_eq!(woken.len(), 40, "{late:?}");
}
