//! One fleet under one policy: its callers, its background of refreshes that nothing happens to, and its rest.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::clock::now_us;
use crate::exchange::present;
use crate::fleet::{Ask, Call, Pod, PodPlan, Provider, Recorder};
use crate::history::{ClientResult, What, Who};
use crate::random::Random;
use crate::steps::{BY_DRIVER, Outcome, Stage};
use crate::tokens::{CLIENT_SECRET, HUSH, INTRUDER_SECRET, Mode, Token};
use crate::topology::servers::{Servers, Topology};
use crate::transport::Transport;
use crate::wire::{Makes, Order, Rules, Trouble};

/// What processes are started from.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) own: PathBuf,
    pub(crate) pod: PathBuf,
    /// A pod with scripts that read otherwise, and mean the same.
    pub(crate) other: PathBuf,
}

pub(crate) struct Arena {
    pub(crate) name: &'static str,
    pub(crate) rules: Rules,
    pub(crate) recorder: Recorder,
    pub(crate) redis: Mutex<Servers>,
    pub(crate) provider: Provider,
    pub(crate) pods: RefCell<Vec<Option<Pod>>>,
    pub(crate) plan: RefCell<PodPlan>,
    pub(crate) dir: PathBuf,
    /// How many times the usual sessions are refreshed.
    pub(crate) crowd: usize,
    /// Pods with scripts that read otherwise.
    pub(crate) other_build: PathBuf,
    /// Pods that something happens to: the background keeps away from them.
    pub(crate) victims: RefCell<BTreeSet<usize>>,
    /// When the data was saved that is old later.
    pub(crate) old_since: Cell<u64>,
    is_background_paused: Cell<bool>,
    background_flying: Cell<usize>,
    is_over: Cell<bool>,
    families: Cell<u64>,
}

/// What a client of a targeted session does first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct First {
    pub(crate) stop: Option<Stage>,
    pub(crate) trouble: Option<Trouble>,
}

/// For how much longer than a caller waits a client goes on trying, from its arrival.
const CLIENT_PATIENCE: Duration = Duration::from_secs(4);
/// Clients of the background.
const WORKERS: usize = 4;

impl Arena {
    pub(crate) async fn start(
        name: &'static str,
        (topology, transport): (Topology, Transport),
        rules: Rules,
        makes: Makes,
        Binaries { own: binary, pod: pod_binary, other: other_build }: &Binaries,
        dir: &Path,
        (pods, crowd): (usize, usize),
    ) -> Rc<Self> {
        let dir = dir.join(name);
        _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory for the fleet");
        let recorder = Recorder::default();
        let redis = Servers::start(topology, transport, &rules.namespace, binary, &dir).await;
        let provider = Provider::start(binary, &recorder).await;
        let plan = PodPlan {
            binary: pod_binary.clone(),
            makes,
            rules: rules.clone(),
            redis: redis.endpoint.clone(),
            finds_redis_by: redis.url(),
            provider: provider.address,
            log: dir.join("pods.log"),
            environment: vec![("RUST_LOG".to_owned(), "refresh_coordinator=debug".to_owned())],
            // A pod that the driver stops would tell so, and the checker would take it for the machine.
            tells_stalls_ms: None,
        };
        let mut fleet = Vec::new();
        for _ in 0..pods {
            fleet.push(Some(Pod::start(&plan, &recorder).await));
        }
        Rc::new(Self {
            name,
            rules,
            recorder,
            redis: Mutex::new(redis),
            provider,
            pods: RefCell::new(fleet),
            plan: RefCell::new(plan),
            dir,
            crowd,
            other_build: other_build.clone(),
            victims: RefCell::default(),
            old_since: Cell::new(0),
            is_background_paused: Cell::new(false),
            background_flying: Cell::new(0),
            is_over: Cell::new(false),
            families: Cell::new(0),
        })
    }

