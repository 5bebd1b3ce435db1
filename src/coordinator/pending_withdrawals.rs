//! The list of what a pod has to withdraw from the store, until the task of `withdrawal` has done so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use crate::store::AttemptId;

/// So many attempts wait at most, of a hundred bytes or so each; then the oldest makes way.
pub(super) const MOST: usize = 10_000;

/// What waits to be withdrawn.
#[derive(Debug, Default)]
pub(super) struct PendingWithdrawals {
    list: Mutex<List>,
    /// Whether the task that works it off has ended with its runtime: what a flight looks at.
    are_left_alone: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) waiting: VecDeque<Pending>,
    /// Whether a task works it off.
    pub(super) has_task: bool,
    /// When it was last told that something was given up, and how much since.
    pub(super) told: Option<Instant>,
    pub(super) untold: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) attempt: AttemptId,
    pub(super) waiting_since: Option<Instant>,
    pub(super) since: Instant,
}

impl PendingWithdrawals {
    pub(super) fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().expect("BUG: nothing panics with this lock held")
    }

    /// The next one, if there is one. Else the task is done.
    pub(super) fn next(&self) -> Option<Pending> {
        let mut list = self.list();
        let next = list.waiting.front().copied();
        list.has_task = next.is_some();
        next
    }

    /// Whether a task is to be started. From then on there is one.
    pub(super) fn needs_task(&self) -> bool {
        self.are_left_alone.store(false, Ordering::SeqCst);
        !std::mem::replace(&mut self.list().has_task, true)
    }

    pub(super) fn are_left_alone(&self) -> bool {
        self.are_left_alone.load(Ordering::Relaxed)
    }

    /// The task has ended before it was done.
    pub(super) fn are_left(&self) {
        self.list().has_task = false;
        self.are_left_alone.store(true, Ordering::SeqCst);
    }

    /// It was withdrawn.
    pub(super) fn done(&self, item: &Pending) {
        self.list().take_first(item);
    }

    /// It goes behind the others, so that one that is refused for itself keeps none of them waiting for long.
    pub(super) fn refused(&self, item: &Pending) {
        let mut list = self.list();
        if let Some(first) = list.take_first(item) {
            list.waiting.push_back(first);
        }
    }

    /// Takes out what `is_over`. Answers how many.
    pub(super) fn drop_where(&self, is_over: impl Fn(&Pending) -> bool) -> u64 {
        let mut list = self.list();
        let before = list.waiting.len();
        list.waiting.retain(|item| !is_over(item));
        (before - list.waiting.len()) as u64
    }
}

impl List {
    /// Takes it out, unless it has made way meanwhile.
    fn take_first(&mut self, item: &Pending) -> Option<Pending> {
        self.waiting.front().filter(|first| first.attempt == item.attempt)?;
        self.waiting.pop_front()
    }
}
