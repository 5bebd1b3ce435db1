//! Which node serves a namespace now: the whole difference between one server, a group with sentinels and a cluster.
//!
//! All keys of a namespace are in one slot, so one node serves it all, on every topology. It is found anew at every connect;
//! everything else, the lanes and the subscription, is the same everywhere. One answer is for all namespaces of a process.
//!
//! Why not the clients of the redis crate for clusters and sentinels: theirs hang where an owner hangs, lose the
//! subscription when a slot moves, and ask sentinels one after the other, a dead one first.

use std::future::poll_fn;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, ErrorKind, RedisError};
use tokio::time::Instant;

pub(super) use self::sentinel::SWITCHES;
pub(super) use self::told::Address;
use self::told::{Serves, Told, nobody};
use super::target::{Whereabouts, at};

mod told;
mod cluster;
mod sentinel;
#[cfg(test)]
mod tests;

/// How long a newer answer is waited for, once there is one: in the middle of a failover some are behind, and some hang.
const GRACE: Duration = Duration::from_millis(100);

/// For how long a newer answer is believed after it was heard last, where only some say the older one: in the middle of a failover
/// the sentinels hear of the new master one after the other, and the one that has told of it may be slow.
const BELIEVED: Duration = Duration::from_secs(5);

/// So many nodes of a cluster are asked beside those of the URL.
const MOST_MEMBERS: usize = 16;

pub(super) struct Node {
    /// What kind of target it was at start. Channels and scripts go by it.
    kind: Discriminant<Whereabouts>,
    pub(super) is_cluster: bool,
    /// What was found last. Held by the one task that asks for all.
    found: tokio::sync::Mutex<Option<Found>>,
    /// The nodes of the cluster as they were found last: those of the URL may be replaced one after the other.
    members: Mutex<Vec<Address>>,
}

struct Found {
    serves: Serves,
    asked: Instant,
    /// Of the failover that it came from, and when anybody told of it last.
    epoch: u64,
    told: Instant,
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Told, RedisError>> + Send + 'a>>;

impl Node {
    /// `first` is what the target said at start.
    pub(super) fn new(first: &Whereabouts) -> Self {
        Self {
            kind: discriminant(first),
            is_cluster: matches!(first, Whereabouts::Cluster { .. }),
            found: tokio::sync::Mutex::default(),
            members: Mutex::default(),
        }
    }

    /// The one server that the endpoint leads to, or the master of the group: how it is entered. `connect` connects to those
    /// that are asked, which have `timeout` together; the caller bounds the whole.
    ///
    /// # Errors
    ///
    /// Nobody of those asked knows the node.
    pub(super) async fn find<'a, F>(
        &'a self,
        whereabouts: Whereabouts,
        timeout: Duration,
        connect: &'a (impl Fn(ConnectionInfo) -> F + Sync),
    ) -> Result<ConnectionInfo, RedisError>
    where
        F: Future<Output = Result<MultiplexedConnection, RedisError>> + Send + 'a,
    {
        let since = Instant::now();
        self.is_of_its_kind(&whereabouts)?;
        if let Whereabouts::Fixed(info) = whereabouts {
            return Ok(info);
        }
        match &self.ask(&whereabouts, Some(since), timeout, connect).await?.as_ref().expect("BUG: it was found").serves
        {
            Serves::All(info) => Ok(info.clone()),
            Serves::Slots(_) => Err(nobody("a namespace on a cluster has a slot")),
        }
    }

