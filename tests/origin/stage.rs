//! Replays one scenario on a coordinator of its own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::recorded::{Action, Answer, Call, Numbers, Scenario, Session, ms};
use crate::admission::circuit::CircuitState;
use crate::config::Config;
use crate::config_error::ConfigError;
use crate::coordinator::RefreshCoordinator;
use crate::error::{ConnectError, RefreshError, Refusal};
use crate::flight::refreshed::Refreshed;
use crate::identity::Identity;
use crate::outcome::ProviderFailure;
use crate::pressure::Pressure;
use crate::request::Refresh;
use crate::store::Store;
use crate::test_redis::RedisServer;
use crate::token_response::{ProviderResponse, TokenResponse};

/// A coordinator, and what the script moves beside it.
pub(super) struct Stage {
    coordinator: RefreshCoordinator,
    memory: tempfile::TempDir,
    provider: Arc<Provider>,
}

/// Far longer than any scenario: nothing hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// What came of a scenario.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) answers: BTreeMap<String, Answer>,
    pub(super) runs: usize,
    pub(super) overlap: usize,
}

/// The judge: how often was it asked, and how often at once with the same token?
#[derive(Debug, Default)]
struct Provider {
    runs: AtomicUsize,
    running: Mutex<HashMap<String, usize>>,
    overlap: AtomicUsize,
}

impl Stage {
    pub(super) fn in_memory(config: Config) -> Result<Self, ConfigError> {
        Ok(Self::of(RefreshCoordinator::in_memory(config)?))
    }

    pub(super) async fn on_redis(redis: &RedisServer, config: Config) -> Result<Self, ConfigError> {
        redis.in_use(&config.namespace).await;
        match RefreshCoordinator::connect(redis.url(), config).await {
            Ok(coordinator) => Ok(Self::of(coordinator)),
            Err(ConnectError::Config(error)) => Err(error),
            Err(error) => panic!("redis is there: {error}"),
        }
    }

