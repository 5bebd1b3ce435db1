//! How many flights ask the provider at once, and which is next.
//!
//! A permit ends with its holder's lease, so whatever becomes of a leader, it comes back. A permit that comes free is
//! handed to the next of the queue: it is reserved for it, as a permit like any other, until it has had the time to
//! come. Why not let the first that asks take it: under load newcomers would overtake waiting flights for ever.
//!
//! While several clients queue, what each of them was given since counts as its share: a client whose calls take long holds no more
//! permits than the others.
//!
//! In Redis: `permits`, `budget` (their number), `queue` and `shares`; `lua/lib/permits.lua`, `budget.lua` and `queue.lua`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::concerned::ClientName;
use super::queue::{Line, Place, PodNumber, Queue, Shares, Wake};

const MOST_COUNTED: usize = 1000;

/// The permits that are out, and the flights that wait for one. `W` wakes a waiting flight.
#[derive(Debug)]
pub(crate) struct Budget<W> {
    permits: BTreeMap<Holder, Permit>,
    /// No permit ends before: what saves to look through all of them at each step.
    earliest_end: Option<Instant>,
    /// When all of them are forgotten, reserved ones and all, unless one more is given: a lease after the last was.
    forgotten_at: Option<Instant>,
    queue: Queue<W>,
    /// For whom a permit counts that was given while several clients queued. Some of these permits are out no more.
    shares: BTreeMap<Holder, ClientName>,
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
}

impl Applicant {
    fn place(self) -> Place {
        (self.since, self.attempt)
    }
}

impl BudgetLimits {
    /// How many permits may be out for a flight of this line to get one more. The last quarter is not for strangers.
    fn limit_for(self, line: Line) -> usize {
        match line {
            Line::Client(_) => self.limit,
            Line::Strangers => self.limit - self.limit / 4,
        }
    }
}

impl<W> Default for Budget<W> {
    fn default() -> Self {
        Self {
            permits: BTreeMap::new(),
            earliest_end: None,
            forgotten_at: None,
            queue: Queue::default(),
            shares: BTreeMap::new(),
        }
    }
}

impl<W: Wake> Budget<W> {
    /// Whether a permit is there for this flight, once those before it have theirs. It is not taken yet. `line` tells where the
    /// flight queues, and is asked only where permits are short; a flight that queued stays in its line.
    ///
    /// # Errors
    ///
    /// The line in which the flight has to [wait](Self::queue). One that does not wants to [leave](Self::leave).
    pub(crate) fn apply_for_permit(
        &mut self,
        applicant: Applicant,
        line: impl FnOnce() -> Line,
        now: Instant,
        limits: BudgetLimits,
    ) -> Result<(), Line> {
        let is_queue = !self.queue.is_empty();
        let is_short = is_queue || self.permits.len() >= limits.limit_for(Line::Strangers);
        let queues_in = self.queue.line_of(applicant.place());
        self.reap(now);
        let reserved = Holder::Reserved(applicant.attempt);
        if !is_short || self.permits.contains_key(&reserved) {
            return Ok(());
        }
        let line = queues_in.unwrap_or_else(line);
        if is_queue {
            // It is served in its turn, like all that queue.
            self.queue.enter(line, applicant.place(), None);
            self.hand_over(now, limits);
            return self.permits.contains_key(&reserved).then_some(()).ok_or(line);
        }
        (self.permits.len() < limits.limit_for(line)).then_some(()).ok_or(line)
    }

    /// Whether a permit is there that nobody queues for, and that leaves half of them to callers.
    pub(crate) fn is_permit_unwanted(&mut self, now: Instant, limits: BudgetLimits) -> bool {
        let is_queue = !self.queue.is_empty();
        self.reap(now);
        !is_queue && self.permits.len() < (limits.limit / 2).max(1)
    }

    /// Gives the flight the permit that [`apply_for_permit`](Self::apply_for_permit) found, until the end of its lease.
    pub(crate) fn take(&mut self, applicant: Applicant, fence: u64, until: Instant) {
        let reserved = Holder::Reserved(applicant.attempt);
        self.permits.remove(&reserved);
        if let Some(client) = self.shares.remove(&reserved) {
            self.shares.insert(Holder::Leader(fence), client);
        }
        self.give(Holder::Leader(fence), Permit { until, for_pod: None }, until);
    }

    /// Lets the flight wait for its turn. Answers when to look, should nobody wake it: when the first permit ends, of those
    /// that are out or of those that are handed over until then.
    pub(crate) fn queue(
        &mut self,
        applicant: Applicant,
        line: Line,
        waker: W,
        now: Instant,
        limits: BudgetLimits,
    ) -> Instant {
        self.queue.enter(line, applicant.place(), Some(waker));
        let next_handed_over = now + limits.reserved_for;
        self.first_end().map_or(next_handed_over, |first| first.min(next_handed_over))
    }

    /// The flight wants no permit any more.
    pub(crate) fn leave(&mut self, applicant: Applicant, now: Instant, limits: BudgetLimits) {
        self.queue.leave(applicant.place());
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
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        (self.permits.values().filter(|permit| permit.until > now).count(), self.queue.len())
    }

    /// Since when the flight waits that waits longest.
    pub(crate) fn oldest_queued(&self) -> Option<Instant> {
        self.queue.oldest()
    }

