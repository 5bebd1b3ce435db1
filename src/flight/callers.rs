//! The callers that wait for a flight, and until when: one list for all, and one timer.
//!
//! All callers of a pod have the same patience, so their time is over in the order in which they came. Why not a timer
//! for each: it costs more than all else that a joiner does, and hardly ever goes off.

use std::collections::VecDeque;
use std::mem;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime;
use tokio::time::Instant;

use crate::config::Config;

/// The callers of one flight.
#[derive(Debug)]
pub(super) struct Callers {
    /// In the order they came. None: it went away.
    waiting: VecDeque<Option<Caller>>,
    /// The place of the first in the list: so many have left it.
    first: u64,
    /// `wait_timeout` after the last caller came. None once no caller may join any more.
    last_deadline: Option<Instant>,
    /// The flight queued or waited for a lost leader: its callers wait for `wait_timeout`.
    has_wait_timeout: bool,
    /// The runtime of the task that tells callers when their time is over. None until that task runs.
    timekeeper: Option<runtime::Id>,
}

#[derive(Debug)]
struct Caller {
    arrived: Instant,
    waker: Waker,
}

/// A caller's place among all that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

/// What the list knows of a caller that polls.
#[derive(Debug)]
pub(super) enum CallerState {
    /// It was told already.
    Told,
    Waiting,
    /// It waits, and has moved from the task of this waker.
    Moved(Waker),
}

impl Callers {
    /// The caller that starts the flight waits from `arrived` on, at the first place.
    pub(super) fn new(arrived: Instant, waker: &Waker, config: &Config) -> Self {
        Self {
            waiting: VecDeque::from([Some(Caller { arrived, waker: waker.clone() })]),
            first: 0,
            last_deadline: Some(arrived + config.wait_timeout),
            has_wait_timeout: false,
            timekeeper: None,
        }
    }

    pub(super) const FIRST: Place = Place(0);

    /// Gives one more caller a place. None where nobody may join any more.
    pub(super) fn join(&mut self, arrived: Instant, waker: &Waker, config: &Config) -> Option<Place> {
        let last_deadline = self.last_deadline?;
        self.last_deadline = Some(last_deadline.max(arrived + config.wait_timeout));
        self.waiting.push_back(Some(Caller { arrived, waker: waker.clone() }));
        Some(Place(self.first + self.waiting.len() as u64 - 1))
    }

    /// A caller polls. It may have moved to another task since it was seen last, and is told there from now on.
    pub(super) fn see(&mut self, place: Place, waker: &Waker) -> CallerState {
        match self.at(place).and_then(Option::as_mut) {
            None => CallerState::Told,
            Some(caller) if caller.waker.will_wake(waker) => CallerState::Waiting,
            Some(caller) => CallerState::Moved(mem::replace(&mut caller.waker, waker.clone())),
        }
    }

    /// The caller goes away, and has its waker back.
    pub(super) fn leave(&mut self, place: Place) -> Option<Waker> {
        let caller = self.at(place).and_then(Option::take);
        // A flight that many come to and go away from does not keep a place for each of them.
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        caller.map(|caller| caller.waker)
    }

