//! A Cluster: three primaries with a third of the slots each, and a replica of the one that owns the namespace.

use std::path::Path;

use super::node::{LOCAL, Node, free_address};
use super::wait::wait_until;

const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

pub(crate) async fn start(binary: &Path, dir: &Path) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 0..4 {
        let bus = free_address().port();
        let mut node = Node::planned(binary, dir, number, Some(bus)).await;
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
        let rest = ["--cluster-require-full-coverage", "no"];
        node.server.always.extend(settings.iter().chain(&rest).map(|word| (*word).to_owned()));
        node.server.start_again(&[]).await;
        node.says(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
        nodes.push(node);
    }
    for (node, (first, last)) in nodes.iter().zip(SLOTS) {
        node.says(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
    }
    for node in &nodes[1..] {
        let (data, bus) = (node.announced().port().to_string(), node.bus().port().to_string());
        nodes[0].says(&["CLUSTER", "MEET", LOCAL, &data, &bus]).await;
    }
    are_agreed(&nodes).await;
    nodes
}

pub(crate) fn url(nodes: &[Node]) -> String {
    let addresses: Vec<String> = nodes.iter().map(|node| node.announced().to_string()).collect();
    format!("redis+cluster://{}", addresses.join(","))
}

fn key(namespace: &str) -> String {
    format!("rc:{{{namespace}}}:any")
}

/// Which node serves the namespace.
pub(crate) async fn decides(nodes: &[Node], namespace: &str) -> Option<usize> {
    for (number, node) in nodes.iter().enumerate() {
        if is_owner(node, namespace).await {
            return Some(number);
        }
    }
    None
}

pub(crate) async fn is_owner(node: &Node, namespace: &str) -> bool {
    !node.says(&["EXISTS", &key(namespace)]).await.is_empty()
}

/// The node that serves no slots: the replica, or one that is to be.
pub(crate) async fn replica(nodes: &[Node]) -> Option<usize> {
    for (number, node) in nodes.iter().enumerate() {
        let all = node.says(&["CLUSTER", "NODES"]).await;
        // Slots are told behind the eight words of a node.
        if all.lines().any(|line| line.contains("myself") && line.split_whitespace().count() == 8) {
            return Some(number);
        }
    }
    None
}

/// All nodes run and know each other, and the owner has a replica that has all.
pub(crate) async fn restore(nodes: &mut [Node], decides: usize) {
    for node in nodes.iter_mut().filter(|node| !node.server.is_running()) {
        node.server.start_again(&[]).await;
    }
    let id = nodes[decides].says(&["CLUSTER", "MYID"]).await;
    wait_until("the owner has a replica", async || {
        let Some(replica) = replica(nodes).await else { return false };
        if !nodes[replica].says(&["CLUSTER", "NODES"]).await.contains(&format!("myself,slave {id}")) {
            nodes[replica].says(&["CLUSTER", "REPLICATE", &id]).await;
        }
        let has_all = nodes[replica].says(&["INFO", "replication"]).await.contains("master_link_status:up");
        has_all && nodes[decides].says(&["INFO", "replication"]).await.contains("state=online")
    })
    .await;
    are_agreed(nodes).await;
    for node in &*nodes {
        // Others vote for a replica that they know as one.
        wait_until("all know the replica", async || {
            node.says(&["CLUSTER", "NODES"]).await.contains(&format!("slave {id}"))
        })
        .await;
    }
}

async fn are_agreed(nodes: &[Node]) {
    let known = format!("cluster_known_nodes:{}\r", nodes.len());
    for node in nodes {
        wait_until("the nodes know each other", async || {
            let info = node.says(&["CLUSTER", "INFO"]).await;
            let all = node.says(&["CLUSTER", "NODES"]).await;
            let is_well = !all.contains("fail") && !all.contains("handshake") && !all.contains("disconnected");
            info.contains(&known) && info.contains("cluster_state:ok") && is_well
        })
        .await;
    }
}

/// A node that owns slots and not this one.
pub(crate) async fn another(nodes: &[Node], decides: usize) -> usize {
    let replica = replica(nodes).await;
    (0..nodes.len()).find(|number| *number != decides && Some(*number) != replica).expect("BUG: there are four")
}

/// Moves the slot of the namespace, as redis-cli does it.
pub(crate) async fn move_slot(from: &Node, to: &Node, namespace: &str) {
    let slot = from.says(&["CLUSTER", "KEYSLOT", &key(namespace)]).await;
    let (from_id, to_id) = (from.says(&["CLUSTER", "MYID"]).await, to.says(&["CLUSTER", "MYID"]).await);
    to.says(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    from.says(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    let port = to.server.address.port().to_string();
    loop {
        let keys = from.says(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
        if keys.is_empty() {
            break;
        }
        let mut words = vec!["MIGRATE", LOCAL, &port, "", "0", "5000", "REPLACE", "KEYS"];
        words.extend(keys.lines());
        from.says(&words).await;
    }
    for node in [to, from] {
        node.says(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
    }
}
