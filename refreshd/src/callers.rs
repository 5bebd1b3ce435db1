//! The connections of callers: how many there are, which of them wait for their caller, and which one makes way for a
//! newcomer where no place is left.
//!
//! A connection with a request that is being answered is not cut, unless its caller may have gone. One that waits for its caller, for bytes of a request or to
//! be read, costs its caller little and everybody else a place: where the places are out, the peer address with the most
//! connections loses the one that waits the longest. A newcomer waits for its place in a queue that is not the kernel's: there, all
//! that one address has opened would stand before the next caller.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::caller::Caller;
use crate::newcomers::Newcomers;

/// A connection that waits for less is not cut: bytes of a caller in good faith may be on their way.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// How often somebody who waits for a place looks again whether one can be had.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// All connections are looked at for one that makes way no more often, however fast newcomers come.
const LOOKS_APART: Duration = Duration::from_millis(1);
/// Of so many places one is kept from any single address.
const KEPT_OF: usize = 8;
/// No more newcomers wait for a place, however many places there are: so many connections the kernel keeps for a listener, too.
pub(crate) const MOST_NEWCOMERS: usize = 1024;

/// All connections of one listener.
#[derive(Debug)]
pub(crate) struct Callers {
    places: usize,
    /// How many connections one peer address may have.
    most_of_a_peer: Option<u32>,
    open: Mutex<Open>,
    came: Notify,
}

#[derive(Debug)]
struct Open {
    /// By number, in the order in which they came.
    connections: BTreeMap<u64, Arc<Caller>>,
    next: u64,
    of_peer: HashMap<IpAddr, usize>,
    newcomers: Newcomers<oneshot::Sender<Place>>,
    /// Connections that are cut and still hold their places.
    leaving: usize,
    looked: Option<Instant>,
}

/// What becomes of a newcomer.
enum Come {
    Admitted(Place),
    /// Until a place is handed to it. The other end is dropped where it is turned away.
    Waits(oneshot::Receiver<Place>),
    TurnedAway,
}

/// A place of a connection, as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    pub(crate) caller: Arc<Caller>,
    callers: Arc<Callers>,
}

impl Callers {
    /// With so many places, and so many newcomers that may wait for one.
    pub(crate) fn new(places: usize, newcomers: usize, most_of_a_peer: Option<u32>) -> Arc<Self> {
        let open = Open {
            connections: BTreeMap::new(),
            next: 0,
            of_peer: HashMap::new(),
            newcomers: Newcomers::at_most(newcomers),
            leaving: 0,
            looked: None,
        };
        Arc::new(Self { places, most_of_a_peer, open: Mutex::new(open), came: Notify::new() })
    }

