//! The faults: what each needs to happen to, and how it is done.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::arena::Arena;
use crate::clock::now_us;
use crate::fleet::Call;
use crate::history::{Harm, Kind, What};
use crate::proxy::Way;
use crate::settings::Setting;
use crate::steps::Stage;
use crate::tokens::Mode;
use crate::topology::deeds::Deed;
use crate::wire::{Order, Trouble};

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One pod, which leads the flights that are looked at.
    OnePod,
    /// Everybody.
    Fleet,
}

/// A fault and the flights it happens to.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) harm: Harm,
    pub(crate) act: Act,
    /// How many sessions are refreshed while it happens.
    pub(crate) sessions: usize,
    /// What the provider does with them.
    pub(crate) mode: Mode,
    pub(crate) delay_ms: u64,
    /// Where their leaders stop, and how far they are to be before it happens.
    pub(crate) stop: Option<Stage>,
    pub(crate) reach: Stage,
    /// What the first so many calls do.
    pub(crate) trouble: Option<(usize, Trouble)>,
    pub(crate) nothing_was_sent: bool,
    pub(crate) leader_dies: bool,
    /// Up to how much later it comes, when all is as it should be.
    pub(crate) later_ms: u64,
    /// Whether it comes at whatever moment of flights that begin and end all the time.
    pub(crate) is_spread: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The call or the provider does it.
    Nothing,
    Kill,
    /// Killed while `complete` is on its way to Redis, or its answer on the way back.
    KillInComplete(Way),
    Stop {
        ms: u64,
    },
    DropCallers,
    LimitFiles,
    RollingRestart(Builds),
    RollingChange(Setting),
    /// Killed, and then Redis forgets that it ever led.
    KillAndForget,
    Restart(Data),
    Loading,
    RedisCommand(&'static [&'static str]),
    /// Something that lasts, and how it ends.
    RedisState {
        on: &'static [&'static str],
        ms: u64,
        off: &'static [&'static str],
    },
    StopRedis {
        ms: u64,
    },
    ClockBack,
    /// By so much that leases end before their time.
    ClockForward {
        ms: u64,
    },
    /// The victim's clock is an hour ahead, from before its flights begin.
    WrongClock,
    /// Again and again.
    Repeatedly {
        words: &'static [&'static str],
        times: usize,
    },
    Forgets(&'static [&'static str]),
    /// The way to Redis, of the victim or of all.
    RedisWay {
        way: Way,
        ms: u64,
    },
    ProviderWay {
        way: Way,
        ms: u64,
    },
    /// To servers behind Sentinel, or on a Cluster.
    OnServers(Deed),
}

/// What pods are started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builds {
    One,
    /// Every other pod is of a build with scripts that read otherwise and mean the same.
    Two,
}

/// What Redis has when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Nothing,
    All,
    Old,
}

impl Act {
    /// For about how long Redis is out of reach, or pods are started anew.
    pub(crate) fn away_ms(self) -> u64 {
        match self {
            Self::RedisWay { ms, .. } | Self::StopRedis { ms } | Self::RedisState { ms, .. } => ms,
            Self::OnServers(deed) => deed.away_ms(),
            // About as long as it takes: flights come all the while.
            Self::RollingChange(_) => 4000,
            _ => 0,
        }
    }
}

impl Fault {
    pub(crate) const fn new(name: &'static str, kind: Kind, scope: Scope, harm: Harm, act: Act) -> Self {
        Self {
            name,
            kind,
            scope,
            harm,
            act,
            sessions: 12,
            mode: Mode::Well,
            delay_ms: 400,
            stop: None,
            reach: Stage::Sent,
            trouble: None,
            nothing_was_sent: false,
            leader_dies: false,
            later_ms: 0,
            is_spread: false,
        }
    }

    pub(crate) const fn at_any_moment(self) -> Self {
        Self { is_spread: true, sessions: 24, ..self }
    }

    pub(crate) const fn stopped_at(self, stage: Stage) -> Self {
        Self { stop: Some(stage), reach: stage, ..self }
    }

    const fn deadly(self) -> Self {
        Self { leader_dies: true, ..self }
    }

    const fn with(self, trouble: Trouble, calls: usize) -> Self {
        Self { trouble: Some((calls, trouble)), reach: Stage::Called, ..self }
    }

    pub(crate) const fn answered(self, mode: Mode, delay_ms: u64) -> Self {
        Self { mode, delay_ms, ..self }
    }

    pub(crate) const fn sessions(self, sessions: usize) -> Self {
        Self { sessions, ..self }
    }

