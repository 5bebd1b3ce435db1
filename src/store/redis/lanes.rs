//! The way to the node of a namespace, or of any other slot: a few multiplexed connections that all tasks share and pipeline over.
//!
//! Why not a connection per command: a checkout costs a round trip of its own, and with many tasks a queue. The connections
//! are those of the node, and are shared with the other namespaces of this process that it serves.
//!
//! A lane behind a NAT that has forgotten it takes what is sent and answers nothing. So a try that is not answered within
//! a part of the time is made over a new connection as well; where that answers first, the old one was dead, and all that
//! were made with it count as dead, too. A lane that answers others meanwhile is alive, and only behind with its work: what
//! is sent twice then would put it further behind, and what is dropped with it would have to be sent again.
//!
//! On a cluster the node is found anew where a lane has no connection, and where a node says that the slot is elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ProtocolVersion, RedisError, Script};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::call::Call;
use super::failed::{Failed, TimeLeft, Unanswered};
use super::node_lanes::{LANES, Made, NodeLanes};
use super::nodes::Nodes;
use super::verdict::Verdict;
use crate::store::contract::ServerId;

pub(super) struct Lanes {
    pub(super) nodes: Arc<Nodes>,
    slot: u16,
    /// The node that serves the namespace, as far as this pod knows. None before it was found for the first time.
    node: watch::Sender<Option<Arc<NodeLanes>>>,
    /// Whether that node has said that it serves the namespace no more.
    is_elsewhere: AtomicBool,
    next: AtomicUsize,
    timeout: Duration,
    /// How long a try waits for its answer before another is made over a new connection.
    patience: Duration,
}

impl Lanes {
    pub(super) fn new(nodes: Arc<Nodes>, slot: u16, patience: Duration) -> Self {
        Self {
            timeout: nodes.connector.timeout,
            nodes,
            slot,
            node: watch::Sender::default(),
            is_elsewhere: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            patience,
        }
    }