    pub(crate) fn size(&self) -> usize {
        self.pods.borrow().len()
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.rules.lease_ms)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.rules.wait_timeout_ms) + CLIENT_PATIENCE
    }

    pub(crate) fn new_token(&self, mode: Mode, delay_ms: u64) -> Token {
        self.families.set(self.families.get() + 1);
        Token::first(format!("{}-{}", self.name, self.families.get()), mode, delay_ms)
    }

    /// Asks at a pod, or at the next one that is there.
    pub(crate) fn ask(&self, slot: usize, ask: Ask) -> Option<Call> {
        let pods = self.pods.borrow();
        let places = pods[slot..].iter().chain(&pods[..slot]);
        let pod = places.flatten().find(|pod| !pod.is_down())?;
        Some(pod.ask(ask, &self.recorder))
    }

    /// What the proxies of a pod are to do.
    pub(crate) fn with_pod(&self, slot: usize, act: impl FnOnce(&Pod)) {
        if let Some(pod) = &self.pods.borrow()[slot] {
            act(pod);
        }
    }

    pub(crate) fn number(&self, slot: usize) -> Option<usize> {
        self.pods.borrow()[slot].as_ref().map(|pod| pod.number)
    }

    /// Ends a pod as hard as it gets.
    pub(crate) async fn kill(&self, slot: usize) {
        let pod = self.pods.borrow_mut()[slot].take();
        if let Some(mut pod) = pod {
            pod.kill().await;
        }
    }

    pub(crate) async fn start_pod(&self, slot: usize) {
        let plan = self.plan.borrow().clone();
        let pod = Pod::start(&plan, &self.recorder).await;
        self.pods.borrow_mut()[slot] = Some(pod);
    }

    /// Another pod takes its place when it has closed, started as the plan says now.
    pub(crate) async fn replace_pod(&self, slot: usize) {
        let pod = self.pods.borrow_mut()[slot].take();
        if let Some(mut pod) = pod {
            pod.done(Order::Close { deadline_ms: 3000 }).await;
            // What it has said last is read, too.
            sleep(Duration::from_millis(20)).await;
            pod.kill().await;
        }
        self.start_pod(slot).await;
    }

    /// A client: asks until something final comes, at another pod each time.
    pub(crate) async fn client(
        self: Rc<Self>,
        token: String,
        mut slot: usize,
        mut call: Option<Call>,
        run: Option<usize>,
        mut random: Random,
    ) -> ClientResult {
        let came = now_us();
        let until = Instant::now() + self.patience();
        // Longer than any caller may have to wait: the checker is to see a caller that is never answered.
        let patience = self.patience();
        let mut last = "nobody to ask".to_owned();
        let result = loop {
            let ask =
                Ask { token: token.clone(), secret: CLIENT_SECRET, stop: None, trouble: None, run, who: Who::Client };
            let mut pause = Duration::from_millis(50);
            if let Some(mut asked) = call.take().or_else(|| self.ask(slot, ask)) {
                match asked.outcome(patience).await {
                    Some(Outcome::Success { successor, .. }) => break ClientResult::Success { successor },
                    Some(Outcome::Over { why }) => break ClientResult::Over { why },
                    Some(Outcome::Dropped) => break ClientResult::Dropped,
                    Some(Outcome::Later { why, retry_after_ms }) => {
                        last = why;
                        pause = Duration::from_millis(retry_after_ms.clamp(50, 500));
                    }
                    Some(Outcome::Gone) => last = "its pod went down".to_owned(),
                    None => last = "no answer".to_owned(),
                }
            }
            if Instant::now() + pause >= until {
                break ClientResult::GaveUp { last };
            }
            sleep(pause).await;
            slot = (slot + 1 + random.below(self.size() - 1)) % self.size();
        };
        self.recorder.now(What::ClientEnded { run, token, came, result: result.clone() });
        result
    }

    /// A first try, for a client to go on with.
    pub(crate) fn first(&self, slot: usize, token: &str, run: usize, first: First) -> Option<Call> {
        let ask = Ask {
            token: token.to_owned(),
            secret: CLIENT_SECRET,
            stop: first.stop,
            trouble: first.trouble,
            run: Some(run),
            who: Who::Client,
        };
        self.ask(slot, ask)
    }

    /// Refreshes that nothing is done to, all the time.
    pub(crate) fn start_background(self: &Rc<Self>, random: &Random) {
        for worker in 0..WORKERS {
            let random = random.fork(&format!("background {worker}"));
            tokio::task::spawn_local(Rc::clone(self).background(random));
        }
    }

    async fn background(self: Rc<Self>, mut random: Random) {
        let mut token = self.new_token(Mode::Well, 20);
        while !self.is_over.get() {
            if self.is_background_paused.get() {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            let calm: Vec<usize> = (0..self.size()).filter(|slot| !self.victims.borrow().contains(slot)).collect();
            if calm.len() < 2 {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            self.background_flying.set(self.background_flying.get() + 1);
            let one = random.below(calm.len());
            let two = (one + 1 + random.below(calm.len() - 1)) % calm.len();
            let text = token.text();
            let first = Rc::clone(&self).client(text.clone(), calm[one], None, None, random.fork("one"));
            let second = async {
                sleep(Duration::from_millis(random.clone().next() % 15)).await;
                Rc::clone(&self).client(text.clone(), calm[two], None, None, random.fork("two")).await
            };
            let (first, second) = tokio::join!(first, second);
            let is_alive = [&first, &second].iter().any(|result| matches!(result, ClientResult::Success { .. }));
            token = if is_alive { token.next() } else { self.new_token(Mode::Well, 20) };
            if random.below(8) == 0 {
                self.intrude(&text, calm[two]).await;
            }
            self.background_flying.set(self.background_flying.get() - 1);
            sleep(Duration::from_millis(20 + random.next() % 40)).await;
        }
    }

    /// An intruder: it has the token and is not its client.
    pub(crate) async fn intrude(&self, token: &str, slot: usize) {
        let ask = Ask {
            token: token.to_owned(),
            secret: INTRUDER_SECRET,
            stop: None,
            trouble: None,
            run: None,
            who: Who::Intruder,
        };
        if let Some(mut asked) = self.ask(slot, ask) {
            asked.outcome(Duration::from_millis(self.rules.wait_timeout_ms + 4000)).await;
        }
    }

    /// Presents the last token a living process was handed, once, past everything.
    pub(crate) async fn verify(&self, run: usize, token: &Token, results: &[ClientResult]) {
        let last = results.iter().find_map(|result| match result {
            ClientResult::Success { successor } => Some(successor.clone()),
            ClientResult::Over { .. } | ClientResult::GaveUp { .. } | ClientResult::Dropped => None,
        });
        let last = last.unwrap_or_else(|| token.text());
        let answer = present(self.provider.address, BY_DRIVER, &last, CLIENT_SECRET, async || ()).await;
        self.recorder.now(What::Verified { run: Some(run), token: token.text(), is_alive: answer.is_ok() });
    }

    /// Waits until nothing flies, then looks what is left in Redis a lease later.
    pub(crate) async fn rest(&self, run: usize) {
        self.is_background_paused.set(true);
        let deadline = Instant::now() + Duration::from_secs(12);
        while self.background_flying.get() > 0 || !self.pods.borrow().iter().flatten().all(Pod::is_idle) {
            if Instant::now() > deadline {
                eprintln!("{}: the fleet does not come to rest", self.name);
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.redis.lock().await.settle().await;
        let until = Instant::now() + self.lease() + Duration::from_millis(300);
        let (permits, counter, locks, endless) = loop {
            // Before: what stood then may be gone by the time that it is told.
            let is_late = Instant::now() > until;
            let redis = self.redis.lock().await;
            let looked = redis.eval::<(u64, u64, u64, Vec<String>)>(LOOK, &self.rules.namespace).await;
            drop(redis);
            let looked = looked.unwrap_or_else(|error| panic!("{}: looking at redis: {error}", self.name));
            if (looked.0 == 0 && looked.1 == 0 && looked.2 == 0) || is_late {
                break looked;
            }
            sleep(Duration::from_millis(20)).await;
        };
        self.recorder.now(What::AtRest { run, permits, counter, locks, endless, secrets: Vec::new() });
        self.is_background_paused.set(false);
    }

    /// Compares counter and permits all the time.
    pub(crate) async fn watch_budget(self: Rc<Self>) {
        while !self.is_over.get() {
            sleep(Duration::from_millis(100)).await;
            let Ok(redis) = self.redis.try_lock() else { continue };
            if let Ok((counter, permits)) = redis.eval::<(u64, u64)>(COMPARE, &self.rules.namespace).await
                && counter != permits
            {
                self.recorder.now(What::Unequal { counter, permits });
            }
        }
    }

    /// Where a secret stands that must not: in Redis' data, or in what pods log.
    pub(crate) async fn secrets_found(&self) -> Vec<String> {
        let redis = self.redis.lock().await;
        redis.save().await;
        let mut found = Vec::new();
        for file in [redis.data(), self.plan.borrow().log.clone()] {
            let bytes = std::fs::read(&file).unwrap_or_default();
            if bytes.windows(HUSH.len()).any(|window| window == HUSH.as_bytes()) {
                found.push(file.display().to_string());
            }
        }
        found
    }

    /// Notes when the machine, and with it the network that the driver is, stood still.
    pub(crate) async fn watch_machine(self: Rc<Self>) {
        const BEAT: Duration = Duration::from_millis(25);
        while !self.is_over.get() {
            let began = Instant::now();
            sleep(BEAT).await;
            let late = began.elapsed().saturating_sub(BEAT);
            if late > Duration::from_millis(250) {
                self.recorder.now(What::StoodStill { for_us: late.as_micros() as u64 });
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Ends the background, and waits for its last callers.
    pub(crate) async fn end(&self) {
        self.is_over.set(true);
        let until = Instant::now() + self.patience();
        while self.background_flying.get() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// How many permits are out, what the counter says, how many locks stand, and which keys have no end of life.
const LOOK: &str = r"
local tag = 'rc:{' .. ARGV[1] .. '}:'
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local permits = redis.call('ZCOUNT', tag .. 'permits', '(' .. now, '+inf')
local counter = tonumber(redis.call('GET', tag .. 'budget') or '0')
if permits == 0 and redis.call('ZCARD', tag .. 'permits') == counter then
  counter = 0 -- All of them are over; the next leader takes them back.
end
local fixed = {[tag .. 'fence'] = true, [tag .. 'incarnation'] = true}
local locks, endless = 0, {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, 1, #tag + 5) == tag .. 'lock:' then
    locks = locks + 1
  end
  if not fixed[key] and (redis.call('PTTL', key) < 0 or string.sub(key, 1, #tag) ~= tag) then
    endless[#endless + 1] = key
  end
end
return {permits, counter, locks, endless}
";

const COMPARE: &str = r"
local tag = 'rc:{' .. ARGV[1] .. '}:'
return {tonumber(redis.call('GET', tag .. 'budget') or '0'), redis.call('ZCARD', tag .. 'permits')}
";
