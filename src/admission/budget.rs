//! How many flights ask the provider at once, and which is next.
//!
//! A permit ends with its holder's lease, so whatever becomes of a leader, it comes back. A permit that comes free is
//! handed to the first of the queue: it is reserved for it, as a permit like any other, until it has had the time to
//! come. Why not let the first that asks take it: under load newcomers would overtake waiting flights for ever.
//!
//! In Redis: `permits`, `budget` (their number) and `queue`; `lua/lib/permits.lua`, `budget.lua` and `queue.lua`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// The permits that are out, and the flights that wait for one. `W` wakes a waiting flight.
#[derive(Debug)]
pub(crate) struct Budget<W> {
    permits: BTreeMap<Holder, Permit>,
    /// No permit ends before: what saves to look through all of them at each step.
    earliest_end: Option<Instant>,
    /// When all of them are forgotten, reserved ones and all, unless one more is given: a lease after the last was.
    forgotten_at: Option<Instant>,
    /// First all that are known, by arrival.
    queue: BTreeMap<Place, W>,
}

/// A place in the queue, in their order.
type Place = (Rank, Instant, Uuid);

/// Strangers queue behind all that are known, and the last quarter of the permits is not for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Known,
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// A leader, by its fence.
    Leader(u64),
    /// A flight that was woken in the queue and has not come yet, by its attempt.
    Reserved(Uuid),
}

#[derive(Clone, Copy, Debug)]
struct Permit {
    /// The end of the holder's lease, or of its time to come.
    until: Instant,
    /// The pod of the flight that it is reserved for, until that comes.
    for_pod: Option<PodNumber>,
}

/// A pod, among those that share the budget.
pub(crate) type PodNumber = u64;

/// The number of permits, and for how long one is reserved for a flight that was woken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BudgetLimits {
    pub(crate) limit: usize,
    pub(crate) lease: Duration,
    pub(crate) reserved_for: Duration,
}

/// A flight that wants a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant {
    pub(crate) attempt: Uuid,
    /// When it came first: its place in the queue.
    pub(crate) since: Instant,
    pub(crate) rank: Rank,
}

impl BudgetLimits {
    /// How many permits may be out for a flight of this rank to get one more.
    fn limit_for(self, rank: Rank) -> usize {
        match rank {
            Rank::Known => self.limit,
            Rank::Stranger => self.limit - self.limit / 4,
        }
    }
}

pub(crate) trait Wake {
    /// Wakes a flight; false when nobody is there to be woken.
    fn wake(self) -> bool;
    /// The pod of the flight.
    fn pod(&self) -> PodNumber;
}

impl<W> Default for Budget<W> {
    fn default() -> Self {
        Self { permits: BTreeMap::new(), earliest_end: None, forgotten_at: None, queue: BTreeMap::new() }
    }
}

impl<W: Wake> Budget<W> {
    /// Whether the next flight gets a permit, any client's.
    pub(crate) fn has_room_for_all(&self, limits: BudgetLimits) -> bool {
        self.queue.is_empty() && self.permits.len() < limits.limit_for(Rank::Stranger)
    }

    /// Leaves the queue and tells whether a permit is there for this flight, once the flights before it have theirs. The
    /// permit is not taken yet. A flight that queued has the rank that it came with, should it queue again.
    pub(crate) fn apply_for_permit(&mut self, applicant: &mut Applicant, now: Instant, limits: BudgetLimits) -> bool {
        self.reap(now);
        let place = self.place_of(*applicant);
        applicant.rank = place.0;
        self.queue.remove(&place);
        if self.permits.contains_key(&Holder::Reserved(applicant.attempt)) {
            return true;
        }
        self.hand_over(now, limits, Some((place.0, place.1)));
        self.permits.len() < limits.limit_for(place.0)
    }

    /// The place of a flight: the one that it queued for, whatever its client is now.
    fn place_of(&self, applicant: Applicant) -> Place {
        let place = |rank| (rank, applicant.since, applicant.attempt);
        let is_there = |rank| self.queue.contains_key(&place(rank));
        [Rank::Known, Rank::Stranger].into_iter().find(|rank| is_there(*rank)).map_or(place(applicant.rank), place)
    }

    /// Gives the flight the permit that [`apply_for_permit`](Self::apply_for_permit) found, until the end of its lease.
    pub(crate) fn take(&mut self, applicant: Applicant, fence: u64, until: Instant) {
        self.permits.remove(&Holder::Reserved(applicant.attempt));
        self.give(Holder::Leader(fence), Permit { until, for_pod: None }, until);
    }

    /// Lets the flight wait for its turn. Answers when to look, should nobody wake it: when the first permit ends, of those
    /// that are out or of those that are handed over until then.
    pub(crate) fn queue(&mut self, applicant: Applicant, waker: W, now: Instant, limits: BudgetLimits) -> Instant {
        self.queue.insert((applicant.rank, applicant.since, applicant.attempt), waker);
        let next_handed_over = now + limits.reserved_for;
        self.first_end().map_or(next_handed_over, |first| first.min(next_handed_over))
    }

