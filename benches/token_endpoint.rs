//! How many token requests a second does `refreshd serve` answer, and how much latency does it add: passed through,
//! refreshed, joined, and late?
//!
//! The peer is nginx as a plain reverse proxy in front of the same provider stub, with the same requests over the same
//! number of connections. Stub, proxy and client share the machine, so only the ratios say something. Latency is added
//! to what the stub takes when it is asked directly.

use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use refresh_coordinator_benches::child::{self, Child};
use refresh_coordinator_benches::distance::redis_at;
use refresh_coordinator_benches::pods::answer_json;
use refresh_coordinator_benches::redis_server::{RedisServer, free_port};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long the stub takes for a token that is slow.
const SLOW: Duration = Duration::from_millis(10);

/// Answers every token request. A request with `slow` in it takes a while.
async fn stub() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("its address").port());
    let body = answer_json(0);
    let answer: Arc<str> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
    loop {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(end) = message(&mut socket, &mut read).await {
                if read[..end].windows(5).any(|bytes| bytes == b"=slow") {
                    slowly().await;
                }
                read.drain(..end);
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Not tokio's sleep: its timers go off in whole milliseconds, and what a proxy takes before it asks would vanish in the
/// rounding, or count as one more.
async fn slowly() {
    tokio::task::spawn_blocking(|| std::thread::sleep(SLOW)).await.expect("no panic");
}

/// Reads until a whole message is there, which ends at the place that is answered. None: the connection ended.
async fn message(socket: &mut TcpStream, read: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(head) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = std::str::from_utf8(&read[..head]).expect("a head is ASCII").to_ascii_lowercase();
            let length = text.split("content-length:").nth(1).expect("a length").lines().next().expect("a line");
            let end = head + 4 + length.trim().parse::<usize>().expect("a number");
            if read.len() >= end {
                return Some(end);
            }
        }
        if socket.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Something that is not coordinated.
    PassThrough,
    /// A token of its own.
    Refresh,
    /// The same slow token as so many others.
    Joined(u64),
    /// A token whose outcome is kept.
    Late,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Ask {
    fn request(self, run: u64) -> String {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let body = match self {
            Self::PassThrough => "grant_type=client_credentials&client_id=app&client_secret=secret".to_owned(),
            Self::Refresh => {
                format!("grant_type=refresh_token&client_id=app&client_secret=secret&refresh_token=r{number:040}")
            }
            Self::Joined(callers) => format!(
                "grant_type=refresh_token&client_id=app&client_secret=secret&refresh_token=slow{run}-{:030}",
                number / callers
            ),
            Self::Late => {
                format!("grant_type=refresh_token&client_id=app&client_secret=secret&refresh_token=late{run:040}")
            }
        };
        format!(
            "POST /token HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

struct Measured {
    per_second: f64,
    p50_us: f64,
}

/// So many connections ask as fast as they are answered.
async fn load(port: u16, ask: Ask, connections: usize, span: Duration) -> Measured {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
        socket.set_nodelay(true).expect("a TCP socket");
        clients.spawn(async move {
            let (mut read, mut latencies) = (Vec::new(), Vec::new());
            // The first tenth of the time warms up.
            let (from, until) = (Instant::now() + span / 10, Instant::now() + span);
            loop {
                let asked = Instant::now();
                if asked > until {
                    return latencies;
                }
                socket.write_all(ask.request(run).as_bytes()).await.expect("sent");
                let end = message(&mut socket, &mut read).await.expect("an answer");
                let status = std::str::from_utf8(&read[9..12]).expect("ASCII");
                assert_eq!(status, "200", "{}", String::from_utf8_lossy(&read[..end]));
                read.drain(..end);
                if asked > from {
                    latencies.push(asked.elapsed().as_nanos() as f64 / 1e3);
                }
            }
        });
    }
    let latencies = clients.join_all().await.concat();
    Measured { per_second: latencies.len() as f64 / (span * 9 / 10).as_secs_f64(), p50_us: median(&latencies) }
}

/// What two round trips cost, and the scripts in Redis, where Redis and both cores rest between them while the provider
/// works, and where they do not: a slow provider is not all that a joined refresh waits for longer.
async fn asleep(report: &mut Report, redis: &RedisServer, port: u16, rounds: usize, span: Duration) {
    let script = redis::Script::new("return {'lead', '1', 'nothing'}");
    let mut connection = redis.connect().await;
    script.load_async(&mut connection).await.expect("loaded");
    let (mut in_redis, mut trips) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
    for _ in 0..rounds {
        for (index, ask, connections) in [(0, Ask::Joined(8), 8), (1, Ask::Refresh, 1)] {
            redis.reset_stats().await;
            load(port, ask, connections, span).await;
            // Two scripts a flight.
            let scripts = redis.stats().await.of("evalsha");
            in_redis[index].push(2.0 * scripts.usec as f64 / scripts.calls as f64);
        }
        let until = Instant::now() + span;
        while Instant::now() < until {
            for (index, waits) in trips.iter_mut().enumerate() {
                let mut wait = Duration::ZERO;
                for trip in 0..2 {
                    if index == 0 && trip == 1 {
                        slowly().await;
                    }
                    let asked = Instant::now();
                    script.prepare_invoke().invoke_async::<Vec<String>>(&mut connection).await.expect("an answer");
                    wait += asked.elapsed();
                }
                waits.push(wait.as_nanos() as f64 / 1e3);
            }
        }
    }
    let [cold, warm] = in_redis.map(|all| median(&all));
    let [apart, at_once] = trips.map(|all| median(&all));
    let row = Row::new("joined refresh: of it Redis' own time for both scripts", cold, "us");
    report.row(row.beside("where flights follow at once", warm));
    let row = Row::new(format!("two bare EVALSHA, the second after {SLOW:?} of rest"), apart, "us");
    report.row(row.beside("two at once", at_once));
    report.limit(format!(
        "joined refresh: a flight asks Redis before it asks the provider and once more before anybody is answered, which \
         nginx does not, and all of them rest while the provider works: two bare round trips with such a rest between \
         them take {apart:.0} us (at once {at_once:.0}), and Redis itself takes {cold:.0} us for both scripts (at once \
         {warm:.0}). What is left is what the same daemon adds without Redis: it stands beside"
    ));
}

/// A server that ends with the value.
struct Server {
    process: Process,
    port: u16,
    nginx: Option<tempfile::TempDir>,
}

impl Server {
    fn nginx(upstream: u16) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .concat();
        let config = format!(
            "worker_processes auto;\npid nginx.pid;\nerror_log error.log;\nevents {{ worker_connections 2048; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 100000000;\n{temporary}\
             upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{port};\nlocation / {{ proxy_pass http://provider; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; }} }}\n}}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).expect("written");
        let process = nginx(&dir).args(["-g", "daemon off;"]).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { process, port, nginx: Some(dir) }.ready())
    }

    fn refreshd(binary: &PathBuf, upstream: u16, redis: Option<&str>) -> Self {
        let port = free_port();
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REFRESHD_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--upstream", &format!("http://127.0.0.1:{upstream}/token")]);
        command.args(WIDE);
        if let Some(redis) = redis {
            command.args(["--redis", redis]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("refreshd starts");
        Self { process, port, nginx: None }.ready()
    }

    fn ready(self) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on {}", self.port);
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &self.nginx {
            // Its workers would outlive a master that is killed.
            Some(dir) => {
                let stopped = nginx(dir).args(["-s", "stop"]).stderr(Stdio::null()).status();
                assert!(stopped.is_ok_and(|status| status.success()), "nginx stays behind");
            }
            None => self.process.kill().expect("the process this bench started"),
        }
        self.process.wait().expect("it ends");
    }
}

fn nginx(dir: &tempfile::TempDir) -> Command {
    let program = if PathBuf::from("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    command.arg("-p").arg(dir.path()).arg("-e").arg("error.log").arg("-c").arg("nginx.conf");
    command
}

/// Rules that refuse nobody.
const WIDE: [&str; 6] = [
    "--max-refresh-attempts=1000000",
    "--max-concurrent-refreshes=100000",
    "--breaker-max-failures=1000000",
    "--namespace=bench",
    "--memory-pressure=off",
    "--log=warn",
];

/// Built by `benches/run`, before the benches and apart from them.
fn refreshd() -> PathBuf {
    let binary = refresh_coordinator_benches::report::directory().join("../release/refreshd");
    assert!(binary.exists(), "refreshd is not built: cargo build --release --package refreshd");
    binary
}

fn main() {
    let runtime = runtime();
    if child::role().is_some() {
        runtime.block_on(stub());
    } else if is_wanted() {
        runtime.block_on(runtime.spawn(run())).expect("no panic");
    }
}

async fn run() {
    let mut report = Report::open(
        "token_endpoint",
        "How many token requests a second does refreshd answer, and how much latency does it add?",
    );
    let span = Duration::from_millis(if is_quick() { 400 } else { 1_500 });
    let rounds = rounds(5);
    report.setting(format!("refreshd serve {}", WIDE.join(" ")));
    report.setting(format!(
        "the stub answers 1.5 KB at once, for joined refreshes after {SLOW:?}; median of {rounds} rounds of {span:?}, in turn"
    ));

    let mut provider = Child::start("stub", &[]);
    let stub: u16 = provider.hear().await.parse().expect("a port");
    let nginx = Server::nginx(stub);
    if nginx.is_none() {
        report.note("nginx is missing (Debian: apt-get install nginx-light), so there is nothing to compare with");
    }
    let redis = RedisServer::start().await;
    let binary = refreshd();
    let on_redis = Server::refreshd(&binary, stub, Some(redis.url()));
    let embedded = Server::refreshd(&binary, stub, None);
    let far = Server::refreshd(&binary, stub, Some(&redis_at(redis.url(), Duration::from_millis(5))));

    // What, how many connections for the throughput, and how many for the latency. Joining takes more than one.
    let asks = [
        ("pass-through", Ask::PassThrough, Ask::PassThrough, 64, 1, true),
        ("joined refresh", Ask::Joined(128), Ask::Joined(8), 128, 8, true),
        ("latecomer", Ask::Late, Ask::Late, 64, 1, false),
        ("coordinated refresh", Ask::Refresh, Ask::Refresh, 64, 1, false),
    ];
    for (name, busy, calm, many, few, has_target) in asks {
        let servers: Vec<(&str, u16)> = [
            Some(("stub", stub)),
            nginx.as_ref().map(|nginx| ("nginx", nginx.port)),
            Some(("refreshd on Redis", on_redis.port)),
            Some(("refreshd alone", embedded.port)),
            (calm == Ask::PassThrough).then_some(("refreshd on a Redis 5 ms away", far.port)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut measured: Vec<(Vec<f64>, Vec<f64>)> = servers.iter().map(|_| Default::default()).collect();
        for _ in 0..rounds {
            for ((_, port), (speeds, _)) in servers.iter().zip(&mut measured) {
                speeds.push(load(*port, busy, many, span).await.per_second);
            }
            // What is added is a small difference of what is measured: in short turns the machine is the same for all.
            for _ in 0..5 {
                for ((_, port), (_, waits)) in servers.iter().zip(&mut measured) {
                    waits.push(load(*port, calm, few, span / 10).await.p50_us);
                }
            }
        }
        let result = |server: &str| {
            let index = servers.iter().position(|(name, _)| *name == server)?;
            Some((median(&measured[index].0), median(&measured[index].1)))
        };
        let direct = result("stub").expect("measured");
        report.row(Row::new(format!("{name}: the stub itself, {many} connections"), direct.0, "per s"));
        let peer = result("nginx").map(|(speed, wait)| (speed, wait - direct.1));
        if let Some((speed, added)) = peer {
            report.row(Row::new(format!("{name}: nginx, {many} connections"), speed, "per s"));
            report.row(Row::new(format!("{name}: nginx adds, {few} connections"), added, "us"));
        }
        for server in ["refreshd on Redis", "refreshd alone"] {
            let (speed, wait) = result(server).expect("measured");
            let added = wait - direct.1;
            let mut speed = Row::new(format!("{name}: {server}, {many} connections"), speed, "per s");
            let mut wait = Row::new(format!("{name}: {server} adds, {few} connections"), added, "us");
            if let Some((nginx_speed, nginx_added)) = peer {
                speed = speed.beside("nginx", nginx_speed);
                wait = wait.beside("nginx", nginx_added);
                if has_target && server == "refreshd on Redis" {
                    speed = speed.ratio_at_least(0.7);
                    wait = wait.ratio_at_most(1.3);
                }
            }
            report.row(speed);
            report.row(wait);
        }
        if let Some((_, wait)) = result("refreshd on a Redis 5 ms away") {
            let near = result("refreshd on Redis").expect("measured").1;
            let row = Row::new(format!("{name}: refreshd on a Redis 5 ms away, {few} connections"), wait, "us");
            // Nothing of the 5,000 us.
            report.row(row.beside("a near Redis", near).ratio_at_most(1.3));
        }
    }
    report.limit(
        "pass-through: as many system calls as nginx makes, two writes and two reads (counted once); what is left of the \
         latency is that an idle core has to be woken twice",
    );
    asleep(&mut report, &redis, on_redis.port, rounds, span / 2).await;
}