    pub(crate) fn all() -> Vec<Self> {
        use {Harm::*, Kind::*, Scope::*};
        vec![
            Self {
                nothing_was_sent: true,
                ..Self::new("leader killed before sending", Process, OnePod, Seen, Act::Kill)
                    .stopped_at(Stage::Called)
                    .deadly()
            },
            Self::new("leader killed after sending", Process, OnePod, Seen, Act::Kill).stopped_at(Stage::Sent).deadly(),
            Self {
                later_ms: 1600,
                ..Self::new("leader killed late", Process, OnePod, Seen, Act::Kill).stopped_at(Stage::Sent).deadly()
            },
            Self::new("leader killed with the answer", Process, OnePod, Seen, Act::Kill)
                .stopped_at(Stage::Answered)
                .answered(Mode::Well, 20)
                .deadly(),
            Self::new("killed in complete, not arrived", Process, OnePod, Seen, Act::KillInComplete(Way::DeafToPod))
                .stopped_at(Stage::Answered)
                .answered(Mode::Well, 20),
            Self::new(
                "killed in complete, not acknowledged",
                Process,
                OnePod,
                Seen,
                Act::KillInComplete(Way::DeafToServer),
            )
            .stopped_at(Stage::Answered)
            .answered(Mode::Well, 20),
            Self::new("leader stopped past its lease", Process, OnePod, Paused, Act::Stop { ms: 2200 }),
            Self::new("caller dropped", Process, OnePod, Seen, Act::DropCallers),
            Self::new("panic before the first poll", Process, OnePod, Seen, Act::Nothing)
                .with(Trouble::PanicBeforePoll, 12),
            Self::new("panic before sending", Process, OnePod, Seen, Act::Nothing).with(Trouble::PanicAfterPoll, 12),
            Self::new("panic after sending", Process, OnePod, Seen, Act::Nothing).with(Trouble::PanicAfterSending, 12),
            Self::new("call blocks its runtime", Process, OnePod, Paused, Act::Nothing)
                .with(Trouble::Block { ms: 2200 }, 1),
            Self::new("descriptors exhausted", Process, OnePod, ToProvider, Act::LimitFiles).stopped_at(Stage::Called),
            Self::new("killed at any moment", Process, OnePod, Seen, Act::Kill).at_any_moment(),
            Self::new("stopped at any moment", Process, OnePod, Paused, Act::Stop { ms: 2200 }).at_any_moment(),
            Self::new("rolling restart", Process, Fleet, Store, Act::RollingRestart(Builds::One)).at_any_moment(),
            Self::new("rolling restart, two builds", Process, Fleet, Store, Act::RollingRestart(Builds::Two))
                .at_any_moment(),
            Self::new("a pod's clock wrong by an hour", Process, OnePod, Seen, Act::WrongClock),
            Self::new(
                "connections killed again and again",
                Connection,
                Fleet,
                Store,
                Act::Repeatedly { words: &["CLIENT", "KILL", "SKIPME", "yes"], times: 20 },
            )
            .at_any_moment(),
            Self::new(
                "cut off from redis at any moment",
                Connection,
                OnePod,
                CutOff,
                Act::RedisWay { way: Way::Cut, ms: 2200 },
            )
            .at_any_moment(),
            Self::new(
                "redis does not hear at any moment",
                Connection,
                OnePod,
                CutOff,
                Act::RedisWay { way: Way::DeafToPod, ms: 2200 },
            )
            .at_any_moment(),
            Self::new(
                "redis' answers lost at any moment",
                Connection,
                OnePod,
                CutOff,
                Act::RedisWay { way: Way::DeafToServer, ms: 2200 },
            )
            .at_any_moment(),
            Self::new(
                "the provider falls silent",
                Connection,
                OnePod,
                ToProvider,
                Act::ProviderWay { way: Way::Deaf, ms: 5000 },
            ),
            Self::new("leader killed, then redis restarted empty", Redis, OnePod, Store, Act::KillAndForget)
                .stopped_at(Stage::Sent),
            Self::new("redis' clock set forward", Redis, Fleet, Store, Act::ClockForward { ms: 3000 })
                .answered(Mode::Well, 1000),
            Self::new(
                "all connections killed",
                Connection,
                Fleet,
                Store,
                Act::RedisCommand(&["CLIENT", "KILL", "TYPE", "normal"]),
            ),
            Self::new(
                "inboxes killed",
                Connection,
                Fleet,
                Store,
                Act::RedisCommand(&["CLIENT", "KILL", "TYPE", "pubsub"]),
            ),
            Self::new(
                "clients paused",
                Connection,
                Fleet,
                Store,
                // It ends by itself, and nobody is answered before.
                Act::RedisState { on: &["CLIENT", "PAUSE", "1800", "ALL"], ms: 1800, off: &["PING"] },
            ),
            Self::new("cut off from redis", Connection, OnePod, CutOff, Act::RedisWay { way: Way::Cut, ms: 2200 }),
            Self::new(
                "cut off from redis for long",
                Connection,
                OnePod,
                CutOff,
                Act::RedisWay { way: Way::Cut, ms: 5000 },
            ),
            Self::new("redis falls silent", Connection, OnePod, CutOff, Act::RedisWay { way: Way::Deaf, ms: 2200 }),
            Self::new("slow way to redis", Connection, OnePod, CutOff, Act::RedisWay { way: Way::Slow(150), ms: 2000 }),
            Self::new(
                "slow reader on the inbox",
                Connection,
                Fleet,
                Store,
                Act::RedisWay { way: Way::InboxStalled, ms: 2200 },
            ),
            Self::new(
                "cut off from the provider, before",
                Connection,
                OnePod,
                ToProvider,
                Act::ProviderWay { way: Way::Cut, ms: 800 },
            )
            .stopped_at(Stage::Called),
            Self::new(
                "cut off from the provider, after",
                Connection,
                OnePod,
                ToProvider,
                Act::ProviderWay { way: Way::Cut, ms: 800 },
            ),
            Self::new("redis restarted empty", Redis, Fleet, Store, Act::Restart(Data::Nothing))
                .answered(Mode::Well, 1500)
                .sessions(200),
            Self::new("redis restarted with its data", Redis, Fleet, Store, Act::Restart(Data::All))
                .answered(Mode::Well, 1500),
            Self::new("redis restarted with old data", Redis, Fleet, Store, Act::Restart(Data::Old))
                .answered(Mode::Well, 1500),
            Self::new("SCRIPT FLUSH", Redis, Fleet, Store, Act::RedisCommand(&["SCRIPT", "FLUSH"])),
            Self::new("FLUSHALL", Redis, Fleet, Store, Act::Forgets(&["FLUSHALL"])).answered(Mode::Well, 1500),
            Self::new("redis hangs", Redis, Fleet, Store, Act::StopRedis { ms: 1800 }),
            Self::new("redis out of reach for long", Redis, Fleet, Store, Act::RedisWay { way: Way::Cut, ms: 5000 }),
            Self::new("redis hangs for long", Redis, Fleet, Store, Act::StopRedis { ms: 5000 }),
            Self::new("redis slow for all", Redis, Fleet, Store, Act::RedisWay { way: Way::Slow(100), ms: 2000 }),
            Self::new(
                "redis above maxmemory",
                Redis,
                Fleet,
                Store,
                Act::RedisState {
                    on: &["CONFIG", "SET", "maxmemory", "1"],
                    ms: 2000,
                    off: &["CONFIG", "SET", "maxmemory", "0"],
                },
            ),
            Self::new("redis loading", Redis, Fleet, Store, Act::Loading).answered(Mode::Well, 1500),
            Self::new(
                "redis read-only",
                Redis,
                Fleet,
                Store,
                Act::RedisState { on: &["REPLICAOF", "127.0.0.1", "1"], ms: 1500, off: &["REPLICAOF", "NO", "ONE"] },
            ),
            Self::new("redis' clock set back an hour", Redis, Fleet, Store, Act::ClockBack).answered(Mode::Well, 1000),
            Self::new("provider: 500 after rotating", Provider, OnePod, Seen, Act::Nothing)
                .answered(Mode::Rotated500, 50),
            Self::new("provider: 500, nothing rotated", Provider, OnePod, Seen, Act::Nothing)
                .answered(Mode::Plain500, 50),
            Self::new("provider: late", Provider, OnePod, Seen, Act::Nothing).answered(Mode::Well, 3600),
            Self::new("provider: later than call_limit", Provider, OnePod, Seen, Act::Nothing)
                .answered(Mode::Well, 4800),
            Self::new("provider: half an answer", Provider, OnePod, Seen, Act::Nothing).answered(Mode::Half, 50),
            Self::new("provider: closes", Provider, OnePod, Seen, Act::Nothing).answered(Mode::Close, 50),
            Self::new("provider: resets", Provider, OnePod, Seen, Act::Nothing).answered(Mode::Reset, 50),
        ]
    }

