//! A primary, a replica and three sentinels.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;

use super::node::{LOCAL, Node, free_address, said, source};
use super::wait::wait_until;
use crate::child;

/// The name of the group.
const GROUP: &str = "faults";
/// After how much silence sentinels give a server up.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);

pub(crate) struct Sentinel {
    address: SocketAddr,
    pub(crate) source: std::net::Ipv4Addr,
    _child: Child,
}

impl Sentinel {
    fn start(binary: &Path, dir: &Path, number: u8, primary: SocketAddr) -> Self {
        let dir = dir.join(format!("sentinel-{number}"));
        std::fs::create_dir_all(&dir).expect("a directory for the sentinel");
        let address = free_address();
        let source = source(10 + number);
        let lines = [
            format!("port {}", address.port()),
            format!("bind {LOCAL}"),
            format!("bind-source-addr {source}"),
            format!("dir {}", dir.display()),
            format!("sentinel announce-ip {LOCAL}"),
            format!("sentinel announce-port {}", address.port()),
            format!("sentinel monitor {GROUP} {LOCAL} {} 2", primary.port()),
            format!("sentinel down-after-milliseconds {GROUP} {}", SILENCE.as_millis()),
            // After twice this span they may fail over again; rows follow each other sooner than after the usual six minutes.
            format!("sentinel failover-timeout {GROUP} 3000"),
        ];
        let file = dir.join("sentinel.conf");
        std::fs::write(&file, lines.join("\n") + "\n").expect("its settings");
        let log = std::fs::File::create(dir.join("log")).expect("a log for the sentinel");
        let mut command = child::own(binary, &["guard", "redis-server"]);
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        Self { address, source, _child: command.spawn().expect("redis-server") }
    }

    pub(crate) async fn says(&self, words: &[&str]) -> String {
        said(self.address, words).await.unwrap_or_default()
    }

    /// The port of the primary, as this one knows it.
    async fn names(&self) -> Option<u16> {
        let told = self.says(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP]).await;
        told.lines().last()?.parse().ok()
    }
}

pub(crate) async fn start(binary: &Path, dir: &Path) -> (Vec<Node>, Vec<Sentinel>) {
    let mut nodes = Vec::new();
    for number in 0..2 {
        let mut node = Node::planned(binary, dir, number, None).await;
        node.server.start_again(&[]).await;
        nodes.push(node);
    }
    follow(&nodes[1], &nodes[0]).await;
    let primary = nodes[0].announced();
    let sentinels: Vec<Sentinel> = (0..3).map(|number| Sentinel::start(binary, dir, number, primary)).collect();
    for sentinel in &sentinels {
        wait_until("a sentinel answers", async || sentinel.says(&["PING"]).await == "PONG").await;
        // Each second instead of every ten: else a new replica is not known by the next row.
        sentinel.says(&["SENTINEL", "DEBUG", "info-period", "1000"]).await;
    }
    are_agreed(&sentinels, primary).await;
    (nodes, sentinels)
}

pub(crate) fn url(sentinels: &[Sentinel]) -> String {
    let addresses: Vec<String> = sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
    format!("redis+sentinel://{}/{GROUP}", addresses.join(","))
}

/// Orders a failover; again where the sentinel is not ready for one.
pub(crate) async fn order(sentinel: &Sentinel) {
    wait_until("a failover is ordered", async || sentinel.says(&["SENTINEL", "FAILOVER", GROUP]).await == "OK").await;
}

/// Which node most sentinels name, and is a primary by its own word.
pub(crate) async fn decides(nodes: &[Node], sentinels: &[Sentinel]) -> Option<usize> {
    let mut votes = vec![0; nodes.len()];
    for sentinel in sentinels {
        let port = sentinel.names().await;
        if let Some(named) = nodes.iter().position(|node| Some(node.announced().port()) == port) {
            votes[named] += 1;
        }
    }
    let named = votes.iter().position(|count| *count * 2 > sentinels.len())?;
    nodes[named].is_primary().await.then_some(named)
}

/// The other one is the replica again, and all sentinels know it.
pub(crate) async fn restore(nodes: &mut [Node], decides: usize, sentinels: &[Sentinel]) {
    let (primary, other) = (nodes[decides].announced(), 1 - decides);
    if !nodes[other].server.is_running() {
        nodes[other].server.start_again(&["--replicaof", LOCAL, &primary.port().to_string()]).await;
    }
    follow(&nodes[other], &nodes[decides]).await;
    are_agreed(sentinels, primary).await;
}

async fn follow(replica: &Node, primary: &Node) {
    let port = primary.announced().port().to_string();
    wait_until("a replica has all", async || {
        // Again and again: a sentinel that is behind may have sent it elsewhere.
        let info = replica.says(&["INFO", "replication"]).await;
        let is_there = info.contains(&format!("master_port:{port}\r")) && info.contains("master_link_status:up");
        if !info.contains(&format!("master_port:{port}\r")) {
            replica.says(&["REPLICAOF", LOCAL, &port]).await;
        }
        is_there && primary.says(&["INFO", "replication"]).await.contains("state=online")
    })
    .await;
}

/// All of them name this primary, and know each other and a replica that is well.
async fn are_agreed(sentinels: &[Sentinel], primary: SocketAddr) {
    for sentinel in sentinels {
        wait_until("a sentinel knows the group", async || {
            let master = sentinel.says(&["SENTINEL", "MASTER", GROUP]).await;
            let replicas = sentinel.says(&["SENTINEL", "REPLICAS", GROUP]).await;
            sentinel.names().await == Some(primary.port())
                && master.contains("flags\nmaster\n")
                && master.contains("num-slaves\n1\n")
                && master.contains("num-other-sentinels\n2\n")
                && replicas.contains("flags\nslave\n")
                && replicas.contains("master-link-status\nok\n")
        })
        .await;
    }
}