    /// The pod's memory is made up, so that the script can fill it.
    fn of(mut coordinator: RefreshCoordinator) -> Self {
        let memory = tempfile::tempdir().expect("a directory");
        let inner = Arc::get_mut(&mut coordinator.inner).expect("nobody else has it yet");
        inner.pressure = Pressure::below(inner.config.memory_pressure, memory.path().to_owned());
        let stage = Self { coordinator, memory, provider: Arc::default() };
        stage.write("proc/self/cgroup", "0::/\n");
        stage.write("proc/self/mountinfo", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        stage.write("sys/fs/cgroup/memory.max", "100\n");
        stage.press(0);
        stage
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.memory.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// The origin's levels, as percent of what the pod may use; it refused from 3 on, we do above 90.
    fn press(&self, level: u32) {
        let percent = match level {
            0 => "10",
            2 => "80",
            3 => "91",
            4 => "99",
            other => panic!("no scenario has level {other}"),
        };
        self.write("sys/fs/cgroup/memory.current", percent);
        self.coordinator.inner.pressure.read_anew();
    }

    /// Plays all steps at their times, and waits for whatever they started.
    pub(super) async fn play(self, scenario: &Scenario, redis: Option<&RedisServer>) -> Replay {
        let replay = tokio::time::timeout(LONGEST, self.play_all(scenario, redis)).await;
        replay.unwrap_or_else(|_| panic!("{} is not over after {LONGEST:?}", scenario.name))
    }

    async fn play_all(self, scenario: &Scenario, redis: Option<&RedisServer>) -> Replay {
        let start = Instant::now();
        let mut answers = BTreeMap::new();
        let mut started: JoinSet<Answer> = JoinSet::new();
        for step in &scenario.steps {
            tokio::time::sleep_until(start + ms(step.at_ms)).await;
            while scenario.over_before(step.at_ms).any(|id| !answers.contains_key(id)) {
                collect(&mut answers, started.join_next().await.expect("BUG: what was never started was awaited"));
            }
            let (coordinator, provider) = (self.coordinator.clone(), Arc::clone(&self.provider));
            match step.action.clone() {
                Action::Call(call) => start_now(&mut started, start, called(coordinator, provider, call)).await,
                Action::Burst { n, call } => {
                    start_now(&mut started, start, burst(coordinator, provider, call, n)).await;
                }
                Action::Shutdown { id } => {
                    let closing = async move {
                        coordinator.close(ms(25_000)).await;
                        Answer { id, result: Some("ok".to_owned()), ..Answer::default() }
                    };
                    start_now(&mut started, start, closing).await;
                }
                Action::Pressure { pressure_level } => self.press(pressure_level),
                Action::Metrics { id } => {
                    let metrics = Some(self.numbers().await);
                    answers.insert(id.clone(), Answer { id, metrics, ..Answer::default() });
                }
                Action::Session { id, session } => {
                    let session = Some(Session { exists: self.holds(&session, redis).await });
                    answers.insert(id.clone(), Answer { id, session, ..Answer::default() });
                }
            }
        }
        while let Some(answer) = started.join_next().await {
            collect(&mut answers, answer);
        }
        Replay {
            answers,
            runs: self.provider.runs.load(Ordering::Relaxed),
            overlap: self.provider.overlap.load(Ordering::Relaxed),
        }
    }

    async fn numbers(&self) -> Numbers {
        let metrics = self.coordinator.metrics();
        let circuit = self.coordinator.circuit_state().await.expect("the store answers");
        let (state, failures, probes) = match circuit {
            CircuitState::Closed { failures } => ("closed", Some(failures), None),
            CircuitState::Open { .. } => ("open", None, None),
            CircuitState::HalfOpen { probes, .. } => ("half-open", None, Some(probes)),
        };
        Numbers {
            circuit_breaker_state: Some(state.to_owned()),
            memory_pressure_events: Some(metrics.refused_memory_pressure),
            total_requests: Some(metrics.callers),
            current_inflight: Some(self.coordinator.in_flight()),
            failures,
            probes,
        }
    }

    /// Whether anything is remembered of a session.
    async fn holds(&self, session: &str, redis: Option<&RedisServer>) -> bool {
        let session = Identity::of(Refresh::new("any").session(session), None).expect("valid").session;
        match (&self.coordinator.inner.store, redis) {
            (Store::Memory(memory), _) => memory.remembers(session),
            (Store::Redis(_) | Store::Local(_), Some(redis)) => {
                let namespace = &self.coordinator.config().namespace;
                redis.cli(&["EXISTS", &format!("rc:{{{namespace}}}:attempts:{session}")]).await == "1"
            }
            (Store::Redis(_) | Store::Local(_), None) => unreachable!("BUG: a stage on redis is played with it"),
        }
    }
}

/// Starts what takes its time: when this returns, it has arrived.
async fn start_now(
    started: &mut JoinSet<Answer>,
    start: Instant,
    takes_its_time: impl Future<Output = Answer> + Send + 'static,
) {
    let mut answer = Box::pin(async move {
        let answer = takes_its_time.await;
        Answer { done: start.elapsed(), ..answer }
    });
    tokio::select! {
        biased;
        answer = &mut answer => started.spawn(async { answer }),
        () = std::future::ready(()) => started.spawn(answer),
    };
}

fn collect(answers: &mut BTreeMap<String, Answer>, answer: Result<Answer, tokio::task::JoinError>) {
    let answer = answer.expect("no panic outside of a refresh function");
    answers.insert(answer.id.clone(), answer);
}

/// `n` callers at once; `#` in token and session is the caller's number.
async fn burst(coordinator: RefreshCoordinator, provider: Arc<Provider>, call: Call, n: usize) -> Answer {
    let mut callers = JoinSet::new();
    for number in 0..n {
        let numbered = |text: &str| text.replace('#', &number.to_string());
        let call = Call { token: numbered(&call.token), session: numbered(&call.session), ..call.clone() };
        callers.spawn(called(coordinator.clone(), Arc::clone(&provider), call));
    }
    let (mut results, mut ran) = (BTreeMap::new(), 0);
    for answer in callers.join_all().await {
        *results.entry(answer.result.expect("a call has one")).or_default() += 1;
        ran += usize::from(answer.ran == Some(true));
    }
    Answer { id: call.id, results: Some(results), ran_n: Some(ran), ..Answer::default() }
}

async fn called(coordinator: RefreshCoordinator, provider: Arc<Provider>, call: Call) -> Answer {
    let ran = Arc::new(AtomicBool::new(false));
    let refresh = Refresh::new(call.token.as_str()).session(call.session.as_str());
    let function = {
        let (ran, call) = (Arc::clone(&ran), call.clone());
        move |_| asked(provider, ran, call)
    };
    let refreshed = coordinator.refresh(refresh, function);
    let refreshed = match call.cancel_after_ms {
        None => Some(refreshed.await),
        // Gone before it asked.
        Some(0) => {
            drop(refreshed);
            None
        }
        Some(after) => tokio::time::timeout(ms(after), refreshed).await.ok(),
    };
    let (result, value) = match refreshed {
        None => ("ctx_canceled".to_owned(), None),
        Some(Ok(refreshed)) => ("ok".to_owned(), Some(value(&refreshed))),
        Some(Err(error)) => (word(&error), None),
    };
    let ran = Some(ran.load(Ordering::Relaxed));
    Answer { id: call.id, result: Some(result), value, ran, ..Answer::default() }
}

/// What the script wants of the refresh function.
async fn asked(provider: Arc<Provider>, ran: Arc<AtomicBool>, call: Call) -> Result<TokenResponse, ProviderFailure> {
    ran.store(true, Ordering::Relaxed);
    let _presented = Presented::to(&provider, call.token);
    if call.refresh_ms > 0 {
        tokio::time::sleep(ms(call.refresh_ms)).await;
    }
    match call.refresh_outcome.split_once(':') {
        Some(("ok", value)) => tokens(&format!(r#"{{"access_token":"{value}","refresh_token":"next"}}"#)),
        // It speaks of the provider's health, and lets the token be presented again.
        Some(("err", text)) => Err(ProviderFailure::unknown(text).with_response(ProviderResponse::new(500, ""))),
        None if call.refresh_outcome == "nil" => tokens(""),
        None if call.refresh_outcome == "panic" => panic!("boom"),
        _ => panic!("no scenario has {}", call.refresh_outcome),
    }
}

/// A token in the provider's hands.
struct Presented {
    provider: Arc<Provider>,
    token: String,
}

impl Presented {
    fn to(provider: &Arc<Provider>, token: String) -> Self {
        provider.runs.fetch_add(1, Ordering::Relaxed);
        let mut running = provider.running.lock().expect("not poisoned");
        let at_once = running.entry(token.clone()).or_default();
        *at_once += 1;
        provider.overlap.fetch_max(*at_once, Ordering::Relaxed);
        drop(running);
        Self { provider: Arc::clone(provider), token }
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        *self.provider.running.lock().expect("not poisoned").get_mut(&self.token).expect("presented") -= 1;
    }
}

fn tokens(body: &str) -> Result<TokenResponse, ProviderFailure> {
    TokenResponse::from_json(body).map_err(|_| ProviderFailure::unknown("no token response"))
}

fn value(refreshed: &Refreshed) -> String {
    refreshed.tokens().access_token().to_owned()
}

/// Our errors in the origin's words.
fn word(error: &RefreshError) -> String {
    let word = match error {
        RefreshError::Refused(Refusal::CoolingDown { .. }) => "cooldown",
        RefreshError::Refused(Refusal::CircuitOpen { .. }) => "breaker_open",
        RefreshError::Refused(Refusal::MemoryPressure { .. }) => "memory_pressure",
        RefreshError::Refused(Refusal::Budget { .. }) => "budget_full",
        RefreshError::Refused(Refusal::Closing { .. }) => "shutting_down",
        RefreshError::TimedOut { .. } => "refresh_timeout",
        RefreshError::Provider { failure: ProviderFailure::Unknown { reason, .. }, .. } => {
            return format!("upstream:{reason}");
        }
        other => return format!("{other:?}"),
    };
    word.to_owned()
}
