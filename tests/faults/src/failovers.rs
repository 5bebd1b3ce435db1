//! Failovers in a row under load: a primary whose replica lags, promoted again and again while three pods and a late one refresh.
//! `tests/run failovers [N]` runs it.
//!
//! Nobody is paused, and no pod dies but in order: each token that is presented twice, and each success that somebody is not
//! given, is the protocol's fault, unless a process stood still for more than a third of the lease.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::now_us;
use crate::fleet::{Ask, Call, Pod, PodPlan, Provider, Recorder};
use crate::history::{ClientResult, Harm, What, Who};
use crate::random::Random;
use crate::steps::Outcome;
use crate::ticker;
use crate::tokens::{CLIENT_SECRET, Mode, Token};
use crate::transport::Endpoint;
use crate::wire::{Makes, Order, Rules};

mod arguments;
mod judge;
mod servers;
mod summary;

pub(crate) use self::arguments::FailoverArguments;
use self::servers::{Primary, Servers};

const PODS: usize = 3;
/// How long a client goes on trying, from its arrival.
const CLIENT_PATIENCE: Duration = Duration::from_secs(15);

fn rules(lease_ms: u64) -> Rules {
    Rules {
        namespace: "failovers".to_owned(),
        lease_ms,
        store_timeout_ms: lease_ms.min(1000),
        refresh_timeout_ms: 3000,
        wait_timeout_ms: 8000,
        call_limit_ms: 4500,
        keep_outcome_ms: 8000,
        // The hardest: a token is taken over as soon as its leader is not heard of for a lease.
        retry_lost_after_ms: 0,
        uncertain_memory_ms: 60_000,
        presents_uncertain_tokens_again: true,
        goes_on_alone: false,
        walks: false,
        max_concurrent: 10_000,
        max_attempts: 100,
    }
}

