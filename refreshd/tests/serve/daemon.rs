//! A `refreshd serve` to test, and its callers.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::environment::without_settings;
use crate::provider::Provider;
use crate::{within, within_time};

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    reader: JoinHandle<()>,
    is_log_read: watch::Sender<bool>,
}

/// The binary with these arguments and nothing of our own environment that it would listen to.
pub(crate) fn refreshd(arguments: &[&str]) -> Command {
    let mut command = Command::from(without_settings(env!("CARGO_BIN_EXE_refreshd")));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Daemon {
    /// In front of this provider, at a free port. Where the test says nothing of how long Redis may take, a machine that is busy has
    /// more time for it than operators would give.
    pub(crate) async fn start(provider: &Provider, arguments: &[&str]) -> Self {
        let url = provider.url();
        let common = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", &url];
        let names = |flag: &str| arguments.iter().any(|argument| argument.starts_with(flag));
        let is_patient = names("--redis") && !names("--store-timeout") && !names("--lease");
        let patience: &[&str] = if is_patient { &["--store-timeout", "5s"] } else { &[] };
        Self::spawn(refreshd(&[&common, arguments, patience].concat())).await
    }

    pub(crate) async fn spawn(command: Command) -> Self {
        Self::spawn_within(Duration::from_secs(30), command).await
    }

    /// For a daemon that has much to do before it listens.
    pub(crate) async fn spawn_within(limit: Duration, mut command: Command) -> Self {
        let mut child = command.spawn().expect("refreshd starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let log = Arc::clone(&lines);
        let is_log_read = watch::Sender::new(true);
        let mut is_read = is_log_read.subscribe();
        let reader = tokio::spawn(async move {
            while is_read.wait_for(|is_read| *is_read).await.is_ok()
                && let Ok(Some(line)) = stderr.next_line().await
            {
                log.lock().expect("no panic").push(line);
                counted.send_modify(|count| *count += 1);
            }
        });
        let mut daemon = Self { child, address: ([0, 0, 0, 0], 0).into(), lines, count, reader, is_log_read };
        let line = within_time(limit, daemon.line(r#""message":"listening""#)).await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
        daemon.address = line["address"].as_str().expect("it is told").parse().expect("an address");
        daemon
    }

    /// Whether the log is read from the next line on. It is at first.
    pub(crate) fn read_log(&self, is_read: bool) {
        self.is_log_read.send_replace(is_read);
    }

    /// Waits for a line of the log.
    pub(crate) async fn logged(&self, text: &str) -> String {
        within(self.line(text)).await
    }

    /// Waits until so many lines of the log hold this.
    pub(crate) async fn logged_times(&self, text: &str, times: usize) {
        let holds = |line: &String| line.contains(text);
        let mut count = self.count.clone();
        let counted = within(
            count.wait_for(|_| self.lines.lock().expect("no panic").iter().filter(|line| holds(line)).count() >= times),
        );
        counted.await.expect("refreshd runs");
    }

    async fn line(&self, text: &str) -> String {
        let mut count = self.count.clone();
        loop {
            count.borrow_and_update();
            if let Some(line) = self.lines.lock().expect("no panic").iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            if count.changed().await.is_err() {
                panic!("refreshd ended without logging {text}: {:?}", self.lines.lock());
            }
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().expect("a pid")), signal).expect("it is ours");
        if signal == Signal::SIGSTOP {
            self.until_it_stands_still();
        }
    }

    /// On a busy machine its threads go on for a moment after they were told to stop.
    fn until_it_stands_still(&self) {
        let folder = format!("/proc/{}/task", self.pid());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let line = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            // The state stands behind the name, which is in brackets and may hold any.
            line.is_ok_and(|line| line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while let Ok(mut tasks) = std::fs::read_dir(&folder)
            && !tasks.all(is_stopped)
        {
            assert!(std::time::Instant::now() < deadline, "it does not stop");
            std::thread::yield_now();
        }
    }

    /// The CPU time that it has used so far.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id().expect("it runs"))).expect("it runs");
        let of = |task: std::fs::DirEntry| {
            let line = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            line.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default()
        };
        Duration::from_nanos(tasks.map(|task| of(task.expect("a thread"))).sum::<u64>())
    }

    /// Waits for its end: the exit code and all it logged.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = within(self.child.wait()).await.expect("it is ours");
        self.read_log(true);
        within(&mut self.reader).await.expect("no panic");
        let log = self.lines.lock().expect("no panic").join("\n");
        (status.code(), log)
    }

    /// A token request as clients send it, on a connection of its own.
    pub(crate) async fn post(&self, body: &str) -> reqwest::Response {
        self.post_to("/token", body).await
    }

    /// Sends a refresh and reads nothing: the caller goes away when the connection is dropped.
    pub(crate) async fn write_refresh(&self, body: String) -> TcpStream {
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.write((head + &body).as_bytes()).await
    }

    /// A form, at any path.
    pub(crate) async fn post_to(&self, path: &str, body: &str) -> reqwest::Response {
        let request = client().post(self.url(path)).header("content-type", FORM).body(body.to_owned());
        within(request.send()).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = within(client().get(self.url(path)).send()).await.expect("an answer");
        (answer.status().as_u16(), within(answer.text()).await.expect("text"))
    }

    /// Where its admin port listens.
    pub(crate) async fn admin(&self) -> String {
        let line: serde_json::Value =
            serde_json::from_str(&self.logged(r#""message":"listening""#).await).expect("JSON");
        format!("http://{}", line["admin"].as_str().expect("it has one"))
    }

    /// Sends bytes and gives back the connection.
    pub(crate) async fn write(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = within(TcpStream::connect(self.address)).await.expect("it listens");
        within(stream.write_all(bytes)).await.expect("written");
        stream
    }
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a refresh.
pub(crate) fn refresh(token: &str) -> String {
    format!("grant_type=refresh_token&client_id=app&refresh_token={token}")
}

/// All that comes until the other side closes.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end like any other.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).expect("ASCII")
}

/// A client without proxies, retries and redirects.
pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([])
        .build()
        .expect("a client")
}