    /// Connects all lanes that are not connected.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        for lane in 0..LANES {
            let node = self.node_for(lane).await?;
            node.replace(lane, None).await?;
        }
        Ok(())
    }

    /// Runs a script until it answers or the time for a call to the store is over. Every script is idempotent, so
    /// one that may have run already is run again.
    pub(super) async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, Unanswered> {
        let deadline = Instant::now() + self.timeout;
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(100))
            .without_max_times()
            .with_jitter()
            .build();
        let lane = self.next_lane();
        let mut said = None;
        loop {
            let failed = match self.attempt(lane, call, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            if failed.may_have_run() {
                call.note_unanswered();
            }
            // What it said before tells more: the last try may have had no time left.
            let reason = match failed.said() {
                Some(text) => said.insert(text).clone(),
                None => said.clone().unwrap_or_else(|| format!("redis did not answer within {:?}", self.timeout)),
            };
            if let Failed::Refused { verdict: Verdict::Wrong | Verdict::Denied, .. } = failed {
                return Err(failed.settled(reason, call.may_arrive_late(), TimeLeft::Some));
            }
            let pause = pauses.next().unwrap_or(self.timeout);
            if Instant::now() + pause >= deadline {
                return Err(failed.settled(reason, call.may_arrive_late(), TimeLeft::None));
            }
            debug!(%reason, "asking redis again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends a command beside the flights: once, and once more where that found a lane that had ended.
    pub(super) async fn once<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, Failed> {
        let (lane, deadline) = (self.next_lane(), Instant::now() + self.timeout);
        match self.attempt(lane, call, deadline).await {
            Err(Failed::Broken(_)) => self.attempt(lane, call, deadline).await,
            answered => answered,
        }
    }

    fn next_lane(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % LANES
    }

    /// One try, over the lane as it is, and should that not answer in time over a new connection as well.
    async fn attempt<T: FromRedisValue>(&self, lane: usize, call: &Call<'_>, deadline: Instant) -> Result<T, Failed> {
        let (node, mut made) = match self.standing(lane) {
            Some(standing) => standing,
            None => tokio::time::timeout_at(deadline, self.made(lane))
                .await
                .map_err(|_| Failed::Unconnected(None))?
                .map_err(|error| Failed::Unconnected(Some(error)))?,
        };
        node.is_used(lane);
        let mark = made.mark();
        let (number, epoch, _) = mark;
        let mut silent_since = Instant::now();
        let mut first = std::pin::pin!(call.send(&mut made.connection, &node.loading, self.patience));
        loop {
            let patient_until = deadline.min(silent_since + self.patience);
            if let Ok(answered) = tokio::time::timeout_at(patient_until, &mut first).await {
                return self.judged(&node, node.judged(lane, mark, answered));
            }
            if Instant::now() >= deadline {
                // The last try of a call has mostly little time: that it is not answered says nothing of its lane.
                return Err(Failed::Silent);
            }
            match node.answered(lane, number) {
                Some(answered) if answered > silent_since => silent_since = answered,
                _ => break,
            }
        }
        call.note_unanswered();
        let second = Box::pin(async {
            let now = self.find(Some(Instant::now())).await.map_err(Failed::Broken)?;
            let is_same = Arc::ptr_eq(&now, &node);
            let mut made = now.replace(lane, is_same.then_some(number)).await.map_err(Failed::Broken)?;
            let answered = call.send(&mut made.connection, &now.loading, self.patience).await;
            let answered = self.judged(&now, now.judged(lane, made.mark(), answered));
            if !matches!(answered, Err(Failed::Broken(_))) {
                debug!("a new connection is answered before an old one: the old ones are dropped");
                node.end_epoch(epoch, is_same.then_some(made.number));
            }
            answered
        });
        tokio::select! {
            biased;
            answered = first => self.judged(&node, node.judged(lane, mark, answered)),
            answered = second => answered,
            () = tokio::time::sleep_until(deadline) => {
                node.end_epoch(epoch, None);
                Err(Failed::Silent)
            }
        }
    }

    /// What an answer says of the node that gave it.
    fn judged<T>(&self, node: &Arc<NodeLanes>, answered: Result<T, Failed>) -> Result<T, Failed> {
        if let Err(Failed::Refused { verdict: Verdict::Demoted, .. }) = &answered {
            self.may_be_elsewhere(node);
        }
        answered
    }
}

/// How the node is found.
impl Lanes {
    /// The node that serves the namespace, as far as this pod knows.
    pub(super) fn node(&self) -> Option<Arc<NodeLanes>> {
        self.node.borrow().clone()
    }

    /// Told when it is another one.
    pub(super) fn moves(&self) -> watch::Receiver<Option<Arc<NodeLanes>>> {
        self.node.subscribe()
    }

    /// This node has said that it does not serve the namespace: where that is, is asked at the next call.
    pub(super) fn may_be_elsewhere(&self, node: &Arc<NodeLanes>) {
        if self.node().is_some_and(|now| Arc::ptr_eq(&now, node)) {
            self.is_elsewhere.store(true, Ordering::Release);
        }
    }

    /// The node that serves the namespace, unless another task has asked since then; without `since` whatever was found last,
    /// by any namespace of this process.
    pub(super) async fn find(&self, since: Option<Instant>) -> Result<Arc<NodeLanes>, RedisError> {
        let was_elsewhere = since.is_some() && self.is_elsewhere.swap(false, Ordering::AcqRel);
        let found = self.nodes.connector.place_of(self.slot, since).await;
        let node = match found {
            Ok(place) => self.nodes.at(place),
            Err(error) => {
                self.is_elsewhere.fetch_or(was_elsewhere, Ordering::AcqRel);
                return Err(error);
            }
        };
        self.node.send_if_modified(|now| {
            let moves = now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &node));
            if moves {
                *now = Some(Arc::clone(&node));
            }
            moves
        });
        Ok(node)
    }

    /// The node to go to over this lane: found anew where the lane has no connection, for the node may be gone.
    async fn node_for(&self, lane: usize) -> Result<Arc<NodeLanes>, RedisError> {
        let known = self.node().filter(|_| !self.is_elsewhere.load(Ordering::Acquire));
        match known {
            Some(node) if node.standing(lane).is_some() => Ok(node),
            // What others have found will do for a beginning: a node that does not serve the namespace says so.
            _ => self.find(self.node().map(|_| Instant::now())).await,
        }
    }

    fn standing(&self, lane: usize) -> Option<(Arc<NodeLanes>, Made)> {
        let node = self.node().filter(|_| !self.is_elsewhere.load(Ordering::Acquire))?;
        let made = node.standing(lane)?;
        Some((node, made))
    }

    async fn made(&self, lane: usize) -> Result<(Arc<NodeLanes>, Made), RedisError> {
        let node = self.node_for(lane).await?;
        let made = node.replace(lane, None).await?;
        Ok((node, made))
    }

    /// All lanes and the subscription are made anew: the way leads elsewhere now.
    pub(super) fn drop_all(&self) {
        if let Some(node) = self.node() {
            node.drop_all();
        }
    }

    /// The server that the namespace began with.
    pub(super) fn begins_with(&self, server: ServerId) {
        if let Some(node) = self.node() {
            node.leads_to(server, Instant::now());
        }
    }

    /// Connects to the node beside the lanes.
    pub(super) async fn connect_beside(
        &self,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.find(Some(Instant::now())).await?.connect(config, protocol).await
    }

    /// Which server the endpoint leads to, and when that was asked: not before `since`.
    pub(super) async fn server_id(&self, since: Instant) -> Result<(ServerId, Instant), RedisError> {
        self.find(Some(since)).await?.server_id(since).await
    }

    /// Asks lanes that nobody uses whether they live, so that a flight does not find out first.
    pub(super) async fn keep_alive(self: Arc<Self>, closed: CancellationToken) {
        let pause = self.nodes.connector.idle;
        while closed.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            if let Some(node) = self.node() {
                node.look_after(pause / 2).await;
            }
        }
    }

    pub(super) async fn load(&self, scripts: &[&Script]) -> Result<(), RedisError> {
        let Some((_, mut made)) = self.standing(0) else { return Ok(()) };
        for script in scripts {
            script.load_async(&mut made.connection).await?;
        }
        Ok(())
    }

    /// `maxmemory-policy`, where the user may ask.
    pub(super) async fn eviction_policy(&self) -> Option<String> {
        let (_, mut made) = self.standing(0)?;
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut made.connection).await.ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
        Some(line.trim().to_owned())
    }
}