    /// Takes all that wait off the list: there is something to tell.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.first += self.waiting.len() as u64;
        mem::take(&mut self.waiting).into_iter().flatten().map(|caller| caller.waker)
    }

    /// Takes callers off the list when their time is over.
    pub(super) fn take_late(&mut self, now: Instant, config: &Config) -> Vec<Waker> {
        let mut late = Vec::new();
        let patience = self.patience(config);
        while let Some(first) = self.waiting.front()
            && first.as_ref().is_none_or(|caller| caller.arrived + patience <= now)
        {
            late.extend(self.waiting.pop_front().flatten().map(|caller| caller.waker));
            self.first += 1;
        }
        late
    }

    /// Whether a caller waits that has time left.
    pub(super) fn is_anybody_waiting(&self, now: Instant, config: &Config) -> bool {
        let patience = self.patience(config);
        // The last that came waits the longest.
        self.waiting.iter().rev().flatten().next().is_some_and(|caller| caller.arrived + patience > now)
    }

    /// When the next caller's time is over: of the first that waits, or, where none does, of one that would come now.
    pub(super) fn next_late(&self, now: Instant, config: &Config) -> Instant {
        let first = self.waiting.front().and_then(Option::as_ref).map_or(now, |caller| caller.arrived);
        first + self.patience(config)
    }

    pub(super) fn allow_wait_timeout(&mut self) {
        self.has_wait_timeout = true;
    }

    /// `wait_timeout` after the last caller came. None once no caller may join any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.last_deadline
    }

    /// Lets no caller join any more, unless one did that still waits.
    pub(super) fn retire(&mut self, now: Instant) -> bool {
        if self.last_deadline.is_some_and(|last| last > now) {
            return false;
        }
        self.last_deadline = None;
        true
    }

    /// Lets no caller join any more, unless one waits.
    pub(super) fn retire_deserted(&mut self) -> bool {
        if self.is_waited_for() {
            return false;
        }
        self.last_deadline = None;
        true
    }

    /// Whether a caller waits. Who has left is off the list from its front on, so all of them are.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// From now on a task of this runtime tells callers when their time is over.
    pub(super) fn set_timekeeper(&mut self, timekeeper: runtime::Id) {
        self.timekeeper = Some(timekeeper);
    }

    /// Whether the task that keeps the time runs where this caller does. One of another runtime may stand still, and
    /// one that was not polled yet may have to wait for a worker that is blocked.
    pub(super) fn is_time_kept(&self, runtime: runtime::Id) -> bool {
        self.timekeeper == Some(runtime)
    }

    /// For how long callers wait as things are.
    pub(super) fn patience(&self, config: &Config) -> Duration {
        if self.has_wait_timeout { config.wait_timeout } else { config.refresh_timeout }
    }

    fn at(&mut self, place: Place) -> Option<&mut Option<Caller>> {
        let index = place.0.checked_sub(self.first)?;
        self.waiting.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Callers that come a second after each other, the first at `start`.
    struct Stage {
        callers: Callers,
        config: Config,
        start: Instant,
        bells: Vec<Arc<Bell>>,
    }

    impl Stage {
        fn with(callers: usize) -> Self {
            let config = Config { refresh_timeout: 10 * S, wait_timeout: 20 * S, ..Config::default() };
            let (start, bells) = (Instant::now(), vec![Arc::<Bell>::default(); 1]);
            let first = Callers::new(start, &Arc::clone(&bells[0]).into(), &config);
            let mut stage = Self { callers: first, config, start, bells };
            for _ in 1..callers {
                stage.join();
            }
            stage
        }

        fn join(&mut self) -> Place {
            let bell = Arc::<Bell>::default();
            self.bells.push(Arc::clone(&bell));
            let arrived = self.start + (self.bells.len() - 1) as u32 * S;
            self.callers.join(arrived, &bell.into(), &self.config).expect("not retired")
        }

        /// Second `at`: tells the callers that have waited long enough. When to look again.
        fn look(&mut self, at: u32) -> Duration {
            let now = self.start + at * S;
            for waker in self.callers.take_late(now, &self.config) {
                waker.wake();
            }
            self.callers.next_late(now, &self.config) - self.start
        }

        fn woken(&self) -> Vec<usize> {
            self.bells.iter().map(|bell| bell.0.load(Ordering::Relaxed)).collect()
        }
    }

    #[test]
    fn each_caller_is_told_when_its_own_time_is_over() {
        let mut stage = Stage::with(3);

        assert_eq!((stage.look(9), stage.woken()), (10 * S, vec![0, 0, 0]));
        assert_eq!((stage.look(10), stage.woken()), (11 * S, vec![1, 0, 0]));
        assert_eq!((stage.look(12), stage.woken()), (22 * S, vec![1, 1, 1]));
        stage.join();
        assert_eq!((stage.look(12), stage.woken()), (13 * S, vec![1, 1, 1, 0]));
    }

    #[test]
    fn callers_of_a_flight_that_is_held_up_have_more_time_unless_theirs_was_over() {
        let mut stage = Stage::with(3);
        stage.look(10);

        stage.callers.allow_wait_timeout();

        assert_eq!((stage.look(15), stage.woken()), (21 * S, vec![1, 0, 0]));
        assert_eq!((stage.look(21), stage.woken()), (22 * S, vec![1, 1, 0]));
    }

    #[test]
    fn who_went_away_is_told_nothing_and_takes_no_place_for_long() {
        let mut stage = Stage::with(1);
        let places: Vec<Place> = (0..3).map(|_| stage.join()).collect();

        stage.callers.leave(places[1]);
        assert_eq!(stage.callers.waiting.len(), 4);
        stage.callers.leave(Callers::FIRST);
        stage.callers.leave(places[0]);
        assert_eq!(stage.callers.waiting.len(), 1);
        assert_eq!(stage.look(9), 13 * S);
        let last = stage.join();
        stage.callers.take_all().for_each(Waker::wake);
        stage.callers.leave(places[2]);

        assert_eq!(stage.woken(), [0, 0, 0, 1, 1]);
        assert!(matches!(stage.callers.see(last, Waker::noop()), CallerState::Told));
    }

    #[test]
    fn caller_that_moves_to_another_task_is_told_there() {
        let mut stage = Stage::with(2);
        let there = Arc::<Bell>::default();

        assert!(matches!(stage.callers.see(Callers::FIRST, &Arc::clone(&there).into()), CallerState::Moved(_)));
        stage.callers.take_all().for_each(Waker::wake);

        assert_eq!((stage.woken(), there.0.load(Ordering::Relaxed)), (vec![0, 1], 1));
    }

    #[test]
    fn nobody_joins_once_the_last_one_stopped_waiting() {
        let mut stage = Stage::with(2);
        stage.look(11);

        assert!(!stage.callers.retire(stage.start + 20 * S));
        assert!(stage.callers.retire(stage.start + 21 * S));

        assert_eq!(stage.callers.join(stage.start + 21 * S, Waker::noop(), &stage.config), None);
    }
}
