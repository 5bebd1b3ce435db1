//! The coordinator that this one began as, replayed: what it answered to scripted histories, on both stores.
//!
//! `tests/origin/README.md` says what is recorded and compared; `docs/differences.md` tells a reader where our
//! answers are others, and why.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

mod differences;
mod recorded;
mod stage;

use self::recorded::{Promise, Scenario, scenarios};
use self::stage::{Replay, Stage};
use crate::config_error::ConfigError;
use crate::test_redis::RedisServer;

#[test]
fn every_scenario_is_answered_as_promised_in_memory() {
    let mut broken = Vec::new();
    for scenario in scenarios() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let replayed = runtime.expect("a runtime").block_on(async {
            let stage = Stage::in_memory(scenario.config(namespace(&scenario)))?;
            Ok(stage.play(&scenario, None).await)
        });
        broken.extend(judge(&scenario, &replayed));
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Side by side, or all their seconds would add up. They live by the clock, so a machine that stands still for a while
/// makes a replay worthless: what was not as promised then is played again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_is_answered_as_promised_on_redis() {
    /// The scenarios leave 200 ms between a step and what would change its answer.
    const TOO_LONG: Duration = Duration::from_millis(50);
    const ROUNDS: u32 = 5;

    let redis = Arc::new(RedisServer::start().await);
    let mut left = scenarios();
    for round in 1..=ROUNDS {
        // First all are ready: connecting is work, and would disturb those that play already.
        let mut ready = Vec::new();
        for scenario in left.drain(..) {
            let stage = Stage::on_redis(&redis, scenario.config(namespace(&scenario))).await;
            ready.push((scenario, stage));
        }
        let pulse = Pulse::of(&redis);
        let mut playing = JoinSet::new();
        for (scenario, stage) in ready {
            let redis = Arc::clone(&redis);
            playing.spawn(async move {
                let replayed = match stage {
                    Ok(stage) => Ok(stage.play(&scenario, Some(&redis)).await),
                    Err(error) => Err(error),
                };
                let broken = judge(&scenario, &replayed);
                (scenario, broken)
            });
        }
        let mut broken = Vec::new();
        for (scenario, why) in playing.join_all().await {
            if !why.is_empty() {
                left.push(scenario);
                broken.extend(why);
            }
        }
        if broken.is_empty() {
            return;
        }
        let standstill = pulse.longest_pause();
        assert!(
            standstill > TOO_LONG && round < ROUNDS,
            "in round {round}, with nothing moving for {standstill:?} at most:\n{}",
            broken.join("\n")
        );
    }
}

/// One of its own for every replay.
fn namespace(scenario: &Scenario) -> String {
    format!("{}-{}", scenario.name, &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// What was not as promised, scenario by name.
fn judge(scenario: &Scenario, replayed: &Result<Replay, ConfigError>) -> Vec<String> {
    let mut broken = Vec::new();
    match (scenario.promise(), replayed) {
        (Promise::Refused(setting), Err(error)) if error.setting == setting => {}
        (Promise::Answered { answers, runs, overlap }, Ok(replay)) => {
            for promised in &answers {
                match replay.answers.get(&promised.id) {
                    Some(seen) => broken.extend(promised.contradicts(seen)),
                    None => broken.push(format!("{}: no answer", promised.id)),
                }
            }
            if (runs, overlap) != (replay.runs, replay.overlap) {
                broken.push(format!(
                    "{runs} runs are promised, {overlap} at once with the same token; there were {} and {}",
                    replay.runs, replay.overlap
                ));
            }
        }
        (promise, replayed) => broken.push(format!("{promise:?} is promised, there was {replayed:?}")),
    }
    broken.iter().map(|broken| format!("{}: {broken}", scenario.name)).collect()
}

/// Whether runtime and Redis were there all the time.
struct Pulse {
    longest: Arc<Mutex<Duration>>,
    beat: tokio::task::JoinHandle<()>,
}

impl Pulse {
    fn of(redis: &Arc<RedisServer>) -> Self {
        let longest = Arc::<Mutex<Duration>>::default();
        let beat = tokio::spawn({
            let (redis, longest) = (Arc::clone(redis), Arc::clone(&longest));
            async move {
                let mut last = Instant::now();
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    redis.cli(&["PING"]).await;
                    let mut longest = longest.lock().expect("not poisoned");
                    *longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
            }
        });
        Self { longest, beat }
    }

    fn longest_pause(self) -> Duration {
        self.beat.abort();
        *self.longest.lock().expect("not poisoned")
    }
}
