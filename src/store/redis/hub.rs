//! The one subscription of this process at a node, for the channels of all its namespaces there, on a connection of its own.
//!
//! First it asks which server it ends at, and listens on that server's channel, too: by that `begin.lua` knows that it is the same.
//! Then nothing but subscribing is sent over it, one thing at a time: a server that takes a channel away says so unasked, and the
//! redis crate takes that for the answer to what was sent last. So a channel counts as heard when its own name was confirmed,
//! and not because something was answered; where another name was, the connection is given up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tracing::debug;

use super::connector::{Connector, Place};
use super::keys::Keys;
use super::pubsub::PubSub;
use super::verdict::Verdict;
use super::which_server::server_without_proxy;
use crate::metrics::Counted;
use crate::store::contract::ServerId;

/// What is done with a message, where the connection is read: a task for it would be one more hop for every waiting flight.
pub(super) type Deliver = Arc<dyn Fn(&[u8]) + Send + Sync>;

pub(super) struct Hub {
    connector: Arc<Connector>,
    place: Place,
    /// Those of the lanes to the same node.
    epochs: watch::Receiver<u64>,
    /// The connection. Held while anything is sent over it.
    line: tokio::sync::Mutex<Option<Line>>,
}

/// A connection that has subscriptions.
struct Line {
    connection: MultiplexedConnection,
    epoch: u64,
    pubsub: PubSub,
    /// The server that it ends at, where no proxy is between and the user may ask.
    server: Option<ServerId>,
    heard: Arc<Heard>,
}

/// Who hears what comes over a line.
#[derive(Default)]
struct Heard(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    is_over: bool,
    last: u64,
    channels: HashMap<Vec<u8>, Channel>,
}

#[derive(Default)]
struct Channel {
    is_subscribed: bool,
    listeners: Vec<Listener>,
}

struct Listener {
    number: u64,
    deliver: Deliver,
    over: Arc<Notify>,
}

/// Channels that are heard, until `over` is told or this is dropped.
pub(super) struct Listening {
    hub: Arc<Hub>,
    heard: Arc<Heard>,
    number: u64,
    /// Told when there will be no more messages.
    pub(super) over: Arc<Notify>,
    /// The node's epochs from the one on in which the connection was made.
    pub(super) epochs: watch::Receiver<u64>,
}

/// Held where the connection is read: dropped with that, also where its runtime ends.
struct Ends {
    heard: Arc<Heard>,
    /// Counted from when it stands.
    _counted: Arc<OnceLock<Counted>>,
}

impl Hub {
    pub(super) fn new(connector: Arc<Connector>, place: Place, epochs: watch::Receiver<u64>) -> Self {
        Self { connector, place, epochs, line: tokio::sync::Mutex::default() }
    }

    /// Subscribes to the pod's channel, to that of all pods and to that of the server, over the connection that stands or a new one.
    pub(super) async fn listen(
        self: &Arc<Self>,
        pubsub: PubSub,
        keys: &Keys,
        pod: &str,
        deliver: Deliver,
    ) -> Result<Listening, RedisError> {
        let mut held = self.line.lock().await;
        // From before it is made: an end of the epoch meanwhile concerns it, too.
        let mut epochs = self.epochs.clone();
        let epoch = *epochs.borrow_and_update();
        let line = match held.take().filter(|line| line.epoch == epoch && !line.heard.lock().is_over) {
            Some(line) => held.insert(line),
            None => held.insert(self.connect(pubsub, epoch).await?),
        };
        let channels = [&*keys.channel(pod), keys.fleet()];
        let of_server = line.server.map(|server| keys.server(server.run_id()));
        let (number, over) = line.heard.register(&channels, of_server.as_deref(), deliver);
        let listening = Listening { hub: Arc::clone(self), heard: Arc::clone(&line.heard), number, over, epochs };
        let subscribed = line.subscribe(&channels).await;
        if subscribed.as_ref().is_err_and(|error| Verdict::of(error) != Verdict::Broken) {
            // Of these channels only. What was subscribed of them is taken back as this is dropped.
            return subscribed.map(|()| listening);
        }
        if subscribed.is_err() || !line.heard.are_subscribed(&channels) {
            drop(held.take());
        } else if let Some(channel) = of_server.as_deref()
            && let Err(error) = line.subscribe(&[channel]).await
        {
            debug!(%error, "nobody listens for the server: it says itself which it is");
        }
        subscribed?;
        if held.is_none() {
            return Err(RedisError::from((ErrorKind::Client, "another channel was confirmed than was subscribed to")));
        }
        Ok(listening)
    }