    /// A place for a connection from this address, as soon as there is one. None where the address has too many, or too many wait and
    /// most of them are of this address.
    ///
    /// Its turn is that of this call, not of the first look at what it answers. Cancelled, it leaves no trace.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> impl Future<Output = Option<Place>> + Send + use<> {
        let handed = self.come(peer);
        async {
            match handed {
                Come::Admitted(place) => Some(place),
                Come::Waits(handed) => handed.await.ok(),
                Come::TurnedAway => None,
            }
        }
    }

    fn come(self: &Arc<Self>, peer: IpAddr) -> Come {
        let handed = {
            let mut open = self.open();
            let here = open.of(peer) + open.newcomers.of(peer);
            if self.most_of_a_peer.is_some_and(|most| here >= most as usize) {
                return Come::TurnedAway;
            }
            if self.has_place_for(&open, peer) {
                return Come::Admitted(self.place(&mut open, peer));
            }
            let (hand, handed) = oneshot::channel();
            open.newcomers.come(peer, hand);
            open.make_way();
            handed
        };
        self.came.notify_one();
        Come::Waits(handed)
    }

    /// Sees that newcomers get the places of those that can be missed, also where these have to wait a little longer first. Never
    /// ends.
    pub(crate) async fn make_way(&self) {
        loop {
            while self.open().newcomers.is_empty() {
                self.came.notified().await;
            }
            // Where one was found, the next newcomer looks at once.
            let pause = if self.open().make_way() { LOOKS_APART } else { LOOK_AGAIN };
            tokio::time::sleep(pause).await;
        }
    }

    /// One of many addresses always finds a place: no single one may have them all.
    fn has_place_for(&self, open: &Open, peer: IpAddr) -> bool {
        open.connections.len() < self.places && open.of(peer) < self.places - self.places / KEPT_OF
    }

    fn place(self: &Arc<Self>, open: &mut Open, peer: IpAddr) -> Place {
        let caller = Arc::new(Caller::new(peer));
        let number = open.next;
        open.next += 1;
        *open.of_peer.entry(peer).or_default() += 1;
        open.connections.insert(number, Arc::clone(&caller));
        Place { number, caller, callers: Arc::clone(self) }
    }

    /// Hands free places to newcomers: the address with the fewest connections comes first.
    fn hand_over(self: &Arc<Self>) {
        loop {
            let mut open = self.open();
            let Open { newcomers, of_peer, connections, .. } = &mut *open;
            let has_place =
                |count: usize| connections.len() < self.places && count < self.places - self.places / KEPT_OF;
            let next = newcomers.next(|peer| {
                let count = of_peer.get(&peer).copied().unwrap_or_default();
                has_place(count).then_some(count)
            });
            let Some((peer, hand)) = next else { break };
            if hand.is_closed() {
                continue;
            }
            let place = self.place(&mut open, peer);
            // A newcomer that goes in this moment gives its place back, which needs the lock.
            drop(open);
            let _ = hand.send(place);
        }
    }

    /// Cuts all that have waited for their callers for so long.
    pub(crate) fn cut_idle(&self, waited: Duration) {
        let mut open = self.open();
        let idle =
            open.connections.values().filter(|caller| caller.waits_for(waited).is_some() && caller.cut()).count();
        open.leaving += idle;
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("BUG: nothing panics under this lock")
    }
}

impl Open {
    fn of(&self, peer: IpAddr) -> usize {
        self.of_peer.get(&peer).copied().unwrap_or_default()
    }

    /// Cuts one for the first newcomer that none makes way for yet, if there is one that can be missed.
    fn make_way(&mut self) -> bool {
        let is_late = self.looked.is_none_or(|looked| looked.elapsed() >= LOOKS_APART);
        let Some(count) = self.first_without_a_place().filter(|_| is_late) else { return false };
        let is_cut = self.cut_one(count);
        self.looked = Some(Instant::now());
        is_cut
    }

    /// How many connections the address has of the newcomer that comes next, after those that have the places of who is leaving.
    fn first_without_a_place(&self) -> Option<usize> {
        let mut ranks: Vec<_> = self.newcomers.peers().map(|peer| (self.of(peer), self.newcomers.of(peer))).collect();
        ranks.sort_unstable();
        let mut provided_for = self.leaving;
        ranks.into_iter().find_map(|(count, waiting)| {
            let is_first = provided_for < waiting;
            provided_for = provided_for.saturating_sub(waiting);
            is_first.then_some(count)
        })
    }

    /// Cuts the connection that can be missed the most, if there is one: of an address with more connections than the newcomer's, or
    /// of the one with the most. Else a flood that comes again and again would take the places of others, and these those of each
    /// other.
    fn cut_one(&mut self, of_newcomer: usize) -> bool {
        let most = self.of_peer.values().max().copied().unwrap_or_default();
        let is_of_many = |caller: &&Arc<Caller>| {
            let count = self.of(caller.peer);
            count > of_newcomer || count == most
        };
        let waiting = self.connections.values().filter(is_of_many);
        let waiting = waiting.filter_map(|caller| Some((caller.waits_for(LEAST_WAIT)?, caller)));
        let missed_least = waiting.max_by_key(|(waited, caller)| (self.of(caller.peer), *waited));
        let is_cut = missed_least.is_some_and(|(_, caller)| caller.cut());
        self.leaving += usize::from(is_cut);
        is_cut
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.callers.open();
        open.connections.remove(&self.number);
        if let Some(count) = open.of_peer.get_mut(&self.caller.peer) {
            *count -= 1;
            if *count == 0 {
                open.of_peer.remove(&self.caller.peer);
            }
        }
        if self.caller.was_cut() {
            open.leaving -= 1;
        }
        drop(open);
        self.callers.hand_over();
    }
}

#[cfg(test)]
mod tests;