pub(crate) async fn run(arguments: FailoverArguments) -> ExitCode {
    let binary = std::env::current_exe().expect("its own path");
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).expect("a directory for the run");
    let began = Instant::now();
    let mut fleet = Fleet::start(&arguments, binary, dir.clone()).await;
    let waited = fleet.fail_over_again_and_again(&arguments).await;

    let events = fleet.load.recorder.take();
    if arguments.keep.is_some() {
        let lines: Vec<String> =
            events.iter().map(|event| serde_json::to_string(event).expect("BUG: it can be written as JSON")).collect();
        std::fs::write(dir.join("history.jsonl"), lines.join("\n")).expect("the history is kept");
    }
    let report = judge::judge(&events, arguments.lease * 1000);
    if summary::print(&report, &arguments, waited, began.elapsed()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Servers, provider and pods.
struct Fleet {
    servers: Servers,
    plan: PodPlan,
    random: Random,
    load: Rc<Load>,
    _provider: Provider,
}

impl Fleet {
    async fn start(arguments: &FailoverArguments, binary: PathBuf, dir: PathBuf) -> Self {
        let recorder = Recorder::default();
        let servers = Servers::start(&binary, &dir, Duration::from_millis(arguments.lag)).await;
        let provider = Provider::start(&binary, &recorder).await;
        let longest = Duration::from_millis(arguments.lease / 3);
        let plan = PodPlan {
            binary,
            makes: Makes::Coordinator,
            rules: rules(arguments.lease),
            redis: Endpoint::Tcp(servers.address()),
            finds_redis_by: None,
            provider: provider.address,
            log: dir.join("pods.log"),
            environment: vec![("RUST_LOG".to_owned(), "refresh_coordinator=info".to_owned())],
            tells_stalls_ms: Some(longest.as_millis() as u64),
        };
        let telling = recorder.clone();
        ticker::start(longest, move |late| telling.now(What::StoodStill { for_us: late.as_micros() as u64 }));
        let mut pods = Vec::new();
        for _ in 0..PODS {
            pods.push(Pod::start(&plan, &recorder).await);
        }
        let load = Load {
            recorder,
            pods: RefCell::new(pods),
            clients: Cell::new(0),
            families: Cell::new(0),
            is_over: Cell::new(false),
        };
        let random = Random::new(arguments.seed);
        Self { servers, plan, random, load: Rc::new(load), _provider: provider }
    }

    /// Answers how many flights waited for a server to recover.
    async fn fail_over_again_and_again(&mut self, arguments: &FailoverArguments) -> u64 {
        let lease = Duration::from_millis(arguments.lease);
        // A namespace that nobody used yet, on a server that has just started, gives no lead before.
        sleep(lease).await;
        tokio::task::spawn_local(Rc::clone(&self.load).offer(arguments.rate, self.random.fork("load")));
        let watch = tokio::task::spawn_local(watch_server(self.servers.watch(), self.load.recorder.clone(), lease / 3));
        let mut waited = 0;
        for number in 0..arguments.failovers {
            sleep(lease / 2 + Duration::from_millis(self.random.next() % 500)).await;
            let old = if number % 2 == 0 { Primary::Killed } else { Primary::Lives };
            self.fail_over(number, old).await;
            waited += self.late_pod(lease).await;
            self.servers.give_replica().await;
            // What the late pod had landed is not lost with it.
            sleep(lease / 2).await;
            if (number + 1) % 10 == 0 {
                eprintln!("{} failovers, {} clients wait", number + 1, self.load.clients.get());
            }
        }
        sleep(2 * lease).await;
        self.load.is_over.set(true);
        let until = Instant::now() + CLIENT_PATIENCE;
        while self.load.clients.get() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        watch.abort();
        for mut pod in self.load.pods.take() {
            waited += pod.count().await;
        }
        waited
    }

    async fn fail_over(&mut self, number: usize, old: Primary) {
        self.load.recorder.now(What::FaultBegan { run: number, harm: Harm::Store, pods: Vec::new() });
        self.servers.promote(old).await;
        self.plan.redis = Endpoint::Tcp(self.servers.address());
        for pod in &*self.load.pods.borrow() {
            pod.redis.lead_to(self.servers.address());
        }
        self.load.recorder.now(What::FaultEnded { run: number });
    }

    /// A pod that starts just after, refreshes for a lease, and is closed in order.
    async fn late_pod(&mut self, lease: Duration) -> u64 {
        sleep(Duration::from_millis(self.random.next() % 200)).await;
        let late = Pod::start(&self.plan, &self.load.recorder).await;
        self.load.pods.borrow_mut().push(late);
        sleep(lease + lease / 2).await;
        // First nobody asks it any more.
        let mut late = self.load.pods.borrow_mut().pop().expect("BUG: it is the last one");
        let until = Instant::now() + CLIENT_PATIENCE;
        while !late.is_idle() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        let waited = late.count().await;
        // Its successes are kept for a lease and a third after the last of them.
        sleep(lease + lease / 3).await;
        late.done(Order::Close { deadline_ms: 3000 }).await;
        late.kill().await;
        waited
    }
}

/// Asks the primary all the time, and notes when it stood still.
async fn watch_server(
    primary: tokio::sync::watch::Receiver<std::net::SocketAddr>,
    recorder: Recorder,
    longest: Duration,
) {
    loop {
        let address = *primary.borrow();
        let client = redis::Client::open(format!("redis://{address}/")).expect("a redis URL");
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let Ok(mut connection) = client.get_multiplexed_async_connection_with_config(&patient).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        while *primary.borrow() == address {
            let asked = Instant::now();
            if redis::cmd("PING").query_async::<()>(&mut connection).await.is_err() {
                break;
            }
            if asked.elapsed() >= longest {
                recorder.now(What::StoodStill { for_us: asked.elapsed().as_micros() as u64 });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The callers.
struct Load {
    recorder: Recorder,
    pods: RefCell<Vec<Pod>>,
    clients: Cell<usize>,
    families: Cell<u64>,
    is_over: Cell<bool>,
}

impl Load {
    async fn offer(self: Rc<Self>, rate: u64, random: Random) {
        let mut beat = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
        while !self.is_over.get() {
            beat.tick().await;
            self.families.set(self.families.get() + 1);
            let family = self.families.get().to_string();
            let random = random.fork(&family);
            tokio::task::spawn_local(Rc::clone(&self).session(family, random));
        }
    }

    /// A session: a caller that comes first, others with the same token at other pods, sooner or later.
    async fn session(self: Rc<Self>, family: String, mut random: Random) {
        let token = Token::first(family, Mode::Well, 20 + random.next() % 700).text();
        let mut clients =
            vec![tokio::task::spawn_local(Rc::clone(&self).client(token.clone(), 0, random.fork("first")))];
        for number in 0..1 + random.below(2) {
            let (after, its) = (random.next() % 1500, random.fork(&format!("later {number}")));
            clients.push(tokio::task::spawn_local(Rc::clone(&self).client(token.clone(), after, its)));
        }
        for client in clients {
            client.await.expect("BUG: a client does not panic");
        }
    }

    async fn client(self: Rc<Self>, token: String, after_ms: u64, mut random: Random) {
        self.clients.set(self.clients.get() + 1);
        sleep(Duration::from_millis(after_ms)).await;
        let came = now_us();
        let until = Instant::now() + CLIENT_PATIENCE;
        let result = loop {
            let (last, pause) = match self.ask(&token, &mut random).outcome(CLIENT_PATIENCE).await {
                Some(Outcome::Success { successor, .. }) => break ClientResult::Success { successor },
                Some(Outcome::Over { why }) => break ClientResult::Over { why },
                Some(Outcome::Later { why, retry_after_ms }) => (why, retry_after_ms.clamp(50, 500)),
                Some(Outcome::Gone | Outcome::Dropped) => ("its pod went down".to_owned(), 50),
                None => ("no answer".to_owned(), 50),
            };
            let pause = Duration::from_millis(pause);
            if Instant::now() + pause >= until {
                break ClientResult::GaveUp { last };
            }
            sleep(pause).await;
        };
        self.recorder.now(What::ClientEnded { run: None, token, came, result });
        self.clients.set(self.clients.get() - 1);
    }

    fn ask(&self, token: &str, random: &mut Random) -> Call {
        let pods = self.pods.borrow();
        let pod = &pods[random.below(pods.len())];
        let ask = Ask {
            token: token.to_owned(),
            secret: CLIENT_SECRET,
            stop: None,
            trouble: None,
            run: None,
            who: Who::Client,
        };
        pod.ask(ask, &self.recorder)
    }
}