    fn settle(&mut self, now: Instant, limits: BudgetLimits) {
        self.reap(now);
        self.hand_over(now, limits);
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
        if !silent.is_empty() {
            for waker in self.queue.leave_all(silent) {
                waker.wake();
            }
        }
    }

    /// Hands free permits to the flights that wait.
    fn hand_over(&mut self, now: Instant, limits: BudgetLimits) {
        if self.queue.is_empty() || self.permits.len() >= limits.limit {
            return;
        }
        let is_shared = self.queue.is_shared();
        let mut shares = if is_shared { self.count_shares() } else { Shares::new() };
        while let Some(line) = self.queue.next(&shares)
            && self.permits.len() < limits.limit_for(line)
            && let Some(((_, attempt), waker)) = self.queue.call_first(line)
        {
            let for_pod = waker.as_ref().map(W::pod);
            // A flight that cannot be woken gets nothing; should it come by itself, it has its place still.
            if waker.is_none_or(W::wake) {
                let reserved = Holder::Reserved(attempt);
                self.give(reserved, Permit { until: now + limits.reserved_for, for_pod }, now + limits.lease);
                if is_shared && let Line::Client(client) = line {
                    self.shares.insert(reserved, client);
                    *shares.entry(client).or_default() += 1;
                    self.queue.has_been_served(line);
                }
            }
        }
    }

    /// More permits are not counted, as in Redis, where everybody would wait for that: by turns each client has enough of so many.
    fn count_shares(&mut self) -> Shares {
        if self.permits.len() > MOST_COUNTED {
            return Shares::new();
        }
        self.shares.retain(|holder, _| self.permits.contains_key(holder));
        let mut shares = Shares::new();
        for client in self.shares.values() {
            *shares.entry(*client).or_default() += 1;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const SIZE: BudgetLimits = BudgetLimits { limit: 2, lease: Duration::from_secs(10), reserved_for: S };
    const ONE: Line = Line::Client(1);
    const OTHER: Line = Line::Client(2);

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
            Applicant { attempt: Uuid::from_u128(name), since: self.start + since * S }
        }

        /// Takes a permit or queues, at second `at`; the fence is the name.
        fn ask(&mut self, name: u64, since: u32, at: u32) -> bool {
            self.ask_as(ONE, name, since, at)
        }

        fn ask_as(&mut self, line: Line, name: u64, since: u32, at: u32) -> bool {
            let (now, applicant) = (self.start + at * S, self.applicant(name.into(), since));
            let applied = self.budget.apply_for_permit(applicant, || line, now, SIZE);
            match applied {
                Ok(()) => self.budget.take(applicant, name, now + 10 * S),
                Err(line) => self.queue(line, name, since, at, true),
            }
            applied.is_ok()
        }

        fn queue(&mut self, line: Line, name: u64, since: u32, at: u32, is_there: bool) {
            // A pod for each ten names: most tests have a flight of each.
            let bell = Bell { name: name.into(), woken: Rc::clone(&self.woken), is_there, pod: name % 10 };
            self.budget.queue(self.applicant(name.into(), since), line, bell, self.start + at * S, SIZE);
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
        stage.queue(ONE, 3, 1, 1, false);
        stage.queue(ONE, 4, 2, 2, true);

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

    #[test]
    fn client_with_one_flight_waits_for_one_permit_of_a_client_that_queues_with_many() {
        let mut stage = Stage::new();
        for name in 1..=20 {
            stage.ask(name, 0, 0);
        }
        stage.ask_as(OTHER, 21, 1, 1);

        stage.release(1, 2);
        stage.release(2, 2);

        assert_eq!(*stage.woken.borrow(), [3, 21]);
    }

    #[test]
    fn client_whose_calls_take_long_holds_no_more_permits_than_the_other() {
        let mut stage = Stage::new();
        for name in 1..=9 {
            stage.ask(name, 0, 0);
        }
        for name in 21..=29 {
            stage.ask_as(OTHER, name, 0, 0);
        }
        // Each call of the other client is over at once, and those of the first one never.
        stage.release(1, 1);
        stage.release(2, 1);
        assert!(stage.ask(3, 0, 1));

        for name in 21..=28 {
            assert!(stage.ask_as(OTHER, name, 0, 1), "{name}");
            stage.release(name, 1);
        }

        assert_eq!(*stage.woken.borrow(), [&[3][..], &(21..=29).collect::<Vec<_>>()].concat());
    }

    #[test]
    fn client_that_comes_again_with_each_flight_does_not_overtake_who_waits() {
        let mut stage = Stage::new();
        let others = [3, 4, 5].map(Line::Client);
        for name in 1..=4 {
            stage.ask(name, 0, 0);
        }
        for (name, line) in (10..).zip(others) {
            stage.ask_as(line, name, 0, 0);
        }
        let (mut newcomer, mut leading) = (20, vec![1, 2]);

        // Whoever is called leads and is done at once; its client, if it is one of the others, queues again.
        for _ in 0..8 {
            stage.release(leading.remove(0), 1);
            let called = *stage.woken.borrow().last().expect("one was called") as u64;
            assert!(stage.ask(called, 0, 1));
            leading.push(called);
            if called >= 10 {
                stage.ask_as(others[called as usize % 3], newcomer, 1, 1);
                newcomer += 1;
            }
        }

        assert!(stage.woken.borrow().contains(&3) && stage.woken.borrow().contains(&4), "{:?}", stage.woken.borrow());
    }
}