    /// The flight wants no permit any more.
    pub(crate) fn leave(&mut self, applicant: Applicant, now: Instant, limits: BudgetLimits) {
        self.queue.remove(&self.place_of(applicant));
        self.permits.remove(&Holder::Reserved(applicant.attempt));
        self.settle(now, limits);
    }

    /// A leader that lives keeps its permit; one that was late has it again, because it does ask the provider.
    pub(crate) fn renew(&mut self, fence: u64, until: Instant, now: Instant, limits: BudgetLimits) {
        // First what is over: with this permit the others would seem not to be forgotten.
        self.reap(now);
        self.give(Holder::Leader(fence), Permit { until, for_pod: None }, until);
        self.settle(now, limits);
    }

    /// A leader is done.
    pub(crate) fn release(&mut self, fence: u64, now: Instant, limits: BudgetLimits) {
        self.permits.remove(&Holder::Leader(fence));
        self.settle(now, limits);
    }

    /// Permits that are out.
    #[cfg(test)]
    fn in_use(&self) -> usize {
        self.permits.len()
    }

    /// Permits that are out and not over, and how many flights wait for one.
    #[cfg(test)]
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        (self.permits.values().filter(|permit| permit.until > now).count(), self.queue.len())
    }

    fn settle(&mut self, now: Instant, limits: BudgetLimits) {
        self.reap(now);
        self.hand_over(now, limits, None);
    }

    fn give(&mut self, holder: Holder, permit: Permit, forgotten_at: Instant) {
        self.forgotten_at = Some(self.forgotten_at.map_or(forgotten_at, |at| at.max(forgotten_at)));
        self.permits.insert(holder, permit);
        self.earliest_end = Some(self.earliest_end.map_or(permit.until, |first| first.min(permit.until)));
    }

    fn first_end(&self) -> Option<Instant> {
        self.permits.values().map(|permit| permit.until).min()
    }

    fn reap(&mut self, now: Instant) {
        if self.earliest_end.is_none_or(|first| first > now) {
            return;
        }
        let mut silent = BTreeSet::new();
        self.permits.retain(|_, permit| {
            if permit.until <= now {
                silent.extend(permit.for_pod);
            }
            permit.until > now
        });
        self.earliest_end = self.first_end();
        // As in Redis, where both keys have ended: what was reserved and not taken is forgotten.
        if self.forgotten_at.is_some_and(|at| at > now) {
            self.give_way(&silent);
        }
    }

    /// A pod of which a flight was woken and did not come is stopped or cut off. The other places of that pod are given
    /// up, or each of them would keep a permit from the others for as long. Their flights are woken: one that goes on
    /// after all comes again, and brings its place along.
    fn give_way(&mut self, silent: &BTreeSet<PodNumber>) {
        if silent.is_empty() {
            return;
        }
        let places = self.queue.iter().filter(|(_, waker)| silent.contains(&waker.pod()));
        let places: Vec<_> = places.map(|(place, _)| *place).collect();
        for waker in places.iter().filter_map(|place| self.queue.remove(place)).collect::<Vec<_>>() {
            waker.wake();
        }
    }

    /// Hands free permits to the flights that wait, up to those that came at `before`.
    fn hand_over(&mut self, now: Instant, limits: BudgetLimits, before: Option<(Rank, Instant)>) {
        while let Some(first) = self.queue.first_entry()
            && self.permits.len() < limits.limit_for(first.key().0)
            && before.is_none_or(|before| (first.key().0, first.key().1) < before)
        {
            let ((_, _, attempt), waker) = first.remove_entry();
            // A flight that cannot be woken gets nothing; should it come by itself, it has its place still.
            let pod = waker.pod();
            if waker.wake() {
                let permit = Permit { until: now + limits.reserved_for, for_pod: Some(pod) };
                self.give(Holder::Reserved(attempt), permit, now + limits.lease);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const SIZE: BudgetLimits = BudgetLimits { limit: 2, lease: Duration::from_secs(10), reserved_for: S };

    /// Notes which flights were woken.
    struct Bell {
        name: u128,
        woken: Rc<RefCell<Vec<u128>>>,
        is_there: bool,
        pod: PodNumber,
    }

    impl Wake for Bell {
        fn wake(self) -> bool {
            self.woken.borrow_mut().push(self.name);
            self.is_there
        }

        fn pod(&self) -> PodNumber {
            self.pod
        }
    }

    struct Stage {
        budget: Budget<Bell>,
        start: Instant,
        woken: Rc<RefCell<Vec<u128>>>,
    }

    impl Stage {
        fn new() -> Self {
            Self { budget: Budget::default(), start: Instant::now(), woken: Rc::default() }
        }

        fn applicant(&self, name: u128, since: u32) -> Applicant {
            Applicant { attempt: Uuid::from_u128(name), since: self.start + since * S, rank: Rank::Known }
        }

        /// Takes a permit or queues, at second `at`; the fence is the name.
        fn ask(&mut self, name: u64, since: u32, at: u32) -> bool {
            let (now, mut applicant) = (self.start + at * S, self.applicant(name.into(), since));
            let has_permit = self.budget.apply_for_permit(&mut applicant, now, SIZE);
            if has_permit {
                self.budget.take(applicant, name, now + 10 * S);
            } else {
                self.queue(name, since, at, true);
            }
            has_permit
        }

        fn queue(&mut self, name: u64, since: u32, at: u32, is_there: bool) {
            // A pod for each ten names: most tests have a flight of each.
            let bell = Bell { name: name.into(), woken: Rc::clone(&self.woken), is_there, pod: name % 10 };
            self.budget.queue(self.applicant(name.into(), since), bell, self.start + at * S, SIZE);
        }

        fn release(&mut self, fence: u64, at: u32) {
            self.budget.release(fence, self.start + at * S, SIZE);
        }
    }

    #[test]
    fn permit_that_comes_free_is_reserved_for_the_first_of_the_queue() {
        let mut stage = Stage::new();
        assert_eq!(
            [stage.ask(1, 0, 0), stage.ask(2, 0, 0), stage.ask(3, 1, 1), stage.ask(4, 2, 2)],
            [true, true, false, false]
        );

        stage.release(1, 3);

        assert_eq!(*stage.woken.borrow(), [3]);
        assert_eq!(stage.budget.in_use(), 2);
        assert!(!stage.ask(5, 3, 3), "a newcomer overtook the queue");
        assert!(stage.ask(3, 1, 3));
        assert_eq!(stage.budget.in_use(), 2);
    }

    #[test]
    fn who_does_not_come_when_its_turn_came_loses_the_permit_but_not_its_place() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 0);
        stage.ask(3, 1, 1);
        stage.ask(4, 2, 2);
        stage.release(1, 3);

        // Second 4: the permit is no longer reserved for 3.
        assert!(stage.ask(4, 2, 4));
        assert!(!stage.ask(3, 1, 5));
        stage.ask(6, 6, 6);
        stage.release(2, 7);

        assert_eq!(*stage.woken.borrow(), [3, 3]);
    }

    #[test]
    fn pod_that_does_not_come_when_its_turn_came_makes_way_with_all_its_places() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 0);
        // Flights 3, 13 and 23 are of the pod that is stopped.
        for (since, name) in [(1, 3), (2, 13), (3, 23), (4, 4)] {
            stage.ask(name, since, since);
        }
        stage.release(1, 5);
        assert_eq!(*stage.woken.borrow(), [3]);

        stage.budget.settle(stage.start + 6 * S, SIZE);

        assert_eq!(*stage.woken.borrow(), [3, 13, 23, 4]);
        assert!(stage.ask(4, 4, 6));
        // It goes on after all, and is first again.
        assert!(!stage.ask(13, 2, 7) && !stage.ask(5, 7, 7));
        stage.release(4, 8);
        assert_eq!(stage.woken.borrow().last(), Some(&13));
    }

    #[test]
    fn who_cannot_be_woken_holds_up_nobody() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 0);
        stage.queue(3, 1, 1, false);
        stage.queue(4, 2, 2, true);

        stage.release(1, 3);

        assert_eq!(*stage.woken.borrow(), [3, 4]);
        assert!(stage.ask(4, 2, 3));
    }

    #[test]
    fn permit_of_a_dead_leader_comes_back_with_its_lease() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 5);

        assert!(!stage.ask(3, 9, 9));
        assert!(stage.ask(3, 9, 10));
    }

    #[test]
    fn each_permit_ends_with_its_own_lease_whatever_ends_before() {
        let mut stage = Stage::new();
        assert!(stage.ask(1, 0, 0) && stage.ask(2, 0, 0));
        stage.budget.renew(1, stage.start + 20 * S, stage.start + 5 * S, SIZE);

        assert!(stage.ask(3, 10, 10));
        assert!(!stage.ask(4, 11, 11));
        stage.budget.leave(stage.applicant(4, 11), stage.start + 11 * S, SIZE);

        assert!(stage.ask(5, 20, 20) && stage.ask(6, 20, 20));
        assert_eq!(stage.budget.in_use(), 2);
    }

    #[test]
    fn late_leader_is_counted_again_and_nobody_is_admitted_beyond_it() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 0);
        assert!([stage.ask(3, 10, 10), stage.ask(4, 10, 10)].iter().all(|led| *led));

        stage.budget.renew(1, stage.start + 21 * S, stage.start + 11 * S, SIZE);
        stage.release(3, 12);

        assert_eq!(stage.budget.in_use(), 2);
        assert!(!stage.ask(5, 13, 13));
    }

    #[test]
    fn who_leaves_hands_its_place_on() {
        let mut stage = Stage::new();
        stage.ask(1, 0, 0);
        stage.ask(2, 0, 0);
        stage.ask(3, 1, 1);
        stage.ask(4, 2, 2);
        stage.release(1, 3);

        stage.budget.leave(stage.applicant(3, 1), stage.start + 3 * S, SIZE);

        assert_eq!(*stage.woken.borrow(), [3, 4]);
    }
}
