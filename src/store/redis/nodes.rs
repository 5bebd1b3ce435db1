//! What all namespaces of a process share on one target: how it is entered, and the connections to its nodes.
//!
//! One server and a group with sentinels are one node. On a cluster namespaces spread over the nodes, and those that one node
//! serves share its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access::{Access, RedisTarget, Url};
use super::connector::{Connector, Place};
use super::node::Node;
use super::node_lanes::NodeLanes;
use super::pubsub::PubSub;
use super::target::{Target, Whereabouts};
use crate::config::Config;
use crate::error::ConnectError;

pub(crate) struct Nodes {
    pub(super) connector: Arc<Connector>,
    /// Those that a namespace uses.
    nodes: Mutex<HashMap<Place, Weak<NodeLanes>>>,
    /// Where Redis is, as an operator would say it.
    pub(super) address: String,
    pub(super) pubsub: PubSub,
    /// How many sentinels the target had at start.
    pub(super) sentinels: usize,
    /// Told when a sentinel says that another server is the master.
    pub(super) switches: watch::Sender<u64>,
    /// Held by the one task that listens to the sentinels for all.
    pub(super) listening: tokio::sync::Mutex<()>,
    /// Held by the one task that looks after certificates for all.
    looking_after: tokio::sync::Mutex<()>,
}

impl Nodes {
    /// The nodes of a target. Reads where they are, and the files of certificates; connects to none.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] or [`ConnectError::Tls`] tell what cannot be used.
    pub(crate) async fn of(target: RedisTarget, name: String, config: &Config) -> Result<Self, ConnectError> {
        let RedisTarget { url, access } = target;
        let target = match url {
            Url::Given(url) => {
                Target::fixed(url.expose()).map_err(|error| ConnectError::Url { reason: error.to_string() })?
            }
            Url::Asked(target) => target,
        };
        let whereabouts = whereabouts(&target, &access, config.store_timeout).await?;
        let node = Node::new(&whereabouts);
        let connector = Connector::new(target, access, node, name, config.store_timeout, idle(config));
        connector.check_tls(&whereabouts).await?;
        Ok(Self {
            connector: Arc::new(connector),
            nodes: Mutex::default(),
            address: whereabouts.address(),
            pubsub: PubSub::of(&whereabouts),
            sentinels: whereabouts.sentinels(),
            switches: watch::Sender::default(),
            listening: tokio::sync::Mutex::default(),
            looking_after: tokio::sync::Mutex::default(),
        })
    }

    /// The connections to a node: those that stand, where any namespace uses it.
    pub(super) fn at(&self, place: Place) -> Arc<NodeLanes> {
        let mut nodes = self.nodes.lock().expect("BUG: nothing panics with this lock held");
        if let Some(node) = nodes.get(&place).and_then(Weak::upgrade) {
            return node;
        }
        nodes.retain(|_, node| node.strong_count() > 0);
        let node = Arc::new(NodeLanes::new(Arc::clone(&self.connector), place.clone()));
        nodes.insert(place, Arc::downgrade(&node));
        node
    }

    /// Looks after the certificates, while no connection is made, in one task for all namespaces.
    pub(super) async fn look_after_certificates(&self, closed: CancellationToken) {
        if let Some(_turn) = closed.run_until_cancelled(self.looking_after.lock()).await {
            self.connector.look_after_certificates(closed.clone()).await;
        }
    }
}

/// Where Redis is, and how it is entered, in time.
async fn whereabouts(target: &Target, access: &Access, timeout: Duration) -> Result<Whereabouts, ConnectError> {
    let asked = async { access.to_all(target.ask().await?).await };
    let reason = match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(whereabouts)) => return Ok(whereabouts),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it was not read within {timeout:?}"),
    };
    Err(ConnectError::Url { reason })
}

/// How long a connection may be silent before it is asked whether it lives: not longer than a lost message costs anyway,
/// and less than what forgets idle connections waits.
pub(super) fn idle(config: &Config) -> Duration {
    config.lease.clamp(Duration::from_secs(1), Duration::from_secs(10))
}
