//! The fleet: a Redis, a provider, pods as processes, each with a network of its own, and what all of them say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::child;
use crate::clock::now_us;
use crate::history::{Event, Timed, What, Who};
use crate::proxy::Proxy;
use crate::steps::{CallStep, Outcome, Stage};
use crate::transport::Endpoint;
use crate::wire::{Makes, Order, PodSays, PodSettings, ProviderSays, Rules, Trouble};

/// Everything that happened, as it was told.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub(crate) fn now(&self, what: What) {
        self.at(now_us(), what);
    }

    pub(crate) fn at(&self, t: u64, what: What) {
        self.0.lock().expect("BUG: nothing panics with this lock held").push(Event { t, what });
    }

    /// Taken, not copied: an hour is a lot to hold twice.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut events = std::mem::take(&mut *self.0.lock().expect("BUG: nothing panics with this lock held"));
        events.sort_by_key(|event| event.t);
        events
    }
}

/// How far one caller's call is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) led: bool,
    pub(crate) stage: Option<Stage>,
    pub(crate) answered: bool,
    pub(crate) outcome: Option<Outcome>,
}

impl Progress {
    fn note(&mut self, step: CallStep) {
        match step {
            CallStep::Led { .. } => self.led = true,
            CallStep::At(stage) => self.stage = Some(stage),
            CallStep::Answered(_) => self.answered = true,
            CallStep::Outcome(outcome) => self.outcome = Some(outcome),
        }
    }
}

pub(crate) struct Pod {
    pub(crate) number: usize,
    pub(crate) redis: Proxy,
    pub(crate) provider: Proxy,
    child: Child,
    orders: mpsc::UnboundedSender<Order>,
    calls: Arc<Mutex<HashMap<u64, watch::Sender<Progress>>>>,
    /// Counts what was closed or done.
    done: watch::Receiver<u64>,
    /// Flights that waited for a server to recover, as it said last.
    waited: watch::Receiver<u64>,
    down: watch::Receiver<bool>,
}

/// One caller at one pod.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) token: String,
    pub(crate) secret: &'static str,
    pub(crate) stop: Option<Stage>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) run: Option<usize>,
    pub(crate) who: Who,
}

static LAST_CALL: AtomicU64 = AtomicU64::new(0);
static LAST_POD: AtomicU64 = AtomicU64::new(0);

/// Where pods are started from, and with what.
#[derive(Clone)]
pub(crate) struct PodPlan {
    pub(crate) binary: PathBuf,
    pub(crate) makes: Makes,
    pub(crate) rules: Rules,
    pub(crate) redis: Endpoint,
    /// Where a pod asks which server decides; none where that is always the same one, behind a proxy.
    pub(crate) finds_redis_by: Option<String>,
    pub(crate) provider: SocketAddr,
    pub(crate) log: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// Pods tell when they stood still for so long, in ms.
    pub(crate) tells_stalls_ms: Option<u64>,
}

impl Pod {
    /// One that cannot connect ends, and is started again, as whatever runs pods would do.
    pub(crate) async fn start(plan: &PodPlan, recorder: &Recorder) -> Self {
        for _ in 0..5 {
            if let Some(pod) = Self::started(plan, recorder).await {
                return pod;
            }
        }
        panic!("no pod starts: {}", plan.log.display());
    }

