//! The pod's one subscription, made once: its own channel, on a connection of its own.
//!
//! Push is the fast way, looking is the safe way. While the subscription stands, the pod looks at the leaders it waits
//! for when their leases should end; while there is none, every second; and at once when it stands again, because what
//! came in between is lost without a word.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::lanes::name_connection;
use super::sealed::SealedOutcome;
use super::waiters::Waiters;
use crate::identity::Hash;
use crate::metrics::Counters;

pub(super) struct Inbox {
    pub(super) client: Client,
    pub(super) channel: String,
    pub(super) client_name: String,
    pub(super) timeout: Duration,
    pub(super) waiters: Arc<Waiters>,
    pub(super) counters: Arc<Counters>,
    /// Whether the subscription stands.
    pub(super) subscribed: AtomicBool,
    /// Counts the times it was made again, and the outages: Redis may have forgotten what it held.
    pub(super) gaps: Arc<watch::Sender<u64>>,
}

/// A connection that a NAT or a load balancer has forgotten says nothing for ever: it is asked now and then.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A subscription that stands, until its messages end.
pub(super) struct Subscription {
    /// Closes the connection when dropped.
    connection: MultiplexedConnection,
    /// Told when there will be no more messages.
    over: Arc<Notify>,
}

impl Inbox {
    pub(super) fn client(info: ConnectionInfo) -> Result<Client, RedisError> {
        let redis = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
        Client::open(info.set_redis_settings(redis))
    }

    pub(super) async fn subscribe(self: &Arc<Self>) -> Result<Subscription, RedisError> {
        let over = Arc::new(Notify::new());
        let (inbox, ends) = (Arc::clone(self), Arc::clone(&over));
        // Where the connection is read, not in a task of its own: that would be one more hop for every waiting flight.
        let on_push = move |push: PushInfo| {
            match push.kind {
                PushKind::Message => {
                    if let [Value::BulkString(_), Value::BulkString(message)] = push.data.as_slice() {
                        inbox.deliver(message);
                    }
                }
                // An ACL change takes the channel away without closing the connection.
                PushKind::Disconnection | PushKind::Unsubscribe => ends.notify_one(),
                _ => {}
            }
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(on_push);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        name_connection(&mut connection, &self.client_name).await?;
        connection.subscribe(&self.channel).await?;
        self.subscribed.store(true, Ordering::Release);
        Ok(Subscription { connection, over })
    }

    /// Makes the subscription again whenever it ends.
    pub(super) async fn run(self: Arc<Self>, first: Subscription, closed: CancellationToken) {
        let mut subscription = first;
        loop {
            tokio::select! {
                () = Self::ended(&mut subscription) => {}
                () = closed.cancelled() => return,
            }
            self.subscribed.store(false, Ordering::Release);
            self.counters.subscription_gaps.add_one();
            drop(subscription);
            tokio::select! {
                again = self.subscribe_again() => subscription = again,
                () = closed.cancelled() => return,
            }
            self.gaps.send_modify(|gaps| *gaps += 1);
            self.waiters.tell_all_to_look();
        }
    }

    async fn subscribe_again(self: &Arc<Self>) -> Subscription {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(1))
            .without_max_times()
            .with_jitter()
            .build();
        let mut told = false;
        loop {
            match self.subscribe().await {
                Ok(subscription) => {
                    info!("the subscription stands again");
                    return subscription;
                }
                Err(error) if !told => {
                    told = true;
                    warn!(%error, "no subscription: waiting flights look every second until it stands again");
                }
                Err(error) => debug!(%error, "still no subscription"),
            }
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(1))).await;
        }
    }

    /// Returns when there will be no more messages.
    async fn ended(subscription: &mut Subscription) {
        let Subscription { connection, over } = subscription;
        loop {
            tokio::select! {
                () = over.notified() => return,
                () = tokio::time::sleep(ASK_EVERY) => {
                    if let Err(error) = redis::cmd("PING").query_async::<()>(connection).await {
                        warn!(%error, "the subscription's connection is dead");
                        return;
                    }
                }
            }
        }
    }

    fn deliver(&self, message: &[u8]) {
        self.counters.pushes.add_one();
        match read_message(message) {
            Some(Message::Landed { flight, claim, sealed }) => {
                // Its fence is believed when the outcome opens, not before: a stranger who may publish could make one up.
                self.waiters.tell_landed(&flight, &claim, sealed);
            }
            Some(Message::Look { flight }) => self.waiters.tell_look(&flight),
            // This pod's own check at start, a newer release, or a stranger: looking finds what there is to know.
            None => debug!("a message that says nothing to this release"),
        }
    }
}

/// What `complete.lua` and `abandon.lua` publish.
#[derive(Debug)]
enum Message {
    Landed { flight: Hash, claim: String, sealed: SealedOutcome },
    Look { flight: Hash },
}

fn read_message(message: &[u8]) -> Option<Message> {
    let line_end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    let (line, rest) = message.split_at(line_end);
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    match words.next()? {
        "look" => Some(Message::Look { flight: Hash::from_hex(words.next()?)? }),
        "landed" => {
            let flight = Hash::from_hex(words.next()?)?;
            let claim = words.next()?.to_owned();
            let fence = words.next()?.parse().ok()?;
            let attempt = Uuid::parse_str(words.next()?).ok()?;
            let age = Duration::from_millis(words.next()?.parse().ok()?);
            let bytes = rest.get(1..)?.into();
            Some(Message::Landed { flight, claim, sealed: SealedOutcome { fence, attempt, age, bytes } })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_with_whatever_bytes_the_seal_made() {
        let flight = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let attempt = Uuid::from_u128(5);
        let mut message = format!("landed {flight} c1 7 {attempt} 12\n").into_bytes();
        message.extend_from_slice(b"\n\0 \xff");

        let Some(Message::Landed { flight: read, claim, sealed }) = read_message(&message) else {
            panic!("not read");
        };

        assert_eq!((read.to_string().as_str(), claim.as_str()), (flight, "c1"));
        assert_eq!((sealed.fence, sealed.attempt, sealed.age), (7, attempt, Duration::from_millis(12)));
        assert_eq!(&sealed.bytes[..], b"\n\0 \xff");
        assert!(matches!(read_message(format!("look {flight}").as_bytes()), Some(Message::Look { .. })));
        for strange in ["", "look", "look x", "landed", "landed a b", "check", "later release"] {
            assert!(read_message(strange.as_bytes()).is_none(), "{strange}");
        }
    }
}
