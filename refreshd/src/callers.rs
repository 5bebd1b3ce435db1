//! The connections of callers: how many there are, which of them wait for their caller, and which one makes way for a
//! newcomer where no place is left.
//!
//! A connection with a request that is being answered is never cut. One that waits for its caller, for bytes of a request or to
//! be read, costs its caller little and everybody else a place: where the places are out, the peer address with the most
//! connections loses the one that waits the longest.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::metrics::CUT;

/// A connection that waits for less is not cut: bytes of a caller in good faith may be on their way.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// How often somebody who waits for a place looks again whether one can be had.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// All connections of one listener.
#[derive(Debug)]
pub(crate) struct Callers {
    places: Arc<Semaphore>,
    /// How many connections one peer address may have.
    most_of_a_peer: Option<u32>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// By number, in the order in which they came.
    connections: BTreeMap<u64, Arc<Caller>>,
    next: u64,
}

/// The connection of a caller.
#[derive(Debug)]
pub(crate) struct Caller {
    peer: IpAddr,
    since: Instant,
    /// Since when it waits for its caller: since it came, was answered, or the caller took the last bytes of an answer. None: a
    /// request of its is being answered, or it is cut.
    waits: Mutex<Option<Instant>>,
    cut: Notify,
}

/// A place of a connection, as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    pub(crate) caller: Arc<Caller>,
    callers: Arc<Callers>,
    _permit: OwnedSemaphorePermit,
}

impl Callers {
    pub(crate) fn new(places: usize, most_of_a_peer: Option<u32>) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), most_of_a_peer, open: Mutex::default() })
    }

    /// A place for a connection from this address, as soon as there is one. None where the address has too many.
    ///
    /// Cancelled, it leaves no trace.
    pub(crate) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        if let Some(most) = self.most_of_a_peer
            && self.open().connections.values().filter(|caller| caller.peer == peer).count() >= most as usize
        {
            return None;
        }
        let permit = loop {
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(permit) => break permit,
                Err(_) => self.make_way(),
            }
            // A place that comes free by itself is taken at once.
            let free = Arc::clone(&self.places).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, free).await {
                break permit.expect("BUG: nobody closes it");
            }
        };
        let now = Instant::now();
        let caller = Arc::new(Caller { peer, since: now, waits: Mutex::new(Some(now)), cut: Notify::new() });
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Arc::clone(&caller));
        Some(Place { number, caller, callers: Arc::clone(self), _permit: permit })
    }

    /// Cuts the connection that can be missed the most, if there is one.
    fn make_way(&self) {
        let open = self.open();
        let mut of_peer: HashMap<IpAddr, usize> = HashMap::new();
        for caller in open.connections.values() {
            *of_peer.entry(caller.peer).or_default() += 1;
        }
        let waiting = open.connections.values().filter_map(|caller| Some((caller.waits_for(LEAST_WAIT)?, caller)));
        if let Some((_, caller)) = waiting.max_by_key(|(waited, caller)| (of_peer[&caller.peer], *waited)) {
            caller.cut();
        }
    }

    /// Cuts all that have waited for their callers for so long.
    pub(crate) fn cut_idle(&self, waited: Duration) {
        for caller in self.open().connections.values() {
            if caller.waits_for(waited).is_some() {
                caller.cut();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("BUG: nothing panics under this lock")
    }
}

impl Caller {
    /// For how long it has waited for its caller, where that is long enough and it is not cut yet.
    fn waits_for(&self, least: Duration) -> Option<Duration> {
        let since = *self.waits();
        since.map(|since| since.elapsed()).filter(|waited| *waited >= least)
    }

    fn waits(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waits.lock().expect("BUG: nothing panics under this lock")
    }

    /// The caller has taken bytes of its answer.
    pub(crate) fn takes(&self) {
        if let Some(since) = &mut *self.waits() {
            *since = Instant::now();
        }
    }

    fn cut(&self) {
        // Not looked at again: the place is freed once its task has noticed.
        *self.waits() = None;
        self.cut.notify_one();
        metrics::counter!(CUT).increment(1);
    }

    /// Ends when the connection is to be cut.
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// A whole request is there, and is answered for as long as this lives.
    pub(crate) fn answering(&self) -> Answering<'_> {
        *self.waits() = None;
        Answering(self)
    }
}

/// The connection of a caller is not cut.
#[derive(Debug)]
pub(crate) struct Answering<'a>(&'a Caller);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        *self.0.waits() = Some(Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.callers.open().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HONEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const FLOOD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn is_cut(place: &Place) -> bool {
        let mut cut = std::pin::pin!(place.caller.cut.notified());
        cut.as_mut().enable()
    }

    #[tokio::test(start_paused = true)]
    async fn newcomer_takes_the_place_of_who_waits_longest_at_the_busiest_address() {
        let callers = Callers::new(3, None);
        let honest = callers.admit(HONEST).await.expect("a place");
        tokio::time::advance(Duration::from_secs(1)).await;
        let old = callers.admit(FLOOD).await.expect("a place");
        tokio::time::advance(Duration::from_secs(1)).await;
        let new = callers.admit(FLOOD).await.expect("a place");

        let newcomer = tokio::spawn({
            let callers = Arc::clone(&callers);
            async move { callers.admit(HONEST).await.is_some() }
        });
        old.caller.is_cut().await;
        drop(old);

        assert!(newcomer.await.expect("no panic"));
        assert!(!is_cut(&honest) && !is_cut(&new));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_is_answered_is_never_cut_and_nor_is_one_that_came_just_now() {
        let callers = Callers::new(2, None);
        let answered = callers.admit(FLOOD).await.expect("a place");
        let answering = answered.caller.answering();
        tokio::time::advance(Duration::from_secs(60)).await;
        let fresh = callers.admit(FLOOD).await.expect("a place");

        callers.make_way();
        assert!(!is_cut(&answered) && !is_cut(&fresh));

        drop(answering);
        tokio::time::advance(LEAST_WAIT).await;
        callers.make_way();
        callers.make_way();
        assert!(is_cut(&answered) && is_cut(&fresh));
    }

    #[tokio::test(start_paused = true)]
    async fn address_with_too_many_connections_gets_no_more() {
        let callers = Callers::new(8, Some(2));
        let _held = [callers.admit(FLOOD).await.expect("a place"), callers.admit(FLOOD).await.expect("a place")];

        assert!(callers.admit(FLOOD).await.is_none());
        assert!(callers.admit(HONEST).await.is_some());
    }
}