    async fn started(plan: &PodPlan, recorder: &Recorder) -> Option<Self> {
        let number = LAST_POD.fetch_add(1, Ordering::Relaxed) as usize;
        let redis = Proxy::start(plan.redis.clone(), number).await;
        let provider = Proxy::start(Endpoint::Tcp(plan.provider), number).await;
        let settings = PodSettings {
            number,
            redis: plan.finds_redis_by.clone().unwrap_or_else(|| redis.redis_url()),
            login: plan.redis.login(),
            provider: provider.address(),
            rules: plan.rules.clone(),
            makes: plan.makes,
            tells_stalls_ms: plan.tells_stalls_ms,
        };
        let settings = serde_json::to_string(&settings).expect("BUG: it can be written as JSON");
        let log = std::fs::File::options().create(true).append(true).open(&plan.log).expect("a log for pods");
        let mut child = child::own(&plan.binary, &["pod", &settings])
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("a pod");
        let (orders, waiting) = mpsc::unbounded_channel();
        let (done_sender, mut done) = watch::channel(0);
        let (waited_sender, waited) = watch::channel(0);
        let (down_sender, down) = watch::channel(false);
        let calls = Arc::<Mutex<HashMap<u64, watch::Sender<Progress>>>>::default();
        tokio::spawn(write_orders(child.stdin.take().expect("BUG: piped"), waiting));
        let lines = child::lines(&mut child);
        let listener = Listener {
            number,
            recorder: recorder.clone(),
            calls: Arc::clone(&calls),
            done: done_sender,
            waited: waited_sender,
            down: down_sender,
        };
        tokio::spawn(listener.listen(lines));
        let ready = timeout(Duration::from_secs(20), done.changed()).await;
        if !matches!(ready, Ok(Ok(()))) {
            eprintln!("faults: pod {number} does not start: {}", plan.log.display());
            return None;
        }
        recorder.now(What::PodUp { pod: number });
        Some(Self { number, redis, provider, child, orders, calls, done, waited, down })
    }

    pub(crate) fn ask(&self, ask: Ask, recorder: &Recorder) -> Call {
        let call = LAST_CALL.fetch_add(1, Ordering::Relaxed) + 1;
        let Ask { token, secret, stop, trouble, run, who } = ask;
        let (progress, receiver) = watch::channel(Progress::default());
        recorder.now(What::Asked { call, pod: self.number, token: token.clone(), run, who });
        if *self.down.borrow() {
            progress.send_modify(|progress| progress.outcome = Some(Outcome::Gone));
        }
        self.calls.lock().expect("BUG: nothing panics with this lock held").insert(call, progress);
        self.order(Order::Refresh { call, token, secret: secret.to_owned(), stop, trouble });
        // It may have gone down between the two.
        if *self.down.borrow() {
            self.all_gone();
        }
        Call { call, progress: receiver }
    }

    fn all_gone(&self) {
        let calls = self.calls.lock().expect("BUG: nothing panics with this lock held");
        calls.values().for_each(gone);
    }

    pub(crate) fn order(&self, order: Order) {
        // A pod that is gone takes none.
        _ = self.orders.send(order);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        child::signal(&self.child, signal);
    }

    pub(crate) fn is_down(&self) -> bool {
        *self.down.borrow()
    }

    /// Whether no call to the provider is under way that it leads.
    pub(crate) fn is_idle(&self) -> bool {
        let mut calls = self.calls.lock().expect("BUG: nothing panics with this lock held");
        calls.retain(|_, call| {
            let call = call.borrow();
            (call.led && !call.answered) || call.outcome.is_none()
        });
        self.is_down() || calls.is_empty()
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("the process this suite started");
        // All it has said is read before it counts as gone.
        _ = timeout(Duration::from_secs(5), self.down.wait_for(|down| *down)).await;
    }

    /// How many flights waited here for a server to recover.
    pub(crate) async fn count(&mut self) -> u64 {
        self.done(Order::Count).await;
        *self.waited.borrow()
    }

    /// Waits until it has done what it was ordered, or was closed.
    pub(crate) async fn done(&mut self, order: Order) -> bool {
        let before = *self.done.borrow();
        self.order(order);
        matches!(timeout(Duration::from_secs(20), self.done.wait_for(|done| *done > before)).await, Ok(Ok(_)))
    }
}

fn gone(call: &watch::Sender<Progress>) {
    call.send_if_modified(|progress| {
        let is_open = progress.outcome.is_none();
        if is_open {
            progress.outcome = Some(Outcome::Gone);
        }
        is_open
    });
}