    /// Each setting changes.
    pub(crate) fn of_settings() -> impl Iterator<Item = Self> {
        let row = |(name, setting)| {
            Self::new(name, Kind::Process, Scope::Fleet, Harm::Store, Act::RollingChange(setting)).at_any_moment()
        };
        Setting::ALL.into_iter().map(row)
    }

    /// What has to be there before the flights begin.
    pub(crate) async fn prepare(&self, arena: &Arena, victim: usize) {
        if self.act == Act::WrongClock {
            let environment = wrong_clock().expect("BUG: it is not run otherwise");
            let plan = arena.plan.borrow().clone();
            arena.plan.borrow_mut().environment.extend(environment);
            arena.kill(victim).await;
            arena.start_pod(victim).await;
            *arena.plan.borrow_mut() = plan;
        }
        if self.act == Act::Restart(Data::Old) {
            let since = now_us();
            arena.redis.lock().await.tell(&["SAVE"]).await;
            arena.old_since.set(since);
        }
        if let Act::OnServers(deed) = self.act {
            deed.prepare(arena).await;
        }
    }

    pub(crate) async fn inject(&self, arena: &Arena, victim: usize, leaders: &mut [Call]) {
        let ms = Duration::from_millis;
        match self.act {
            Act::Nothing => {
                if let Some((_, Trouble::Block { ms: span })) = self.trouble {
                    arena.with_pod(victim, |pod| pod.order(Order::Release));
                    sleep(ms(span) + ms(200)).await;
                }
            }
            Act::Kill => {
                arena.kill(victim).await;
                arena.start_pod(victim).await;
            }
            Act::KillInComplete(way) => {
                arena.with_pod(victim, |pod| {
                    pod.redis.set(way);
                    pod.order(Order::Release);
                });
                let until = Instant::now() + ms(2000);
                loop {
                    let mut arrived = 0;
                    arena.with_pod(victim, |pod| arrived = pod.redis.completions());
                    if arrived > 0 || Instant::now() > until {
                        break;
                    }
                    sleep(ms(5)).await;
                }
                // All of the heap are on their way, or done.
                sleep(ms(100)).await;
                arena.kill(victim).await;
                arena.start_pod(victim).await;
            }
            Act::Stop { ms: span } => {
                arena.with_pod(victim, |pod| pod.signal(Signal::SIGSTOP));
                sleep(ms(span)).await;
                arena.with_pod(victim, |pod| pod.signal(Signal::SIGCONT));
            }
            Act::DropCallers => {
                for call in leaders {
                    arena.with_pod(victim, |pod| pod.order(Order::Drop { call: call.call }));
                }
            }
            Act::LimitFiles => {
                let pod = arena.pods.borrow_mut()[victim].take();
                let mut pod = pod.expect("BUG: it runs");
                pod.done(Order::LimitFiles { more: Some(0) }).await;
                pod.order(Order::Release);
                sleep(ms(500)).await;
                pod.done(Order::LimitFiles { more: None }).await;
                arena.pods.borrow_mut()[victim] = Some(pod);
            }
            Act::RollingRestart(builds) => {
                let own = arena.plan.borrow().binary.clone();
                for slot in 0..arena.size() {
                    if builds == Builds::Two {
                        let other = arena.other_build.clone();
                        arena.plan.borrow_mut().binary = if slot % 2 == 0 { other } else { own.clone() };
                    }
                    arena.replace_pod(slot).await;
                }
                arena.plan.borrow_mut().binary = own;
            }
            Act::RollingChange(setting) => {
                let before = arena.plan.borrow().rules.clone();
                for rules in [setting.changed(&before), before] {
                    arena.plan.borrow_mut().rules = rules;
                    for slot in 0..arena.size() {
                        arena.replace_pod(slot).await;
                    }
                }
            }
            Act::KillAndForget => {
                arena.kill(victim).await;
                let mut redis = arena.redis.lock().await;
                let from = now_us();
                redis.kill().await;
                redis.forget();
                arena.recorder.now(What::RedisForgot { since: 0, from });
                redis.start_again(&[]).await;
                drop(redis);
                arena.start_pod(victim).await;
            }
            Act::WrongClock => sleep(ms(500)).await,
            Act::Repeatedly { words, times } => {
                for _ in 0..times {
                    arena.redis.lock().await.tell(words).await;
                    sleep(ms(100)).await;
                }
            }
            Act::Restart(data) => {
                let mut redis = arena.redis.lock().await;
                let from = now_us();
                let since = match data {
                    Data::All => {
                        redis.shut_down().await;
                        None
                    }
                    Data::Nothing => {
                        redis.kill().await;
                        redis.forget();
                        Some(0)
                    }
                    Data::Old => {
                        redis.kill().await;
                        Some(arena.old_since.get())
                    }
                };
                sleep(ms(200)).await;
                if let Some(since) = since {
                    arena.recorder.now(What::RedisForgot { since, from });
                }
                redis.start_again(&[]).await;
                redis.forget();
            }
            Act::Loading => {
                let mut redis = arena.redis.lock().await;
                let keys: u64 = redis.ask(&["DBSIZE"]).await;
                redis.shut_down().await;
                // So long for each key that all of them take a second and a half.
                let delay = (1_500_000 / keys.max(1)).to_string();
                redis.launch(&["--key-load-delay", &delay, "--loading-process-events-interval-bytes", "1024"]);
                redis.ready().await;
                redis.forget();
            }
            Act::RedisCommand(words) => arena.redis.lock().await.tell(words).await,
            Act::Forgets(words) => {
                let redis = arena.redis.lock().await;
                let from = now_us();
                redis.ask::<redis::Value>(words).await;
                arena.recorder.now(What::RedisForgot { since: 0, from });
            }
            Act::RedisState { on, ms: span, off } => {
                arena.redis.lock().await.tell(on).await;
                sleep(ms(span)).await;
                arena.redis.lock().await.tell(off).await;
            }
            Act::StopRedis { ms: span } => {
                let redis = arena.redis.lock().await;
                redis.signal(Signal::SIGSTOP);
                sleep(ms(span)).await;
                redis.signal(Signal::SIGCONT);
            }
            Act::ClockBack => {
                let redis = arena.redis.lock().await;
                redis.eval::<()>(&clock_set(-3_600_000), &arena.rules.namespace).await.expect("the stamps move");
            }
            Act::ClockForward { ms: step } => {
                let redis = arena.redis.lock().await;
                let since = now_us();
                redis.eval::<()>(&clock_set(step as i64), &arena.rules.namespace).await.expect("the stamps move");
                arena.recorder.now(What::RedisStepped { by_ms: step, since });
            }
            Act::RedisWay { way, ms: span } => {
                self.on_ways(arena, victim, |pod| pod.redis.set(way));
                sleep(ms(span)).await;
                self.on_ways(arena, victim, |pod| pod.redis.set(Way::Open));
            }
            Act::OnServers(deed) => deed.happens(arena, victim).await,
            Act::ProviderWay { way, ms: span } => {
                self.on_ways(arena, victim, |pod| pod.provider.set(way));
                // The kernel knows of it.
                sleep(ms(50)).await;
                arena.with_pod(victim, |pod| pod.order(Order::Release));
                sleep(ms(span)).await;
                self.on_ways(arena, victim, |pod| pod.provider.set(Way::Open));
            }
        }
    }

