//! A run of a background task: it can be asked whether its runtime goes on, and be ended from elsewhere where that stands still.
//!
//! What a task holds, such as a lock that others wait for, is given back by dropping it. So its future lies where others can take it,
//! and the runtime only polls it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub(super) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Lives,
    /// Its runtime has ended.
    Ended,
    /// Its runtime stands still. It has been dropped.
    StoodStill,
}

pub(super) struct Run {
    /// Locked while it is polled. None where it is over.
    running: Mutex<Option<Running>>,
    waker: Mutex<Option<Waker>>,
    /// Whether it was polled since it was last woken to show that it lives.
    has_answered: AtomicBool,
    /// When it was woken for that, or started.
    asked: Mutex<Instant>,
    is_over: AtomicBool,
}

/// A run as its runtime polls it.
pub(super) struct Driven<T: Fn()> {
    run: Arc<Run>,
    /// Called when it is over, however it ended.
    when_over: T,
}

impl Run {
    pub(super) fn new(running: Running) -> Self {
        Self {
            running: Mutex::new(Some(running)),
            waker: Mutex::default(),
            has_answered: AtomicBool::new(false),
            asked: Mutex::new(Instant::now()),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn driven<T: Fn()>(self: &Arc<Self>, when_over: T) -> Driven<T> {
        Driven { run: Arc::clone(self), when_over }
    }

    /// Asks it to show that it lives, and drops it where it has not done so for as long as this.
    ///
    /// By the system's clock: that of a runtime can be paused, and this is about several.
    pub(super) fn look(&self, silent_for: Duration) -> Health {
        if self.is_over.load(Ordering::SeqCst) {
            return Health::Ended;
        }
        let mut asked = lock(&self.asked);
        if self.has_answered.swap(false, Ordering::SeqCst) {
            *asked = Instant::now();
            let waker = lock(&self.waker).clone();
            waker.inspect(Waker::wake_by_ref);
            return Health::Lives;
        }
        if asked.elapsed() < silent_for {
            return Health::Lives;
        }
        let running = match self.running.try_lock() {
            Ok(mut running) => running.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            // It is being polled.
            Err(TryLockError::WouldBlock) => return Health::Lives,
        };
        discard(running);
        Health::StoodStill
    }
}

impl<T: Fn() + Unpin> Future for Driven<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut running = lock(&self.run.running);
        // Else another run has taken over.
        let Some(now) = &mut *running else { return Poll::Ready(()) };
        lock(&self.run.waker).get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
        self.run.has_answered.store(true, Ordering::SeqCst);
        now.as_mut().poll(context)
    }
}

impl<T: Fn()> Drop for Driven<T> {
    fn drop(&mut self) {
        let running = lock(&self.run.running).take();
        discard(running);
        self.run.is_over.store(true, Ordering::SeqCst);
        (self.when_over)();
    }
}

/// Not under a lock: it may hold what a stranger has written, which may panic.
fn discard(running: Option<Running>) {
    // Told by the panic hook already.
    _ = catch_unwind(AssertUnwindSafe(|| drop(running)));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
