//! What a pod is told: on its own channel and on that of all pods, over the subscription that its node's [`hub`](super::hub)
//! has for this process.
//!
//! Push is the fast way, looking is the safe way. While the subscription stands, the pod looks at the leaders it waits
//! for when their leases should end; while there is none, every second; and at once when it stands again, because what
//! came in between is lost without a word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{RedisError, Value};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::call::Call;
use super::handover::Forgotten;
use super::hub::Listening;
use super::keys::Keys;
use super::lanes::Lanes;
use super::node_lanes::NodeLanes;
use super::pubsub::PubSub;
use super::sealed::SealedOutcome;
use super::waiters::Waiters;
use crate::identity::Hash;
use crate::metrics::Counters;

pub(super) struct Inbox {
    pub(super) lanes: Arc<Lanes>,
    pub(super) pubsub: PubSub,
    pub(super) keys: Arc<Keys>,
    pub(super) pod: String,
    pub(super) forgotten: Arc<Forgotten>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) counters: Arc<Counters>,
    /// How often the pod sends itself a message.
    pub(super) prove_every: Duration,
    /// Whether the pod takes part: only then it listens.
    pub(super) is_enrolled: watch::Receiver<bool>,
    /// The subscription that was made before the task began that keeps it.
    pub(super) first: Mutex<Option<Subscription>>,
    /// Whether the subscription stands.
    pub(super) subscribed: Arc<AtomicBool>,
    /// Counts the times it was made again, and the outages: Redis may have forgotten what it held.
    pub(super) gaps: Arc<watch::Sender<u64>>,
    /// The last message of the pod to itself that has come back.
    pub(super) echoed: watch::Sender<Uuid>,
}

/// Between two times that a subscription is given up because the way has changed: where Redis refuses everything, each refusal
/// says so anew.
const BETWEEN: Duration = Duration::from_secs(1);

/// A subscription that stands, until its messages end.
pub(super) struct Subscription {
    listening: Listening,
    node: Arc<NodeLanes>,
    /// The nodes that the namespace goes to from then on.
    moves: watch::Receiver<Option<Arc<NodeLanes>>>,
    subscribed: Arc<AtomicBool>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribed.store(false, Ordering::Release);
    }
}

impl Inbox {
    /// At the node that serves the namespace, unless that was asked since then.
    pub(super) async fn subscribe(self: &Arc<Self>, since: Option<Instant>) -> Result<Subscription, RedisError> {
        let node = self.lanes.find(since).await?;
        let inbox = Arc::clone(self);
        let deliver = Arc::new(move |message: &[u8]| inbox.deliver(message));
        let listening = node.hub.listen(self.pubsub, &self.keys, &self.pod, deliver).await?;
        self.subscribed.store(true, Ordering::Release);
        let (moves, subscribed) = (self.lanes.moves(), Arc::clone(&self.subscribed));
        Ok(Subscription { listening, node, moves, subscribed })
    }