    /// The node that owns a slot of the cluster, unless another task has asked since then; without `since` whatever was found
    /// last will do.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(super) async fn owner<'a, F>(
        &'a self,
        whereabouts: Whereabouts,
        slot: u16,
        since: Option<Instant>,
        timeout: Duration,
        connect: &'a (impl Fn(ConnectionInfo) -> F + Sync),
    ) -> Result<Address, RedisError>
    where
        F: Future<Output = Result<MultiplexedConnection, RedisError>> + Send + 'a,
    {
        self.is_of_its_kind(&whereabouts)?;
        match &self.ask(&whereabouts, since, timeout, connect).await?.as_ref().expect("BUG: it was found").serves {
            Serves::Slots(ranges) => {
                let owner = ranges.iter().find(|(slots, _)| slots.contains(&slot));
                owner.map(|(_, owner)| owner.clone()).ok_or_else(|| nobody(format!("slot {slot} is served by no node")))
            }
            Serves::All(_) => Err(nobody("only a cluster has slots")),
        }
    }

    /// All nodes that own slots of the cluster.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(super) async fn owners<'a, F>(
        &'a self,
        whereabouts: Whereabouts,
        timeout: Duration,
        connect: &'a (impl Fn(ConnectionInfo) -> F + Sync),
    ) -> Result<Vec<Address>, RedisError>
    where
        F: Future<Output = Result<MultiplexedConnection, RedisError>> + Send + 'a,
    {
        self.is_of_its_kind(&whereabouts)?;
        let mut owners = Vec::new();
        let found = self.ask(&whereabouts, Some(Instant::now()), timeout, connect).await?;
        if let Some(Found { serves: Serves::Slots(ranges), .. }) = found.as_ref() {
            owners.extend(ranges.iter().map(|(_, owner)| owner.clone()));
        }
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    fn is_of_its_kind(&self, whereabouts: &Whereabouts) -> Result<(), RedisError> {
        if discriminant(whereabouts) == self.kind {
            return Ok(());
        }
        let reason =
            "the redis URL is of another kind than at start (one server, sentinels, cluster): restart this pod";
        Err(RedisError::from((ErrorKind::InvalidClientConfig, reason)))
    }

    /// Asks all at once, unless what was found last was asked for since then.
    async fn ask<'a, F>(
        &'a self,
        whereabouts: &Whereabouts,
        since: Option<Instant>,
        timeout: Duration,
        connect: &'a (impl Fn(ConnectionInfo) -> F + Sync),
    ) -> Result<tokio::sync::MutexGuard<'a, Option<Found>>, RedisError>
    where
        F: Future<Output = Result<MultiplexedConnection, RedisError>> + Send + 'a,
    {
        let mut found = self.found.lock().await;
        if found.as_ref().is_some_and(|found| since.is_none_or(|since| found.asked >= since)) {
            return Ok(found);
        }
        let asked = Instant::now();
        let known = found.as_ref().map_or(0, |found| found.epoch);
        let (told, are_all) = match whereabouts {
            Whereabouts::Fixed(info) => {
                (Told { epoch: 0, serves: Serves::All(info.clone()), members: Vec::new() }, Everybody::Answered)
            }
            Whereabouts::Sentinel { sentinels, master, node } => {
                let ask = |sentinel: ConnectionInfo| -> Asked<'_> {
                    Box::pin(async move { sentinel::ask(connect(sentinel).await?, master, node).await })
                };
                newest(sentinels.iter().cloned().map(ask).collect(), known, timeout).await?
            }
            Whereabouts::Cluster { seeds } => {
                let ask = |member: ConnectionInfo| -> Asked<'_> {
                    Box::pin(async move { cluster::ask(connect(member.clone()).await?, &member).await })
                };
                newest(self.known(seeds).into_iter().map(ask).collect(), known, timeout).await?
            }
        };
        if let Some(found) = found.as_mut().filter(|found| found.outlives(&told, are_all)) {
            found.asked = asked;
            found.is_entered_as(whereabouts);
        } else {
            let Told { epoch, serves, members } = told;
            *self.members.lock().expect("BUG: nothing panics with this lock held") = members;
            *found = Some(Found { serves, asked, epoch, told: asked });
        }
        Ok(found)
    }

    /// Whom to ask: those of the URL, then those that were seen last, entered as the URL says now.
    fn known(&self, seeds: &[ConnectionInfo]) -> Vec<ConnectionInfo> {
        let mut known = seeds.to_vec();
        let members = self.members.lock().expect("BUG: nothing panics with this lock held");
        for (host, port) in &*members {
            let member = at(&seeds[0], host, *port);
            if known.len() < MOST_MEMBERS + seeds.len() && !known.iter().any(|other| other.addr() == member.addr()) {
                known.push(member);
            }
        }
        known
    }
}

impl Found {
    /// Whether this is to be believed rather than an older answer: for a while, unless all say the older one. Else a connection that
    /// is made in the middle of a failover may lead to the server that is being replaced, which takes writes that will be lost.
    fn outlives(&self, told: &Told, are_all: Everybody) -> bool {
        told.epoch < self.epoch && are_all == Everybody::OrNot && self.told.elapsed() < BELIEVED
    }

    /// The same server, with the login as it is now.
    fn is_entered_as(&mut self, whereabouts: &Whereabouts) {
        if let (Serves::All(info), Whereabouts::Sentinel { node, .. }) = (&mut self.serves, whereabouts) {
            *info = node.clone().set_addr(info.addr().clone());
        }
    }
}

/// Whether all have answered that were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Everybody {
    Answered,
    OrNot,
}

/// Waits for all at once: one that hangs delays nobody for long. Takes the newest answer; one that is older than what is `known`
/// ends no waiting.
async fn newest(mut asked: Vec<Asked<'_>>, known: u64, timeout: Duration) -> Result<(Told, Everybody), RedisError> {
    let (mut newest, mut refused): (Option<Told>, _) = (None, nobody("nobody was asked"));
    let (mut answers, all) = (0, asked.len());
    let mut until = Instant::now() + timeout;
    while let Ok(Some(answered)) = tokio::time::timeout_at(until, first_of(&mut asked)).await {
        match answered {
            Ok(told) => {
                answers += 1;
                until = until.min(Instant::now() + if told.epoch < known { timeout / 2 } else { GRACE });
                if newest.as_ref().is_none_or(|newest| newest.epoch < told.epoch) {
                    newest = Some(told);
                }
            }
            Err(error) => {
                // One that hangs is not to hide that the others do not know: they may know in a moment.
                until = until.min(Instant::now() + timeout / 2);
                refused = error;
            }
        }
    }
    let are_all = if answers == all { Everybody::Answered } else { Everybody::OrNot };
    newest.map(|told| (told, are_all)).ok_or(refused)
}

/// The first answer, None when all have answered.
async fn first_of(asked: &mut Vec<Asked<'_>>) -> Option<Result<Told, RedisError>> {
    poll_fn(|context| {
        for place in 0..asked.len() {
            if let Poll::Ready(answered) = asked[place].as_mut().poll(context) {
                drop(asked.swap_remove(place));
                return Poll::Ready(Some(answered));
            }
        }
        if asked.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
