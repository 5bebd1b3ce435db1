//! Where histories are played: first in memory, where time is paused, then on Redis, many at once, and compared.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

use super::super::stage::*;
use super::super::ways::Way;
use super::play::{Observed, Play};
use super::{History, LATE, MOMENT, Step, TICK, Who};
use crate::identity::Hash;

/// So many histories share one Redis and the time it takes.
pub(super) const AT_ONCE: usize = 96;
/// So few are too many for no machine.
const FEWEST: usize = 6;
/// So late may those be played again for which the machine was too slow.
const AGAIN: Duration = Duration::from_secs(180);
/// One theatre plays at a time: what two of them play would be late on a machine that is in time for each.
static STAGE: Mutex<()> = Mutex::new(());
/// How long it may take to make a history shorter.
const SHORTENING: Duration = Duration::from_secs(40);

/// The answers of the store in memory, and how its gates stood after each.
pub(super) async fn in_memory(history: &History) -> Vec<(Observed, Observed)> {
    let config = Arc::new(history.settings.config());
    let store = MemoryStore::new();
    let pod = || Store::Memory(store.pod(Arc::clone(&config)));
    let mut play = Play::new([pod(), pod()], history, false);
    let start = Instant::now();
    let (mut answers, mut ticks) = (Vec::new(), 0);
    for step in &history.steps {
        if let Step::Pass { ticks: more } = step {
            ticks += more;
            tokio::time::advance((start + ticks * TICK).saturating_duration_since(Instant::now())).await;
        }
        let seen = play.step(*step, &config, None).await.expect("memory answers");
        let Store::Memory(pod) = &play.pods[0] else { unreachable!("BUG: played in memory") };
        let counts = pod.counts(&shared_session());
        answers.push((seen, play.gates(&counts).await.expect("memory answers")));
        tokio::time::advance(MOMENT).await;
    }
    answers
}

/// What holds in Redis at every moment; and what can be counted.
pub(super) const INVARIANTS: &str = r"
local tag, session, window_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local function value(name) return redis.call('GET', tag .. name) or '0' end
local out = redis.call('ZCARD', tag .. 'permits')
if tonumber(value('budget')) ~= out then
  return out .. ' permits, but the budget says ' .. value('budget')
end
for _, key in ipairs(redis.call('KEYS', tag .. '*')) do
  local name = string.sub(key, #tag + 1)
  local left = redis.call('PTTL', key)
  if left < 0 and name ~= 'fence' and name ~= 'incarnation' then
    return name .. ' never ends'
  end
  local flight = string.match(name, '^lock:(.*)$')
  if flight and redis.call('HEXISTS', tag .. 'flight:' .. flight, 'state') == 0 then
    return 'a lock without a flight'
  end
  if flight and redis.call('PTTL', tag .. 'flight:' .. flight) < left then
    return 'a lock that outlives its flight'
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local attempts, flat, fields = 0, redis.call('HGETALL', tag .. 'attempts:' .. session), {}
for i = 1, #flat, 2 do
  fields[flat[i]] = flat[i + 1]
end
for field, start in pairs(fields) do
  local account = string.match(field, '^window_start(:.+)$')
  if account and not fields['cooldown_until' .. account] and now - start < window_ms then
    attempts = attempts + fields['attempts' .. account]
  end
end
local permits = redis.call('ZCOUNT', tag .. 'permits', '(' .. string.format('%.0f', now), '+inf')
local queued = 0
for _, client in ipairs(redis.call('ZRANGE', tag .. 'queue', 0, -1)) do
  queued = queued + redis.call('ZCARD', tag .. 'queue:' .. client)
end
return {permits, queued, tonumber(attempts)}
";

/// How many attempts the session has, of which two tokens are.
pub(super) fn shared_session() -> Hash {
    Who { pod: 0, token: 0, claim: 0 }.identity().session
}

pub(super) enum Verdicts {
    Agree,
    Disagree(String),
    /// The machine was too slow for the times of this history.
    TooLate,
}

pub(super) async fn on_redis(
    history: &History,
    expected: &[(Observed, Observed)],
    client: redis::Client,
    way: &Way,
) -> Verdicts {
    let config = Arc::new(history.settings.config());
    let url = format!("redis://{}", client.get_connection_info().addr());
    let pod = async |name: &str| {
        let store = RedisStore::connect(way.target(&url), name, Arc::clone(&config), Arc::default()).await;
        store.ok().map(Store::Redis)
    };
    if in_use(&client, &config.namespace).await.is_err() {
        return Verdicts::TooLate;
    }
    let (Some(a), Some(b)) = (pod("a").await, pod("b").await) else { return Verdicts::TooLate };
    let Ok(mut inspector) = client.get_multiplexed_async_connection().await else { return Verdicts::TooLate };
    let mut play = Play::new([a, b], history, history.stutters);
    let tag = format!("rc:{{{}}}:", config.namespace);
    let start = Instant::now();
    let mut ticks = 0;
    let mut told = String::new();
    for (step, (seen, gates)) in history.steps.iter().zip(expected) {
        if let Step::Pass { ticks: more } = step {
            ticks += more;
            tokio::time::sleep_until(start + ticks * TICK).await;
        }
        tokio::time::sleep(MOMENT).await;
        let Some(ours) = play.step(*step, &config, Some(seen)).await else { return Verdicts::TooLate };
        let mut inspect = redis::cmd("EVAL");
        inspect.arg(INVARIANTS).arg(1).arg(&tag).arg(shared_session().to_string());
        inspect.arg(config.refresh_attempt_window.as_millis() as u64);
        let Ok(inspected) = inspect.query_async::<redis::Value>(&mut inspector).await else {
            return Verdicts::TooLate;
        };
        let counts = redis::from_redis_value::<[usize; 3]>(inspected.clone());
        let Some(our_gates) = play.gates(counts.as_ref().unwrap_or(&[0; 3])).await else { return Verdicts::TooLate };
        if Instant::now() > start + ticks * TICK + LATE {
            return Verdicts::TooLate;
        }
        _ = writeln!(told, "  {step:?}\n    -> {seen}; {gates}");
        if counts.is_err() {
            let broken: String = redis::from_redis_value(inspected).expect("what is broken");
            return Verdicts::Disagree(format!("{told}    on redis: {broken}"));
        }
        if !ours.agrees_with(seen) || !our_gates.agrees_with(gates) {
            return Verdicts::Disagree(format!("{told}    on redis {ours}; {our_gates}"));
        }
    }
    Verdicts::Agree
}

/// The server gave leads in this namespace before: else the first of them would wait for a lease.
async fn in_use(client: &redis::Client, namespace: &str) -> redis::RedisResult<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run id");
    let noted = format!("{run_id} 0 0");
    redis::cmd("SET").arg(format!("rc:{{{namespace}}}:incarnation")).arg(noted).query_async(&mut connection).await
}