    fn on_ways(&self, arena: &Arena, victim: usize, act: impl Fn(&crate::fleet::Pod)) {
        match self.scope {
            Scope::OnePod => arena.with_pod(victim, act),
            Scope::Fleet => arena.pods.borrow().iter().flatten().for_each(act),
        }
    }
}

/// What gives a pod a clock that is an hour ahead, where that is installed.
pub(crate) fn wrong_clock() -> Option<Vec<(String, String)>> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let libraries = places.iter().map(|place| format!("/usr/lib/{place}/faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|library| std::path::Path::new(library).exists())?;
    let variables = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "+1h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    Some(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// A clock that is set is one for which everything that is written moves the other way. Why not a clock that is really
/// set: it would be everybody's, and libfaketime does not start Debian's redis-server.
fn clock_set(forward_ms: i64) -> String {
    CLOCK_SET.replace("STEP", &(-forward_ms).to_string())
}

const CLOCK_SET: &str = r"
local step = STEP
local stamps = {'started', 'again_at', 'landed_at', 'fresh_until', 'last_landed_at', 'window_start', 'last_attempt',
  'held_until', 'cooldown_until', 'open_until'}
for _, key in ipairs(redis.call('KEYS', 'rc:{' .. ARGV[1] .. '}:*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then
    for _, field in ipairs(stamps) do
      local stamp = tonumber(redis.call('HGET', key, field) or '')
      if stamp then
        redis.call('HSET', key, field, string.format('%.0f', stamp + step))
      end
    end
  -- In the queue are turns, which tell no time.
  elseif kind == 'zset' and not string.match(key, ':queue$') then
    local factor = string.match(key, ':queue:') and 1000 or 1
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, step * factor, member)
    end
  end
  local ends = redis.call('PEXPIRETIME', key)
  if ends > 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', ends + step))
  end
end
";
