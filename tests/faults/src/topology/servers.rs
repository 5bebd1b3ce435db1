//! The servers of a fleet, one of which decides: the only one there is, or as sentinels and nodes say.

use std::ops::{Deref, DerefMut};
use std::path::Path;

use super::node::Node;
use super::sentinel::{self, Sentinel};
use super::slots;
use super::wait::wait_until;
use crate::redis_server::RedisServer;
use crate::transport::Transport;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Standalone,
    Sentinel,
    Cluster,
}

/// Behaves as the server that decides.
pub(crate) struct Servers {
    pub(crate) topology: Topology,
    namespace: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) decides: usize,
    pub(crate) sentinels: Vec<Sentinel>,
}

impl Deref for Servers {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.nodes[self.decides].server
    }
}

impl DerefMut for Servers {
    fn deref_mut(&mut self) -> &mut RedisServer {
        &mut self.nodes[self.decides].server
    }
}

impl Servers {
    /// The transport is that of a single server.
    pub(crate) async fn start(
        topology: Topology,
        transport: Transport,
        namespace: &str,
        binary: &Path,
        dir: &Path,
    ) -> Self {
        let (nodes, sentinels) = match topology {
            Topology::Standalone => {
                (vec![Node::alone(RedisServer::start_over(transport, binary, dir).await)], Vec::new())
            }
            Topology::Sentinel => sentinel::start(binary, dir).await,
            Topology::Cluster => (slots::start(binary, dir).await, Vec::new()),
        };
        let mut servers = Self { topology, namespace: namespace.to_owned(), nodes, decides: 0, sentinels };
        servers.restore().await;
        servers
    }

    /// Where pods find the server that decides by themselves.
    pub(crate) fn url(&self) -> Option<String> {
        match self.topology {
            Topology::Standalone => None,
            Topology::Sentinel => Some(sentinel::url(&self.sentinels)),
            Topology::Cluster => Some(slots::url(&self.nodes)),
        }
    }

    /// Waits until it is clear who decides, and asks that one from now on.
    pub(crate) async fn settle(&mut self) {
        if self.topology == Topology::Standalone {
            return;
        }
        let mut decides = None;
        wait_until("somebody decides", async || {
            decides = match self.topology {
                Topology::Standalone => Some(0),
                Topology::Sentinel => sentinel::decides(&self.nodes, &self.sentinels).await,
                Topology::Cluster => slots::decides(&self.nodes, &self.namespace).await,
            };
            decides.is_some()
        })
        .await;
        self.decides = decides.expect("BUG: it was waited for");
        // A server that is promoted closes its connections.
        self.nodes[self.decides].server.ready().await;
    }

    /// Whether the server that decided does so still.
    pub(crate) async fn decides_still(&self) -> bool {
        let node = &self.nodes[self.decides];
        match self.topology {
            Topology::Standalone => true,
            Topology::Sentinel => node.is_primary().await,
            Topology::Cluster => slots::is_owner(node, &self.namespace).await,
        }
    }

    /// All servers run, all ways are open, and the server that decides has a replica that has all.
    pub(crate) async fn restore(&mut self) {
        if self.topology == Topology::Standalone {
            return;
        }
        self.nodes.iter().for_each(Node::open);
        self.settle().await;
        match self.topology {
            Topology::Standalone => {}
            Topology::Sentinel => sentinel::restore(&mut self.nodes, self.decides, &self.sentinels).await,
            Topology::Cluster => slots::restore(&mut self.nodes, self.decides).await,
        }
    }

    /// The one that is to take over.
    pub(crate) async fn replica(&self) -> usize {
        match self.topology {
            Topology::Standalone => self.decides,
            Topology::Sentinel => 1 - self.decides,
            Topology::Cluster => slots::replica(&self.nodes).await.expect("BUG: the servers were restored"),
        }
    }

    pub(crate) async fn move_slot(&mut self) {
        let to = slots::another(&self.nodes, self.decides).await;
        slots::move_slot(&self.nodes[self.decides], &self.nodes[to], &self.namespace).await;
        self.decides = to;
        self.nodes[to].server.ready().await;
    }

    /// How many pods hear what the server that decides publishes.
    pub(crate) async fn listeners(&self) -> usize {
        let word = if self.topology == Topology::Cluster { "SHARDCHANNELS" } else { "CHANNELS" };
        let pattern = format!("rc:{{{}}}:pod:*", self.namespace);
        self.nodes[self.decides].says(&["PUBSUB", word, &pattern]).await.lines().count()
    }
}