pub(super) struct Theatre {
    runtime: tokio::runtime::Runtime,
    redis: RedisServer,
    way: Arc<Way>,
    _stage: MutexGuard<'static, ()>,
}

impl Theatre {
    /// Waits for the stage.
    pub(super) fn new() -> Self {
        let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (redis, way) = runtime.block_on(Way::start());
        Self { runtime, redis, way: Arc::new(way), _stage: stage }
    }

    /// Plays them side by side, again and fewer at once where the machine was too slow. Answers for each what the stores
    /// disagree on.
    pub(super) fn play(&self, histories: &[History]) -> Vec<Option<String>> {
        let mut verdicts: Vec<Option<Option<String>>> = vec![None; histories.len()];
        let deadline = std::time::Instant::now() + AGAIN;
        let mut at_once = AT_ONCE;
        while std::time::Instant::now() < deadline && verdicts.iter().any(Option::is_none) {
            let open: Vec<usize> = (0..histories.len()).filter(|index| verdicts[*index].is_none()).collect();
            for some in open.chunks(at_once) {
                for (index, health) in self.play_once(histories, some) {
                    match health {
                        Verdicts::Agree => verdicts[index] = Some(None),
                        Verdicts::Disagree(what) => verdicts[index] = Some(Some(what)),
                        Verdicts::TooLate => {}
                    }
                }
            }
            at_once = (at_once / 2).max(FEWEST);
        }
        let unplayed = verdicts.iter().filter(|health| health.is_none()).count();
        assert!(unplayed * 2 <= histories.len(), "{unplayed} histories could not be played: this machine is too busy");
        verdicts.into_iter().map(Option::flatten).collect()
    }

    pub(super) fn play_once(&self, histories: &[History], some: &[usize]) -> Vec<(usize, Verdicts)> {
        self.runtime.block_on(async {
            let client = redis::Client::open(self.redis.url()).expect("a URL");
            let mut playing = JoinSet::new();
            for (place, index) in some.iter().enumerate() {
                let (index, history, client) = (*index, histories[*index].clone(), client.clone());
                let way = Arc::clone(&self.way);
                playing.spawn(async move {
                    let expected = tokio::task::spawn_blocking({
                        let history = history.clone();
                        move || paused().block_on(in_memory(&history))
                    });
                    let expected = expected.await.expect("memory answers");
                    // Not all at the same moment.
                    tokio::time::sleep(TICK.mul_f64(place as f64 / AT_ONCE as f64)).await;
                    (index, on_redis(&history, &expected, client, &way).await)
                });
            }
            playing.join_all().await
        })
    }

    /// Leaves out what is not needed to disagree.
    pub(super) fn shortened(&self, mut history: History, mut why: String) -> (History, String) {
        let deadline = std::time::Instant::now() + SHORTENING;
        while std::time::Instant::now() < deadline {
            let shorter: Vec<History> = without_some(&history);
            let all: Vec<usize> = (0..shorter.len().min(AT_ONCE)).collect();
            let mut found = self.play_once(&shorter, &all);
            found.sort_by_key(|(index, _)| *index);
            let found = found.into_iter().find_map(|(index, health)| match health {
                Verdicts::Disagree(why) => Some((index, why)),
                Verdicts::Agree | Verdicts::TooLate => None,
            });
            let Some((index, found)) = found else { break };
            (history, why) = (shorter[index].clone(), found);
        }
        (history, why)
    }
}

/// The same history without its second half, without a quarter, ..., without one step.
pub(super) fn without_some(history: &History) -> Vec<History> {
    let (all, mut shorter) = (history.steps.len(), Vec::new());
    let mut size = all / 2;
    while size > 0 {
        for from in (0..all).step_by(size) {
            let mut steps = history.steps.clone();
            steps.drain(from..all.min(from + size));
            shorter.push(History { steps, ..history.clone() });
        }
        size /= 2;
    }
    shorter
}

pub(super) fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}
