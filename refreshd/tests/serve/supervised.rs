//! Under systemd and in Kubernetes: what a service manager that listens is told, and that what is in deploy/ runs this program with
//! settings that it knows.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, refreshd};
use crate::provider::{Provider, json};
use crate::within;

/// The socket that `NOTIFY_SOCKET` names.
struct Manager {
    socket: tokio::net::UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { socket: tokio::net::UnixDatagram::from_std(socket).expect("a socket"), folder }
    }

    async fn start(&self, provider: &Provider, watchdog: Option<Duration>) -> Daemon {
        let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--drain-delay", "0s", "--upstream", &provider.url()]);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        if let Some(period) = watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        Daemon::spawn(command).await
    }

    /// The next message that has this line.
    async fn told(&self, line: &str) -> String {
        within(async {
            let mut message = vec![0; 4096];
            loop {
                let length = self.socket.recv(&mut message).await.expect("a message");
                let message = String::from_utf8_lossy(&message[..length]).into_owned();
                if message.lines().any(|told| told == line) {
                    return message;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn service_manager_is_told_of_start_reload_and_end() {
    let (manager, provider) = (Manager::new(), Provider::start(async |_| json(200, "{}")).await);

    let daemon = manager.start(&provider, None).await;
    let ready = manager.told("READY=1").await;
    daemon.signal(Signal::SIGHUP);
    let reloading = manager.told("RELOADING=1").await;
    manager.told("READY=1").await;
    daemon.signal(Signal::SIGTERM);
    let stopping = manager.told("STOPPING=1").await;

    assert!(ready.contains(&format!("STATUS=listening at {}", daemon.address)), "{ready}");
    // It is refused by systemd without.
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    // The drain of 25 s, and what is completed after it.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=205000000"), "{stopping}");
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[tokio::test]
async fn watchdog_hears_again_and_again_that_it_lives() {
    let (manager, provider) = (Manager::new(), Provider::start(async |_| json(200, "{}")).await);

    let _daemon = manager.start(&provider, Some(Duration::from_millis(50))).await;

    for _ in 0..3 {
        manager.told("WATCHDOG=1").await;
    }
}

/// One that is busy, or stands still, takes a few messages and no more.
#[tokio::test]
async fn manager_that_takes_no_messages_holds_nobody_up() {
    let (manager, provider) = (Manager::new(), Provider::start(async |_| json(200, "{}")).await);
    let daemon = manager.start(&provider, Some(Duration::from_millis(10))).await;

    for round in 1..=20 {
        daemon.signal(Signal::SIGHUP);
        daemon.logged_times("the files of the upstream were read again", round).await;
    }

    assert_eq!(daemon.get("/healthz").await.0, 200);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await.0, Some(0));
}

/// As systemd has it where a path would be seen by others (`sd_notify(3)`).
#[cfg(target_os = "linux")]
#[tokio::test]
async fn manager_whose_socket_has_a_name_and_no_path_is_told() {
    use std::os::linux::net::SocketAddrExt;

    let name = format!("refreshd-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let mut command = refreshd(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--upstream", &provider.url()]).env("NOTIFY_SOCKET", format!("@{name}"));

    let _daemon = Daemon::spawn(command).await;

    let mut message = [0; 4096];
    let length = socket.recv(&mut message).expect("a message");
    assert!(message[..length].starts_with(b"READY=1\n"), "{}", String::from_utf8_lossy(&message[..length]));
}

/// What `refreshd serve` can be told.
async fn help() -> String {
    let told = refreshd(&["serve", "--help"]).stdout(Stdio::piped()).output().await.expect("it runs");
    String::from_utf8(told.stdout).expect("UTF-8")
}

#[tokio::test]
async fn unit_runs_this_program_with_settings_that_it_knows() {
    let unit = include_str!("../../../deploy/refreshd.service");
    let page = include_str!("../../../docs/production.md");
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("redis-password");
    std::fs::write(&password, "secret\n").expect("written");
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).expect("it is set");
    let block = page.split_once(&format!("tee {} ", value("EnvironmentFile="))).expect("the page writes it").1;
    let block = block.split_once("<<'END'\n").and_then(|(_, rest)| rest.split_once("\nEND\n")).expect("its lines").0;
    assert!(page.contains(&format!("useradd --system --shell /usr/sbin/nologin {}\n", value("User="))));

    // As unit and page have it, but for the place of the program and of others, and a port that may be taken.
    let words: Vec<_> = value("ExecStart=/usr/local/bin/refreshd ").split(' ').collect();
    let (mut command, known) = (refreshd(&words), help().await);
    for (name, value) in block.lines().map(|line| line.split_once('=').expect("a name and a value")) {
        assert!(known.contains(name), "{name}");
        command.env(name, value);
    }
    command.env("REFRESHD_UPSTREAM", provider.url()).env("REFRESHD_REDIS_PASSWORD_FILE", password);
    command.env("REFRESHD_REDIS", "redis://127.0.0.1:1").env("REFRESHD_LISTEN", "127.0.0.1:0");
    command.env("REFRESHD_LOG_FORMAT", "json");

    let daemon = Daemon::spawn(command).await;

    daemon.logged("listening").await;
}

#[tokio::test]
async fn manifest_runs_this_program_with_settings_that_it_knows() {
    let manifest = include_str!("../../../deploy/kubernetes.yaml");
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("redis-password");
    std::fs::write(&password, "secret\n").expect("written");
    let settings = manifest.lines().filter_map(|line| line.strip_prefix("  REFRESHD_")?.split_once(": "));
    let own = [
        ("UPSTREAM", provider.url()),
        // Nobody is there: it comes up all the same.
        ("REDIS", "redis://127.0.0.1:1".to_owned()),
        ("REDIS_PASSWORD_FILE", password.display().to_string()),
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("ADMIN", "127.0.0.1:0".to_owned()),
    ];
    let (mut command, known) = (refreshd(&["serve"]), help().await);
    for (name, value) in settings {
        let is_known = ['=', ']'].iter().any(|end| known.contains(&format!("[env: REFRESHD_{name}{end}")));
        assert!(is_known || name == "LOG_FORMAT", "{name}");
        let value = own.iter().find(|(of, _)| *of == name).map_or(value, |(_, value)| value.as_str());
        // Numbers stand in quotes: all that a ConfigMap holds is text.
        command.env(format!("REFRESHD_{name}"), value.trim_matches('"'));
    }

    let daemon = Daemon::spawn(command).await;

    let listening: serde_json::Value = serde_json::from_str(&daemon.logged("listening").await).expect("logs are JSON");
    assert!(listening["admin"].is_string(), "{listening}");
    // What is asked, and how long the end may take, are what the manifest says.
    assert!(["path: /healthz", "path: /readyz", "containerPort: 8401"].iter().all(|has| manifest.contains(has)));
    let seconds = |name: &str| {
        let value = manifest.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).expect(name);
        value.trim_end_matches('s').parse::<u64>().expect("seconds")
    };
    assert!(seconds("terminationGracePeriodSeconds") > seconds("REFRESHD_DRAIN") + 3);
}
