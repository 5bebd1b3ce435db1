//! Proxies in front of three refreshd, as docs/beside-nginx.md and docs/beside-haproxy.md set them up: the commands and the
//! configuration of the page are run as they stand there, at other ports.

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::daemon::{Daemon, FORM, client, refreshd};
use crate::left_out::left_out;
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::wait::until;
use crate::within;

/// The ports of the pages: the proxy's, then those of three pods.
const PORTS: [&str; 4] = ["8400", "8401", "8402", "8403"];
const SESSIONS: usize = 12;

/// What a page has in its blocks.
pub(crate) struct Page {
    /// How the pods are started, a line each.
    pods: Vec<String>,
    /// The proxy's configuration.
    pub(crate) configuration: String,
    /// Where the proxy is asked.
    port: u16,
    pod_ports: Vec<u16>,
}

impl Page {
    /// With free ports in place of those of the page. `language` is that of the configuration's block.
    pub(crate) fn read(name: &str, language: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let text = std::fs::read_to_string(path).expect("the page");
        let ports = PORTS.map(|_| free_port());
        let moved = |block: String| {
            PORTS.iter().zip(ports).fold(block, |text, (old, new)| text.replace(&format!(":{old}"), &format!(":{new}")))
        };
        let pods = moved(block(&text, "sh")).lines().map(str::to_owned).collect();
        let configuration = moved(block(&text, language));
        Self { pods, configuration, port: ports[0], pod_ports: ports[1..].to_vec() }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// Starts the pods of the page.
    async fn pods(&self, provider: &Provider, redis: &RedisServer) -> Vec<Daemon> {
        let start = |line: &String| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!((words[0], words.last()), ("refreshd", Some(&"&")), "{line}");
            let mut command = refreshd(&words[1..words.len() - 1]);
            // The page says that these come by the environment.
            command.env("REFRESHD_UPSTREAM", provider.url()).env("REFRESHD_REDIS", redis.url());
            command.env("REFRESHD_LOG_FORMAT", "json");
            // A machine that is busy with other tests is no outage of Redis.
            command.env("REFRESHD_STORE_TIMEOUT", "10s");
            Daemon::spawn(command)
        };
        join_all(self.pods.iter().map(start)).await
    }
}

/// A port that no connection and no other test is given: below those that systems give by themselves.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 8000;
    let mut ports = std::iter::from_fn(|| {
        let number = u32::from(NEXT.fetch_add(1, Ordering::SeqCst)) + first;
        Some(u16::try_from(16_000 + number % 8000).expect("less than 24,000"))
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("it does not end")
}

/// The first block of a page in this language.
fn block(page: &str, language: &str) -> String {
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("it ends").0.to_owned()
}

pub(crate) fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where users do not look.
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = dirs.map(|dir| dir.join(program)).find(|path| path.is_file());
    if found.is_none() {
        left_out(&format!("{program} in front of refreshd: {program} is not here"));
    }
    found
}

/// A running proxy; ended when dropped.
pub(crate) struct Proxy(Child);

impl Proxy {
    pub(crate) async fn start(command: &mut Command, page: &Page) -> Self {
        let mut proxy = Self(command.stdin(Stdio::null()).spawn().expect("the proxy starts"));
        within(async {
            while tokio::net::TcpStream::connect(("127.0.0.1", page.port)).await.is_err() {
                assert!(proxy.0.try_wait().expect("it is a child").is_none(), "the proxy ended");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its workers end with it.
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().expect("a pid"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Rotates `<session>.<generation>`, and takes a token that comes twice for stolen.
async fn strict_provider() -> Provider {
    let used = Arc::new(Mutex::new(HashSet::new()));
    Provider::start(move |seen| {
        let token = seen.body.split('&').find_map(|pair| pair.strip_prefix("refresh_token=")).expect("a token");
        let token = token.to_owned();
        let is_new = used.lock().expect("no panic").insert(token.clone());
        async move {
            if !is_new {
                return json(400, r#"{"error":"invalid_grant"}"#);
            }
            let (session, generation) = token.split_once('.').expect("a session and a generation");
            let next = generation.parse::<u32>().expect("a number") + 1;
            json(200, &format!(r#"{{"access_token":"a","expires_in":300,"refresh_token":"{session}.{next}"}}"#))
        }
    })
    .await
}

/// Clients that refresh one session each, one refresh after the other, through the proxy.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(url: &str) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let run = |session| {
            let (url, is_over, answered) = (url.to_owned(), Arc::clone(&is_over), Arc::clone(&answered));
            tokio::spawn(async move {
                let (client, mut generation, mut errors) = (client(), 1, Vec::new());
                while !is_over.load(Ordering::SeqCst) && errors.is_empty() {
                    let token = format!("{session}.{generation}");
                    let body = format!("grant_type=refresh_token&client_id=app&client_secret=pw&refresh_token={token}");
                    let request = client.post(&url).header("content-type", FORM).body(body);
                    match within(request.send()).await {
                        Ok(answer) if answer.status() == 200 => generation += 1,
                        Ok(answer) => errors.push(format!("{token}: {} {:?}", answer.status(), answer.text().await)),
                        Err(error) => errors.push(format!("{token}: {error:?}")),
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                errors
            })
        };
        let clients = (0..SESSIONS).map(run).collect();
        Self { is_over, answered, clients }
    }

    async fn has_more(&self, answers: usize) {
        let there = self.answered.load(Ordering::SeqCst) + answers;
        until("more answers", async || {
            self.answered.load(Ordering::SeqCst) >= there || self.clients.iter().all(|client| client.is_finished())
        })
        .await;
    }

    /// How many were answered, and what was no answer with tokens.
    async fn ended(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::SeqCst);
        let errors = join_all(self.clients).await.into_iter().flat_map(|errors| errors.expect("no panic")).collect();
        (self.answered.load(Ordering::SeqCst), errors)
    }
}

/// One of three pods is told to end under load: every caller is answered, all by the defaults of refreshd.
pub(crate) async fn pod_ends_and_nobody_notices(page: Page, start: impl AsyncFn(&Page) -> Proxy) {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let provider = strict_provider().await;
    let mut pods = page.pods(&provider, &redis).await;
    assert_eq!(pods.len(), 3);
    let _proxy = start(&page).await;
    let load = Load::start(&page.url());
    load.has_more(300).await;

    let ending = pods.remove(1);
    ending.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, log) = ending.ended().await;
    load.has_more(300).await;
    let (answered, errors) = load.ended().await;

    println!("{answered} answers, {} of them errors", errors.len());
    assert!(errors.is_empty(), "{errors:?}\n{log}");
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}

/// How often a POST reaches pods that read it and are gone then; and what the caller is told.
pub(crate) async fn presentations_to_dying_pods(page: &Page, start: impl AsyncFn(&Page) -> Proxy) -> (usize, u16) {
    let read = Arc::new(AtomicUsize::new(0));
    for port in &page.pod_ports {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", *port)).await.expect("it was free");
        let read = Arc::clone(&read);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                let read = Arc::clone(&read);
                tokio::spawn(async move {
                    let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
                    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                        text.extend_from_slice(&bytes[..count]);
                        if text.starts_with(b"GET /readyz ") && text.ends_with(b"\r\n\r\n") {
                            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                            return;
                        }
                        if text.ends_with(b"code=once") {
                            read.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                });
            }
        });
    }
    let _proxy = start(page).await;

    let request =
        client().post(page.url()).header("content-type", FORM).body("grant_type=authorization_code&code=once");
    let status = within(request.send()).await.expect("the proxy answers").status().as_u16();

    (read.load(Ordering::SeqCst), status)
}
