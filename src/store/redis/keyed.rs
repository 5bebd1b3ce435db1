//! Keys of an application's own, each by itself: on a cluster they spread over its nodes. They are reached as namespaces are, over the
//! same lanes: found, entered, secured and tried again in one way.
//!
//! Nothing goes on beside the calls. A connection that a way has forgotten is found out by the next call, which makes another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{AsyncConnectionConfig, FromRedisValue, ProtocolVersion, Script};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::access::{RedisTarget, Url};
use super::call::Call;
use super::hello;
use super::lanes::Lanes;
use super::nodes::Nodes;
use super::slot::slot_of_key;
use super::target::{Target, Whereabouts};
use crate::config::Config;
use crate::error::ConnectError;

pub(crate) struct KeyedStore {
    target: RedisTarget,
    client_name: String,
    config: Config,
    nodes: OnceCell<Arc<Nodes>>,
    /// The way to each slot that was asked for. One for all, but on a cluster.
    ways: Mutex<HashMap<u16, Arc<Lanes>>>,
}

/// A script over one key. Running it again must change nothing more.
pub(crate) struct KeyScript(Script);

impl KeyScript {
    pub(crate) fn new(text: &str) -> Self {
        Self(Script::new(text))
    }
}

impl KeyedStore {
    /// A store whose calls may take so long each. It connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`], where the URL is given and none of a Redis. What else cannot be used the calls tell.
    pub(crate) fn new(target: RedisTarget, client_name: &str, timeout: Duration) -> Result<Self, ConnectError> {
        if let Url::Given(url) = &target.url {
            Target::fixed(url.expose()).map_err(|error| ConnectError::Url { reason: error.to_string() })?;
        }
        Ok(Self {
            target,
            client_name: client_name.to_owned(),
            config: Config { store_timeout: timeout, ..Config::default() },
            nodes: OnceCell::new(),
            ways: Mutex::default(),
        })
    }

    /// Runs a script over this key.
    ///
    /// # Errors
    ///
    /// In one line, why there is no answer. It may have run.
    pub(crate) async fn run<'a, T: FromRedisValue>(
        &self,
        script: &KeyScript,
        key: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<T, String> {
        let mut call = Call::new(&script.0, 1);
        call.key(key);
        for argument in arguments {
            call.arg(argument);
        }
        self.ask(key, &call).await
    }

    /// Reads a field of the hash at this key.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub(crate) async fn field<T: FromRedisValue>(&self, key: &str, field: &str) -> Result<T, String> {
        self.ask(key, &Call::command("HGET", &[key, field])).await
    }

    async fn ask<T: FromRedisValue>(&self, key: &str, call: &Call<'_>) -> Result<T, String> {
        let way = self.way_to(key).await?;
        // In a box: it is large, and a part of every call of an application.
        Box::pin(way.run(call)).await.map_err(|unanswered| unanswered.error.reason)
    }

    /// Looks over a connection of its own whether Redis is what the target says.
    ///
    /// # Errors
    ///
    /// What is wrong, and what would be right.
    pub(crate) async fn find_fault(&self) -> Result<(), ConnectError> {
        let nodes = self.nodes().await?;
        let connector = &nodes.connector;
        let whereabouts = connector.whereabouts().await;
        let whereabouts = whereabouts.map_err(|error| ConnectError::Url { reason: error.to_string() })?;
        let connected = async {
            let place = connector.place_of(0, Some(Instant::now())).await?;
            connector.connect(&place, AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2)).await
        };
        let mut connection = match connected.await {
            Ok(connection) => connection,
            Err(error) => {
                return Err(hello::not_connected(connector, &whereabouts, &nodes.address, &error).await.error);
            }
        };
        let Whereabouts::Fixed(info) = &whereabouts else { return Ok(()) };
        match hello::check_single(&mut connection, info).await.map_err(|refused| refused.error) {
            // These scripts run on older ones, too.
            Err(ConnectError::Version { .. }) => Ok(()),
            checked => checked,
        }
    }

    async fn nodes(&self) -> Result<&Arc<Nodes>, ConnectError> {
        let of_target = || async {
            let nodes = Nodes::of(self.target.clone(), self.client_name.clone(), &self.config).await?;
            Ok::<_, ConnectError>(Arc::new(nodes))
        };
        Box::pin(self.nodes.get_or_try_init(of_target)).await
    }

    async fn way_to(&self, key: &str) -> Result<Arc<Lanes>, String> {
        let nodes = self.nodes().await.map_err(|error| error.to_string())?;
        let slot = if nodes.connector.node.is_cluster { slot_of_key(key) } else { 0 };
        let mut ways = self.ways.lock().expect("BUG: nothing panics with this lock held");
        let way = ways
            .entry(slot)
            .or_insert_with(|| Arc::new(Lanes::new(Arc::clone(nodes), slot, self.config.store_patience())));
        Ok(Arc::clone(way))
    }
}