/// A caller that waits.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) call: u64,
    progress: watch::Receiver<Progress>,
}

impl Call {
    /// Waits for the outcome; none when it does not come in time.
    pub(crate) async fn outcome(&mut self, patience: Duration) -> Option<Outcome> {
        let progress = timeout(patience, self.progress.wait_for(|progress| progress.outcome.is_some())).await;
        progress.ok()?.ok()?.outcome.clone()
    }

    /// Waits until the refresh function has ended, whether its caller is there or not.
    pub(crate) async fn is_answered(&mut self, until: Instant) -> bool {
        let answered = tokio::time::timeout_at(until, self.progress.wait_for(|progress| progress.answered)).await;
        matches!(answered, Ok(Ok(_)))
    }

    /// Waits until the call has come so far, or is over.
    pub(crate) async fn reaches(&mut self, stage: Stage, until: Instant) -> bool {
        let reached = |progress: &Progress| progress.stage >= Some(stage) || progress.outcome.is_some();
        let progress = tokio::time::timeout_at(until, self.progress.wait_for(reached)).await;
        matches!(progress, Ok(Ok(progress)) if progress.stage >= Some(stage))
    }
}

async fn write_orders(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        let mut line = serde_json::to_string(&order).expect("BUG: it can be written as JSON");
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Listener {
    number: usize,
    recorder: Recorder,
    calls: Arc<Mutex<HashMap<u64, watch::Sender<Progress>>>>,
    done: watch::Sender<u64>,
    waited: watch::Sender<u64>,
    down: watch::Sender<bool>,
}

impl Listener {
    async fn listen(self, mut lines: Lines<BufReader<ChildStdout>>) {
        while let Ok(Some(line)) = lines.next_line().await {
            // A line that was cut off by a SIGKILL was not said.
            let Ok(Timed { t, what }) = serde_json::from_str(&line) else { continue };
            self.hear(t, what);
        }
        self.down.send_replace(true);
        self.recorder.now(What::PodDown { pod: self.number });
        self.calls.lock().expect("BUG: nothing panics with this lock held").values().for_each(gone);
    }

    fn hear(&self, t: u64, told: PodSays) {
        match told {
            PodSays::Ready | PodSays::Done | PodSays::Closed => self.done.send_modify(|done| *done += 1),
            PodSays::Counted { waited_for_recovery } => {
                self.waited.send_replace(waited_for_recovery);
                self.done.send_modify(|done| *done += 1);
            }
            PodSays::StoodStill { for_us } => self.recorder.at(t, What::StoodStill { for_us }),
            PodSays::Call { call, step } => {
                // First in the history: what is seen to have happened stands there.
                self.recorder.at(t, What::Call { call, step: step.clone() });
                let calls = self.calls.lock().expect("BUG: nothing panics with this lock held");
                if let Some(progress) = calls.get(&call) {
                    progress.send_modify(|progress| progress.note(step));
                }
            }
        }
    }
}

pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    _child: Child,
}

impl Provider {
    pub(crate) async fn start(binary: &Path, recorder: &Recorder) -> Self {
        let mut child = child::own(binary, &["provider"]).spawn().expect("the provider");
        let mut lines = child::lines(&mut child);
        let first = timeout(Duration::from_secs(20), lines.next_line()).await;
        let first = first.expect("the provider starts").expect("it can be read").expect("its address");
        let Ok(Timed { what: ProviderSays::Ready { address }, .. }) = serde_json::from_str(&first) else {
            panic!("the provider says {first}");
        };
        let recorder = recorder.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Timed { t, what } = serde_json::from_str(&line).expect("BUG: the provider writes JSON");
                match what {
                    ProviderSays::Ready { .. } => {}
                    ProviderSays::Presentation { number, step } => {
                        recorder.at(t, What::Presentation { number, step });
                    }
                }
            }
        });
        Self { address, _child: child }
    }
}
