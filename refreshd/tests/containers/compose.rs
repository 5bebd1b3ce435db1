//! A profile of docker-compose.yml that runs, and what can be done to its containers.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The pods of a fleet.
pub(crate) const PODS: usize = 3;

/// A running project; taken down when dropped.
pub(crate) struct Project {
    name: String,
    profile: String,
    store: Store,
    /// Published by the three pods, last by the provider.
    ports: Vec<u16>,
}

/// Where the Redis is that decides.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    /// This service.
    Alone(&'static str),
    Sentinel,
    Cluster,
}

impl Store {
    /// Services one of which decides.
    fn candidates(self) -> Vec<&'static str> {
        match self {
            Self::Alone(service) => vec![service],
            Self::Sentinel => vec!["primary", "replica1", "replica2"],
            Self::Cluster => vec!["node1", "node2", "node3", "node4", "node5", "node6"],
        }
    }

    /// Another server takes over by itself.
    pub(crate) fn fails_over(self) -> bool {
        match self {
            Self::Alone(_) => false,
            Self::Sentinel | Self::Cluster => true,
        }
    }
}

impl Project {
    /// Starts it, and waits until every container says that it is well.
    pub(crate) async fn up(profile: &str, store: Store) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Held together, so that they differ.
        let free: Vec<_> = (0..=PODS).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let ports = free.iter().map(|free| free.local_addr().expect("its address").port()).collect();
        drop(free);
        let name = format!("refresh{}x{number}", std::process::id());
        let project = Self { name, profile: profile.to_owned(), store, ports };
        said(project.compose(&["up", "--detach", "--no-build"]));
        project.until_well().await;
        project
    }

    /// The store decides who is well; a container that was just broken is waited for, too.
    pub(crate) async fn until_well(&self) {
        let containers = said(self.compose(&["ps", "--quiet"]));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        loop {
            let states = states(containers.split_whitespace());
            let ill: Vec<_> = states.lines().filter(|state| !state.ends_with(" healthy")).collect();
            if ill.is_empty() && self.has_replicas() {
                return;
            }
            if tokio::time::Instant::now() > deadline {
                println!("{}", said(self.compose(&["logs", "--tail", "20"])));
                panic!("{}: {}", self.profile, ill.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether the server that decides has a replica with its data: a failover without one loses everything.
    fn has_replicas(&self) -> bool {
        if !self.store.fails_over() {
            return true;
        }
        let Some(service) = self.try_deciding() else { return false };
        self.redis_cli(&service, &["INFO", "replication"]).is_some_and(|info| info.contains("state=online"))
    }

    /// Many callers through the fleet, as the README has it.
    pub(crate) fn storm(&self) {
        let small = ["--pods", "3", "--callers", "10", "--tokens", "30", "--at-once", "5", "--json"];
        let report = said(self.compose(&[&["run", "--rm", "storm"], &small[..]].concat()));
        let report = report.find('{').map_or(&report[..], |start| &report[start..]);
        let report: serde_json::Value = serde_json::from_str(report).expect("a report");
        assert_eq!(report["passed"], true, "{report:#}");
        assert_eq!(report["without"]["families_revoked"], 30, "past the fleet each login is destroyed: {report:#}");
        assert_eq!(report["with"]["presentations"], 30, "{report:#}");
        println!("{:>10}  {}", self.profile, report["verdict"].as_str().expect("a text"));
    }

    pub(crate) fn token_url(&self, pod: usize) -> String {
        format!("http://127.0.0.1:{}/token", self.ports[pod])
    }

    pub(crate) fn provider_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[PODS])
    }

    /// The service of a pod.
    pub(crate) fn pod(&self, pod: usize) -> String {
        format!("{}-refreshd{}", self.profile, pod + 1)
    }

    /// The service of the server that decides now.
    pub(crate) async fn deciding(&self) -> String {
        for _ in 0..150 {
            if let Some(service) = self.try_deciding() {
                return service;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}: no server decides", self.profile);
    }

    fn try_deciding(&self) -> Option<String> {
        let candidates = self.store.candidates();
        let found = match self.store {
            Store::Alone(service) => Some(service),
            Store::Sentinel => {
                let words = ["-p", "26379", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
                let address = self.redis_cli("sentinel1", &words)?.lines().next()?.to_owned();
                candidates.into_iter().find(|service| self.address(service) == address)
            }
            // Only the owner of the slot answers for a key in it.
            Store::Cluster => candidates.into_iter().find(|service| {
                self.redis_cli(service, &["EXISTS", "rc:{default}:fence"])
                    .is_some_and(|reply| reply.trim().parse::<u8>().is_ok())
            }),
        };
        found.map(str::to_owned)
    }

    fn address(&self, service: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        said(docker(&["inspect", "--format", format, &self.container(service)])).trim().to_owned()
    }

    /// What redis-cli says in a container. None where that one does not run.
    fn redis_cli(&self, service: &str, words: &[&str]) -> Option<String> {
        let container = self.container(service);
        let state = said(docker(&["inspect", "--format", "{{.State.Status}}", &container]));
        if state.trim() != "running" {
            return None;
        }
        let output = docker(&[&["exec", &container, "redis-cli"], words].concat()).output().expect("docker runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn kill(&self, service: &str) {
        said(docker(&["kill", &self.container(service)]));
    }

    pub(crate) fn start(&self, service: &str) {
        said(docker(&["start", &self.container(service)]));
    }

    pub(crate) fn pause(&self, service: &str) {
        let container = self.container(service);
        // The kernel does not freeze a container that is busy at that moment; the engine gives up soon.
        let is_paused = || docker(&["pause", &container]).output().expect("docker runs").status.success();
        assert!((0..20).any(|_| is_paused()), "{service} cannot be paused");
    }

    pub(crate) fn unpause(&self, service: &str) {
        said(docker(&["unpause", &self.container(service)]));
    }

    /// Cuts it off from everybody. Its names in the network, which are lost by that.
    pub(crate) fn disconnect(&self, service: &str) -> Vec<String> {
        let container = self.container(service);
        let format = format!("{{{{json (index .NetworkSettings.Networks \"{}\").Aliases}}}}", self.network());
        let names = said(docker(&["inspect", "--format", &format, &container]));
        said(docker(&["network", "disconnect", &self.network(), &container]));
        serde_json::from_str(&names).expect("names")
    }

    pub(crate) fn connect(&self, service: &str, names: &[String]) {
        let mut command = docker(&["network", "connect"]);
        for name in names {
            command.args(["--alias", name]);
        }
        command.args([self.network(), self.container(service)]);
        said(command);
    }

    fn network(&self) -> String {
        format!("{}_default", self.name)
    }

    fn container(&self, service: &str) -> String {
        said(docker(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("label=com.docker.compose.project={}", self.name),
            "--filter",
            &format!("label=com.docker.compose.service={service}"),
        ]))
        .trim()
        .to_owned()
    }

    fn compose(&self, words: &[&str]) -> Command {
        // The plugin, or the program that it has replaced.
        let has_plugin = docker(&["compose", "version"]).output().is_ok_and(|output| output.status.success());
        let mut command = if has_plugin { docker(&["compose"]) } else { Command::new("docker-compose") };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        command.current_dir(root).args(["--project-name", &self.name, "--profile", &self.profile]).args(words);
        for (name, port) in ["PORT_1", "PORT_2", "PORT_3", "PROVIDER_PORT"].into_iter().zip(&self.ports) {
            command.env(name, port.to_string());
        }
        command
            .env("REDIS_PORT", "0")
            .env("REFRESHD_LEASE", "2s")
            .env("REFRESHD_REFRESH_TIMEOUT", "5s")
            .env("REFRESHD_WAIT_TIMEOUT", "8s")
            .env("REFRESHD_RETRY_LOST_AFTER", "3s")
            .env("REFRESHD_UNCERTAIN", "never");
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "40"]).output();
            println!("{}", logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default());
        }
        // A paused container cannot be stopped.
        for service in self.store.candidates().into_iter().map(str::to_owned).chain((0..PODS).map(|pod| self.pod(pod)))
        {
            _ = docker(&["unpause", &self.container(&service)]).output();
        }
        let down = self.compose(&["down", "--volumes", "--timeout", "1"]).output();
        assert!(down.is_ok_and(|down| down.status.success()), "{} stays behind", self.name);
    }
}

fn docker(words: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(words);
    command
}

/// A line for each: its name, and how it is.
fn states<'a>(containers: impl Iterator<Item = &'a str>) -> String {
    let health = "{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
    let words: Vec<&str> = ["inspect", "--format", health].into_iter().chain(containers).collect();
    said(docker(&words))
}

/// What it prints. It has to succeed.
#[track_caller]
fn said(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("docker runs");
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {stdout}{}", String::from_utf8_lossy(&stderr));
    stdout
}
