//! Listens to the sentinels of a group: they say when another server has become the master.
//!
//! A master that was demoted is told so by the sentinels some ten seconds later; until then it takes writes that will be lost.
//! Pods that hear of the new master move over at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::lanes::Lanes;
use super::locator::Locator;
use super::node::SWITCHES;
use super::target::Whereabouts;

/// Between two tries to listen to a sentinel; longer with each that fails.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Switches {
    pub(super) lanes: Arc<Lanes>,
    pub(super) locator: Arc<Locator>,
}

impl Switches {
    /// Hears of switches, and listens to all sentinels where no other namespace of this process does.
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let nodes = &self.lanes.nodes;
        let mut switches = nodes.switches.subscribe();
        let mut listens = Box::pin(async {
            let _turn = nodes.listening.lock().await;
            // What was said until now nobody knows.
            self.may_have_switched();
            self.listen_to_all().await;
        });
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = &mut listens => return,
                _ = switches.changed() => self.locator.may_have_moved(),
            }
        }
    }

    /// One is enough to hear of a switch.
    async fn listen_to_all(self: &Arc<Self>) {
        let mut listening = JoinSet::new();
        for number in 0..self.lanes.nodes.sentinels {
            listening.spawn(Arc::clone(self).listen(number));
        }
        _ = listening.join_next().await;
    }

    async fn listen(self: Arc<Self>, number: usize) {
        let (mut pause, mut is_first) = (PAUSE, true);
        loop {
            let over = Arc::new(Notify::new());
            match self.subscribe(number, Arc::clone(&over)).await {
                Ok(connection) => {
                    if !is_first {
                        // What was said meanwhile nobody knows.
                        self.may_have_switched();
                    }
                    over.notified().await;
                    drop(connection);
                    pause = PAUSE;
                }
                Err(error) if pause == PAUSE => {
                    warn!(number, %error, "a sentinel cannot be listened to: another master may be noticed later");
                }
                Err(error) => debug!(number, %error, "a sentinel can still not be listened to"),
            }
            is_first = false;
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn subscribe(
        self: &Arc<Self>,
        number: usize,
        over: Arc<Notify>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let connector = &self.lanes.nodes.connector;
        connector
            .in_time(Box::pin(async {
                let gone = || RedisError::from((ErrorKind::Client, "the URL has fewer sentinels than at start"));
                let Whereabouts::Sentinel { sentinels, master, .. } = connector.whereabouts().await? else {
                    return Err(gone());
                };
                let sentinel = sentinels.get(number).cloned().ok_or_else(gone)?;
                let switches = Arc::clone(self);
                let on_push = move |push: PushInfo| {
                    match (push.kind, push.data.as_slice()) {
                        (PushKind::Message, [_, Value::BulkString(message)]) if names(message, &master) => {
                            info!("a sentinel says that another server is the master");
                            switches.move_over();
                        }
                        (PushKind::Disconnection | PushKind::Unsubscribe, _) => over.notify_one(),
                        _ => {}
                    }
                    Ok::<(), Infallible>(())
                };
                let config = AsyncConnectionConfig::new().set_push_sender(on_push);
                let mut connection = connector.open_at(sentinel, config, Some(ProtocolVersion::RESP3)).await?;
                connection.subscribe(&SWITCHES).await?;
                Ok(connection)
            }))
            .await
    }

    fn move_over(&self) {
        if self.locator.is_blind() {
            self.lanes.drop_all();
        } else {
            self.may_have_switched();
        }
    }

    /// All namespaces ask soon.
    fn may_have_switched(&self) {
        self.lanes.nodes.switches.send_modify(|switches| *switches += 1);
    }
}

/// Whether a message speaks of this master: `<master> <old> <port> <new> <port>` or `slave <name> <ip> <port> @ <master> <ip>
/// <port>`.
fn names(message: &[u8], master: &str) -> bool {
    message.split(|byte| *byte == b' ').any(|word| word == master.as_bytes())
}