    /// Makes the subscription again whenever it ends.
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        let mut given_up = None;
        let mut first = self.first.lock().expect("BUG: nothing panics with this lock held").take();
        loop {
            let mut subscription = match first.take() {
                Some(subscription) => subscription,
                None => {
                    let mut is_enrolled = self.is_enrolled.clone();
                    if !matches!(
                        closed.run_until_cancelled(is_enrolled.wait_for(|is_done| *is_done)).await,
                        Some(Ok(_))
                    ) {
                        return;
                    }
                    let Some(again) = closed.run_until_cancelled(self.subscribe_again()).await else { return };
                    self.gaps.send_modify(|gaps| *gaps += 1);
                    self.waiters.tell_all_to_look();
                    again
                }
            };
            if closed.run_until_cancelled(self.ended(&mut subscription, &mut given_up)).await.is_none() {
                return;
            }
            drop(subscription);
            self.counters.subscription_gaps.add_one();
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
            let (mut connected, mut moves) = (self.lanes.node().map(|node| node.connected()), self.lanes.moves());
            match self.subscribe(Some(Instant::now())).await {
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
            tokio::select! {
                () = tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(1))) => {}
                // The way is there again: what is published now is missed.
                () = changed(&mut connected) => {}
                _ = moves.changed() => {}
            }
        }
    }

    /// Returns when there will be no more messages, or none of those that count.
    async fn ended(&self, subscription: &mut Subscription, given_up: &mut Option<Instant>) {
        let Subscription { listening, node, moves, .. } = subscription;
        let over = Arc::clone(&listening.over);
        let changes = async {
            tokio::select! {
                // The node lives as long as its subscription: it changes, or is never told.
                _ = listening.epochs.changed() => {}
                _ = moves.wait_for(|now| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, node))) => {}
            }
        };
        tokio::select! {
            () = over.notified() => {}
            () = changes => {
                if let Some(before) = *given_up {
                    tokio::select! {
                        () = over.notified() => return,
                        () = tokio::time::sleep_until(before + BETWEEN) => {}
                    }
                }
                *given_up = Some(Instant::now());
                info!("the way to redis has changed: the subscription is made again");
            }
            () = self.unproven() => {
                warn!("the subscription hears nothing of what this pod is sent: it is made again");
                subscription.listening.give_up();
            }
        }
    }

    /// Returns when a message of the pod to itself does not come back.
    async fn unproven(&self) {
        let mut echoed = self.echoed.subscribe();
        loop {
            tokio::time::sleep(self.prove_every).await;
            let message = Uuid::new_v4();
            let publish =
                Call::command(self.pubsub.publish(), &[&self.keys.channel(&self.pod), &format!("echo {message}")]);
            if let Err(failed) = self.lanes.once::<Value>(&publish).await {
                // Nothing is known of the subscription. What is wrong with the lanes they find out themselves.
                debug!(reason = ?failed.said(), "the subscription could not be proven");
                continue;
            }
            let is_back = echoed.wait_for(|echoed| *echoed == message);
            if tokio::time::timeout(self.lanes.nodes.connector.timeout, is_back).await.is_err() {
                return;
            }
        }
    }

    fn deliver(&self, message: &[u8]) {
        let message = read_message(message);
        if let Some(Message::Echo(message)) = message {
            self.echoed.send_replace(message);
            return;
        }
        self.counters.pushes.add_one();
        match message {
            Some(Message::Landed { flight, claim, sealed }) => {
                // Its fence is believed when the outcome opens, not before: a stranger who may publish could make one up.
                self.waiters.tell_landed(&flight, &claim, sealed);
            }
            Some(Message::Look { flight }) => self.waiters.tell_look(&flight),
            Some(Message::Turn { flight, attempt }) => self.waiters.tell_turn(&flight, attempt),
            Some(Message::Incarnation) => self.forgotten.is_told(),
            Some(Message::Echo(_)) => {}
            // This pod's own check at start, a newer release, or a stranger: looking finds what there is to know.
            None => debug!("a message that says nothing to this release"),
        }
    }
}

/// Waits for the next change, forever where there is nothing to change.
async fn changed(watched: &mut Option<watch::Receiver<u64>>) {
    match watched {
        Some(watched) => _ = watched.changed().await,
        None => std::future::pending().await,
    }
}

/// What is published to a pod: by `complete.lua`, by `abandon.lua`, and by the pod itself.
#[derive(Debug)]
enum Message {
    Landed {
        flight: Hash,
        claim: String,
        sealed: SealedOutcome,
    },
    Look {
        flight: Hash,
    },
    /// A flight's turn has come among the claims of its login.
    Turn {
        flight: Hash,
        attempt: Uuid,
    },
    Echo(Uuid),
    /// A server has noticed that it decides now, where another one did before.
    Incarnation,
}

fn read_message(message: &[u8]) -> Option<Message> {
    let line_end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    let (line, rest) = message.split_at(line_end);
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    match words.next()? {
        "turn" => {
            let flight = Hash::from_hex(words.next()?)?;
            Some(Message::Turn { flight, attempt: words.next()?.parse().ok()? })
        }
        "look" => Some(Message::Look { flight: Hash::from_hex(words.next()?)? }),
        "incarnation" => Some(Message::Incarnation),
        "echo" => Some(Message::Echo(Uuid::parse_str(words.next()?).ok()?)),
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
        assert!(
            matches!(read_message(format!("echo {attempt}").as_bytes()), Some(Message::Echo(read)) if read == attempt)
        );
        for strange in ["", "look", "look x", "landed", "landed a b", "echo", "echo x", "check", "later release"] {
            assert!(read_message(strange.as_bytes()).is_none(), "{strange}");
        }
    }
}
