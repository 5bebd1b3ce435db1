//! Groups of real servers: a master with a replica and three sentinels, and a cluster of three masters, one of which has a
//! replica.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use super::RedisServer;

/// A master with a replica, and sentinels that watch them.
pub struct Group {
    /// The first is the master at start.
    pub servers: [Arc<RedisServer>; 2],
    pub sentinels: Vec<RedisServer>,
}

impl Group {
    pub const MASTER: &str = "pods";

    /// Sentinels that give a server up after it was silent for so long.
    pub async fn start(silence: Duration) -> Self {
        let master = RedisServer::start_own(&[]).await;
        let replica = master.start_replica().await;
        master.until_so(&["INFO", "replication"], |info| info.contains("state=online")).await;
        let (name, port) = (Self::MASTER, master.port());
        let lines = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {name} {}\n\
             sentinel failover-timeout {name} 5000",
            silence.as_millis()
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_sentinel(&lines).await);
        }
        for sentinel in &sentinels {
            let knows_all =
                |state: &str| state.contains("num-slaves\n1\n") && state.contains("num-other-sentinels\n2\n");
            sentinel.until_so(&["SENTINEL", "MASTER", name], knows_all).await;
        }
        Self { servers: [Arc::new(master), Arc::new(replica)], sentinels }
    }

    pub fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{}", sentinels.join(","), Self::MASTER)
    }
}

/// Nodes of a cluster.
pub struct Cluster {
    /// Three masters, each with a third of the slots.
    pub masters: Vec<Arc<RedisServer>>,
    /// Of the master that owns the namespace.
    pub replica: Option<Arc<RedisServer>>,
}

impl Cluster {
    /// With a replica of the node that owns this namespace. A node is given up after it was silent for so long.
    pub async fn start_for(namespace: &str, silence: Duration) -> Self {
        let (mut cluster, replica) = Self::start_with(1, silence).await;
        let replica = replica.into_iter().next().expect("a node more");
        let owner = cluster.owner(namespace).await;
        let id = owner.cli(&["CLUSTER", "MYID"]).await;
        replica.cli(&["CLUSTER", "REPLICATE", &id]).await;
        replica.until_so(&["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        owner.until_so(&["INFO", "replication"], |info| info.contains("state=online")).await;
        // Others vote for a replica that they know as one.
        for master in &cluster.masters {
            master.until_so(&["CLUSTER", "NODES"], |nodes| nodes.contains(&format!("slave {id}"))).await;
        }
        cluster.replica = Some(Arc::new(replica));
        cluster
    }

    pub async fn start() -> Self {
        Self::start_with(0, Duration::from_secs(15)).await.0
    }

    async fn start_with(more: usize, silence: Duration) -> (Self, Vec<RedisServer>) {
        let (mut nodes, silence) = (Vec::new(), silence.as_millis().to_string());
        for number in 0..3 + more {
            let (node, bus) = RedisServer::start_with_port(
                "--cluster-port",
                &[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    "of its own",
                    "--cluster-node-timeout",
                    &silence,
                    "--repl-diskless-sync-delay",
                    "0",
                ],
            )
            .await;
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            nodes.push((node, bus.to_string()));
        }
        for (number, (first, last)) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].into_iter().enumerate() {
            nodes[number].0.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        }
        for (node, bus) in &nodes[1..] {
            nodes[0].0.cli(&["CLUSTER", "MEET", "127.0.0.1", node.port(), bus]).await;
        }
        let known = format!("cluster_known_nodes:{}\r", nodes.len());
        for (node, _) in &nodes {
            let is_up = |info: &str| info.contains(&known) && info.contains("cluster_state:ok");
            node.until_so(&["CLUSTER", "INFO"], is_up).await;
        }
        let mut nodes: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
        let rest = nodes.split_off(3);
        (Self { masters: nodes.into_iter().map(Arc::new).collect(), replica: None }, rest)
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.masters.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// The node that owns the slot of this namespace.
    pub async fn owner(&self, namespace: &str) -> Arc<RedisServer> {
        for node in self.masters.iter().chain(&self.replica) {
            if node.tried(&["EXISTS", &format!("rc:{{{namespace}}}:any")]).await.is_ok() {
                return Arc::clone(node);
            }
        }
        panic!("nobody owns {namespace}");
    }

    /// Moves the slot of a namespace to another node, key by key.
    pub async fn move_slot(&self, namespace: &str, to: &RedisServer) {
        let from = self.owner(namespace).await;
        let slot = from.cli(&["CLUSTER", "KEYSLOT", &format!("rc:{{{namespace}}}:any")]).await;
        let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]).await, to.cli(&["CLUSTER", "MYID"]).await);
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            let keys: Vec<&str> = keys.lines().collect();
            let head = ["MIGRATE", "127.0.0.1", to.port(), "", "0", "5000", "REPLACE", "KEYS"];
            from.cli(&[&head, keys.as_slice()].concat()).await;
        }
        for node in [to, &from] {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        }
    }
}

/// Waits until this server says that it is the master.
pub async fn is_promoted(server: &RedisServer) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !server.cli(&["ROLE"]).await.starts_with("master") {
        assert!(tokio::time::Instant::now() < deadline, "nobody is promoted");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
