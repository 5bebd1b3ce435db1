//! The connections of this process to one node: lanes for commands, one for the subscription. All its namespaces that the node
//! serves share them.
//!
//! A lane takes its connection out of the pool for as long as that lives, or two lanes could share one socket, and one task
//! replaces a dead one for all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use std::time::Duration;

use deadpool::managed::ObjectId;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::connector::{Connector, Place};
use super::failed::Failed;
use super::hub::Hub;
use super::loading::Loading;
use super::pool::{Pool, Pooled};
use super::verdict::Verdict;
use super::which_server::which_server;
use crate::store::contract::ServerId;

/// Enough that one slow reply does not stop the rest; more would only cost sockets.
pub(super) const LANES: usize = 4;
/// Each lane may have a new connection made beside the one that does not answer.
const CONNECTIONS: usize = 2 * LANES;

pub(super) struct NodeLanes {
    connector: Arc<Connector>,
    place: Place,
    pool: Pool,
    lanes: Vec<Lane>,
    /// What is made now belongs to this epoch. It ends when all that was made in it is to be made anew, the subscription,
    /// too: the connections then lead to another server, or to one that does not know this pod any more, or nowhere.
    epoch: watch::Sender<u64>,
    /// Counts the connections that were made.
    connected: watch::Sender<u64>,
    /// Which server it was found to be last, and when that was asked.
    server: Mutex<Option<(ServerId, Instant)>>,
    /// Held by the one task that asks for all.
    asking: tokio::sync::Mutex<()>,
    /// When idle lanes were asked last.
    looked_after: tokio::sync::Mutex<Option<Instant>>,
    pub(super) loading: Loading,
    /// The subscription.
    pub(super) hub: Arc<Hub>,
    /// What WAIT is sent over, by one at a time.
    pub(super) waits: tokio::sync::Mutex<Waits>,
}

/// The connection that WAIT is sent over, where any namespace waits for replicas, and the epoch that it was made in.
pub(super) type Waits = Option<(u64, MultiplexedConnection)>;

struct Lane {
    current: RwLock<Option<Pooled>>,
    /// Which of its connections answered last, and when.
    answered: Mutex<Option<(ObjectId, Instant)>>,
    /// Held by the one task that replaces the connection.
    replacing: tokio::sync::Mutex<()>,
    /// Whether it was used since it was last looked after.
    used: AtomicBool,
}

/// A lane's connection to send over, and which it is.
pub(super) struct Made {
    pub(super) connection: MultiplexedConnection,
    pub(super) number: ObjectId,
    pub(super) epoch: u64,
    at: Instant,
}

impl NodeLanes {
    pub(super) fn new(connector: Arc<Connector>, place: Place) -> Self {
        let epoch = watch::Sender::new(0);
        let lane = |_| Lane {
            current: RwLock::default(),
            answered: Mutex::default(),
            replacing: tokio::sync::Mutex::new(()),
            used: true.into(),
        };
        Self {
            hub: Arc::new(Hub::new(Arc::clone(&connector), place.clone(), epoch.subscribe())),
            pool: Pool::new(Arc::clone(&connector), place.clone(), epoch.subscribe(), CONNECTIONS),
            connector,
            place,
            lanes: (0..LANES).map(lane).collect(),
            epoch,
            connected: watch::Sender::default(),
            server: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            looked_after: tokio::sync::Mutex::default(),
            loading: Loading::default(),
            waits: tokio::sync::Mutex::default(),
        }
    }

    /// Connects to the node beside the lanes.
    pub(super) async fn connect(
        &self,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.connector.connect(&self.place, config, protocol).await
    }

    /// The connection of a lane, if it has one.
    pub(super) fn standing(&self, lane: usize) -> Option<Made> {
        self.lanes[lane].standing()
    }

    pub(super) fn is_used(&self, lane: usize) {
        self.lanes[lane].used.store(true, Ordering::Relaxed);
    }

    /// Makes a new connection, once for all tasks that found none, or that one dead.
    pub(super) async fn replace(&self, lane: usize, dead: Option<ObjectId>) -> Result<Made, RedisError> {
        let lane = &self.lanes[lane];
        let _replacing = lane.replacing.lock().await;
        if let Some(made) = lane.standing()
            && dead.is_none_or(|dead| made.number > dead)
        {
            return Ok(made);
        }
        let pooled = self.pool.take_out().await?;
        let made = Made::of(&pooled);
        self.put(lane, pooled);
        Ok(made)
    }

    /// Puts a connection into its lane, unless its epoch has ended. Then it goes back to the pool, which closes it.
    fn put(&self, lane: &Lane, pooled: Pooled) {
        let now = self.epoch.borrow();
        if pooled.epoch == *now {
            // Not back to the pool: it is dead, or was not answered in time.
            drop(lane.current().replace(pooled).map(Pooled::take));
            self.connected.send_modify(|connected| *connected += 1);
        } else {
            drop(pooled);
            self.pool.keep_only(*now);
        }
    }

    /// When this connection of the lane answered last, as long as no other has answered there since.
    pub(super) fn answered(&self, lane: usize, number: ObjectId) -> Option<Instant> {
        let answered = *self.lanes[lane].last_answer();
        answered.filter(|(by, _)| *by == number).map(|(_, at)| at)
    }