    async fn connect(&self, pubsub: PubSub, epoch: u64) -> Result<Line, RedisError> {
        let heard = Arc::<Heard>::default();
        let counted = Arc::new(OnceLock::new());
        let ends = Ends { heard: Arc::clone(&heard), _counted: Arc::clone(&counted) };
        let on_push = move |push: PushInfo| {
            ends.heard.hear(&push);
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(on_push);
        let connected = self.connector.connect_known(&self.place, config, Some(ProtocolVersion::RESP3)).await;
        let (mut connection, local) = connected?;
        let server = server_without_proxy(&mut connection, local).await;
        counted.get_or_init(|| self.connector.standing.rise());
        Ok(Line { connection, epoch, pubsub, server, heard })
    }

    /// Takes back what nobody hears any more.
    async fn tidy(&self, heard: &Arc<Heard>) {
        let mut held = self.line.lock().await;
        let Some(line) = held.as_mut().filter(|line| Arc::ptr_eq(&line.heard, heard)) else { return };
        let Some(unheard) = heard.take_unheard() else {
            drop(held.take());
            return;
        };
        for channel in unheard {
            if let Err(error) = line.pubsub.unsubscribe(&mut line.connection, &channel).await {
                debug!(%error, "a channel that nobody hears any more stays subscribed");
            }
        }
    }
}

impl Line {
    async fn subscribe(&mut self, channels: &[&str]) -> Result<(), RedisError> {
        let new: Vec<_> = channels.iter().copied().filter(|channel| !self.heard.are_subscribed(&[channel])).collect();
        if new.is_empty() { Ok(()) } else { self.pubsub.subscribe(&mut self.connection, &new).await }
    }
}

impl Heard {
    /// The channel of the server is one more that is taken back with the others; nothing is said there, and it may be missing.
    fn register(&self, channels: &[&str], of_server: Option<&str>, deliver: Deliver) -> (u64, Arc<Notify>) {
        let mut listeners = self.lock();
        listeners.last += 1;
        let (number, over) = (listeners.last, Arc::new(Notify::new()));
        let needed = channels.iter().map(|channel| (*channel, Arc::clone(&over)));
        for (channel, over) in needed.chain(of_server.map(|channel| (channel, Arc::default()))) {
            let listener = Listener { number, deliver: Arc::clone(&deliver), over };
            listeners.channels.entry(channel.into()).or_default().listeners.push(listener);
        }
        (number, over)
    }

    fn are_subscribed(&self, channels: &[&str]) -> bool {
        let listeners = self.lock();
        let is_subscribed =
            |channel: &str| listeners.channels.get(channel.as_bytes()).is_some_and(|channel| channel.is_subscribed);
        channels.iter().copied().all(is_subscribed)
    }

    fn hear(&self, push: &PushInfo) {
        let name = match push.data.first() {
            Some(Value::BulkString(name)) => name.as_slice(),
            _ => &[],
        };
        let mut listeners = self.lock();
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let (Some(channel), Some(Value::BulkString(message))) =
                    (listeners.channels.get(name), push.data.get(1))
                {
                    channel.listeners.iter().for_each(|listener| (listener.deliver)(message));
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                if let Some(channel) = listeners.channels.get_mut(name) {
                    channel.is_subscribed = true;
                }
            }
            // An ACL change takes a channel away without closing the connection, and so does a slot that moves.
            PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                if let Some(channel) = listeners.channels.get_mut(name) {
                    channel.is_subscribed = false;
                    channel.listeners.iter().for_each(|listener| listener.over.notify_one());
                }
            }
            PushKind::Disconnection => listeners.end(),
            _ => {}
        }
    }

    /// Forgets the channels that nobody hears, and answers which were subscribed. None where nobody hears anything.
    fn take_unheard(&self) -> Option<Vec<String>> {
        let mut listeners = self.lock();
        let mut unheard = Vec::new();
        listeners.channels.retain(|name, channel| {
            let is_heard = !channel.listeners.is_empty();
            if !is_heard && channel.is_subscribed {
                unheard.push(String::from_utf8_lossy(name).into_owned());
            }
            is_heard
        });
        (!listeners.channels.is_empty()).then_some(unheard)
    }

    /// Whether anybody hears anything without this one.
    fn unregister(&self, number: u64) -> bool {
        let mut listeners = self.lock();
        let mut is_heard = false;
        for channel in listeners.channels.values_mut() {
            channel.listeners.retain(|listener| listener.number != number);
            is_heard |= !channel.listeners.is_empty();
        }
        is_heard
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().expect("BUG: nothing panics with this lock held")
    }
}

impl Listeners {
    fn end(&mut self) {
        self.is_over = true;
        for listener in self.channels.values().flat_map(|channel| &channel.listeners) {
            listener.over.notify_one();
        }
    }
}

impl Listening {
    /// Nothing comes over the connection, though it stands: it is given up for all.
    pub(super) fn give_up(&self) {
        self.heard.lock().end();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.heard.unregister(self.number)
            && let Ok(mut held) = self.hub.line.try_lock()
            && held.as_ref().is_some_and(|line| Arc::ptr_eq(&line.heard, &self.heard))
        {
            // Nobody hears anything over it any more.
            drop(held.take());
        } else if !self.heard.lock().is_over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (hub, heard) = (Arc::clone(&self.hub), Arc::clone(&self.heard));
            runtime.spawn(async move { hub.tidy(&heard).await });
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.heard.lock().end();
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.heard.lock().end();
    }
}