    /// What an answer says of the connection that it came over.
    pub(super) fn judged<T>(
        &self,
        lane: usize,
        made: (ObjectId, u64, Instant),
        answered: RedisResult<T>,
    ) -> Result<T, Failed> {
        let (number, epoch, at) = made;
        let error = match answered {
            Ok(reply) => {
                self.lanes[lane].note_answer(number);
                return Ok(reply);
            }
            Err(error) => error,
        };
        let mut verdict = Verdict::of(&error);
        match verdict {
            Verdict::Broken => {
                self.lanes[lane].drop_connection(number);
                return Err(Failed::Broken(error));
            }
            // A node of a cluster may have given away one slot of many: the namespace goes elsewhere, the connections stay.
            Verdict::Demoted if self.place == Place::Endpoint => self.end_epoch(epoch, None),
            // Of a connection that was made just now the credentials are as they are: to ask again helps nobody.
            Verdict::Denied if at.elapsed() >= self.connector.timeout => {
                self.end_epoch(epoch, None);
                verdict = Verdict::Demoted;
            }
            Verdict::Demoted | Verdict::Denied | Verdict::NotReady | Verdict::Wrong => {}
        }
        Err(Failed::Refused { verdict, error })
    }
}

/// How all of it comes and goes.
impl NodeLanes {
    pub(super) fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// Told when a lane has a new connection.
    pub(super) fn connected(&self) -> watch::Receiver<u64> {
        self.connected.subscribe()
    }

    /// All lanes and the subscription are made anew: the way leads elsewhere now.
    pub(super) fn drop_all(&self) {
        let epoch = *self.epoch.borrow();
        self.end_epoch(epoch, None);
    }

    /// This server was found at its end. Another one than before: all is made anew, once for all namespaces.
    pub(super) fn leads_to(&self, server: ServerId, asked: Instant) {
        let before = self.server().replace((server, asked));
        if before.is_some_and(|(before, _)| before != server) {
            self.drop_all();
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<(ServerId, Instant)>> {
        self.server.lock().expect("BUG: nothing panics with this lock held")
    }

    /// Ends an epoch, once for all that find it over. One connection may be kept: the one that answered.
    pub(super) fn end_epoch(&self, epoch: u64, keep: Option<ObjectId>) {
        // Locked for as long as lanes are changed: what is made meanwhile belongs to the next epoch.
        let has_ended = self.epoch.send_if_modified(|now| {
            if *now != epoch {
                return false;
            }
            *now += 1;
            for lane in &self.lanes {
                let mut current = lane.current();
                *current = current.take().filter(|made| keep == Some(Pooled::id(made)));
                if let Some(made) = &mut *current {
                    made.epoch = *now;
                }
            }
            true
        });
        if has_ended {
            self.pool.keep_only(epoch + 1);
        }
    }

    /// Asks which server it is, unless another task has asked since then. Over a connection that is made for that: what stands
    /// may lead to a server that the endpoint does not lead to any more.
    pub(super) async fn server_id(&self, since: Instant) -> Result<(ServerId, Instant), RedisError> {
        let _asking = self.asking.lock().await;
        if let Some(found) = self.server().filter(|(_, asked)| *asked >= since) {
            return Ok(found);
        }
        let asked = Instant::now();
        let mut connection = self.connect(AsyncConnectionConfig::new(), None).await?;
        let server = which_server(&mut connection).await?;
        self.leads_to(server, asked);
        Ok((server, asked))
    }

    /// Asks lanes that nobody uses whether they live, so that a flight does not find out first. Once for all namespaces: not
    /// within this time of the last look.
    pub(super) async fn look_after(&self, pause: Duration) {
        let Ok(mut last) = self.looked_after.try_lock() else { return };
        if last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        *last = Some(Instant::now());
        for lane in &self.lanes {
            if !lane.used.swap(false, Ordering::Relaxed)
                && let Some(made) = lane.standing()
            {
                self.ask_whether_alive(lane, made).await;
            }
        }
    }

    async fn ask_whether_alive(&self, lane: &Lane, mut made: Made) {
        let ping = redis::cmd("PING");
        match tokio::time::timeout(self.connector.timeout, ping.query_async::<Value>(&mut made.connection)).await {
            Ok(Err(error)) if Verdict::of(&error) == Verdict::Broken => lane.drop_connection(made.number),
            // A refusal is an answer, too: the right to PING is not needed.
            Ok(_) => {}
            Err(_) => {
                debug!("an idle connection to redis is dead: all of its time are dropped");
                self.end_epoch(made.epoch, None);
            }
        }
    }
}

impl Lane {
    fn standing(&self) -> Option<Made> {
        let current = self.current.read().expect("BUG: nothing panics with this lock held");
        current.as_ref().map(Made::of)
    }

    /// Takes a dead connection out of the lane, and out of the pool.
    fn drop_connection(&self, number: ObjectId) {
        let mut current = self.current();
        drop(current.take_if(|made| Pooled::id(made) == number).map(Pooled::take));
    }

    fn note_answer(&self, number: ObjectId) {
        *self.last_answer() = Some((number, Instant::now()));
    }

    fn last_answer(&self) -> MutexGuard<'_, Option<(ObjectId, Instant)>> {
        self.answered.lock().expect("BUG: nothing panics with this lock held")
    }

    fn current(&self) -> RwLockWriteGuard<'_, Option<Pooled>> {
        self.current.write().expect("BUG: nothing panics with this lock held")
    }
}

impl Made {
    fn of(pooled: &Pooled) -> Self {
        let (number, connection) = (Pooled::id(pooled), pooled.connection.clone());
        Self { connection, number, epoch: pooled.epoch, at: pooled.at }
    }

    /// Which connection it is, of which epoch, made when: what is left to know of it while it is sent over.
    pub(super) fn mark(&self) -> (ObjectId, u64, Instant) {
        (self.number, self.epoch, self.at)
    }
}
