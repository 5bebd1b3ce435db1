//! What goes on beside the flights of a pod, for as long as the pod lives: whatever becomes of the runtime that it began on.
//!
//! A task ends with its runtime, without a word, and stands still with one that nobody drives any more. So a flight now and then
//! wakes the tasks, and looks whether they were polled since; what has ended, or has not moved for long, it starts again where it
//! is itself. One that panics is started again at once.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::run::{Health, Run, Running};
use crate::metrics::Counters;

mod run;

/// Between a panic and the next start: what panics at once is not to fill the log.
const PAUSE: Duration = Duration::from_secs(1);
/// After so many pauses between two looks a task that was woken and not polled stands still: a machine that is only slow is
/// given that long.
const SILENT_LOOKS: u32 = 3;

/// The tasks of a pod.
pub(super) struct Tasks {
    tasks: Vec<Task>,
    /// Whether any of them has ended: what a flight looks at.
    has_ended: Arc<AtomicBool>,
    began: Instant,
    /// Between two looks whether they live.
    pause: Duration,
    /// When that is looked at next, in ms after they began: what a flight looks at, too.
    next_look_ms: AtomicU64,
    /// Held by the one flight that looks.
    looking: Mutex<()>,
    counters: Arc<Counters>,
    closed: CancellationToken,
}

struct Task {
    name: &'static str,
    start: Arc<dyn Fn() -> Running + Send + Sync>,
    run: Mutex<Arc<Run>>,
}

impl Tasks {
    /// `pause` is how often flights look whether the tasks live.
    pub(super) fn new(counters: Arc<Counters>, pause: Duration, closed: CancellationToken) -> Self {
        Self {
            tasks: Vec::new(),
            has_ended: Arc::default(),
            began: Instant::now(),
            pause,
            next_look_ms: AtomicU64::default(),
            looking: Mutex::default(),
            counters,
            closed,
        }
    }

    /// Starts a task. It ends when the pod is closed, and is started again where it ends before.
    pub(super) fn start<F>(
        &mut self,
        name: &'static str,
        start: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let closed = self.closed.clone();
        let start = Arc::new(move || -> Running { Box::pin(start(closed.clone())) });
        let run = Mutex::new(self.spawn(name, start.clone()));
        self.tasks.push(Task { name, start, run });
    }

    /// Starts what has ended since, or stands still, on the runtime of the caller. Answers whether anything was.
    pub(super) fn keep_running(&self) -> bool {
        let now = self.began.elapsed();
        let is_due = as_ms(now) >= self.next_look_ms.load(Ordering::Relaxed);
        if !is_due && !self.has_ended.load(Ordering::Relaxed) || self.closed.is_cancelled() {
            return false;
        }
        let Ok(_looking) = self.looking.try_lock() else { return false };
        self.has_ended.store(false, Ordering::SeqCst);
        self.next_look_ms.store(as_ms(now + self.pause), Ordering::Relaxed);
        let mut is_any_new = false;
        for task in &self.tasks {
            let mut run = task.run.lock().expect("BUG: nothing panics with this lock held");
            match run.look(SILENT_LOOKS * self.pause) {
                Health::Lives => continue,
                Health::Ended => {
                    info!(task = task.name, "a background task ended with its runtime and is started on another");
                }
                Health::StoodStill => {
                    warn!(task = task.name, "the runtime of a background task stands still: it is started on another");
                }
            }
            *run = self.spawn(task.name, Arc::clone(&task.start));
            is_any_new = true;
        }
        is_any_new
    }

    /// The same again and again, for a flight that waits for what they do.
    pub(super) async fn keep_running_meanwhile(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.pause).await;
            self.keep_running();
        }
    }

    fn spawn(&self, name: &'static str, start: Arc<dyn Fn() -> Running + Send + Sync>) -> Arc<Run> {
        let (counters, closed) = (Arc::clone(&self.counters), self.closed.clone());
        let run = Arc::new(Run::new(Box::pin(async move {
            while panics(start()).await {
                counters.task_panics.add_one();
                error!(task = name, "a background task panicked and is started again");
                if closed.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        })));
        let has_ended = Arc::clone(&self.has_ended);
        tokio::spawn(run.driven(move || has_ended.store(true, Ordering::SeqCst)));
        run
    }
}

fn as_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Runs it to its end. Answers whether that was a panic.
async fn panics(running: Running) -> bool {
    let mut running = pin!(running);
    std::future::poll_fn(|context| {
        // Dropped after a panic, and never polled again.
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(false),
            Err(_) => Poll::Ready(true),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    /// A task that counts its starts, and panics at the first ones.
    fn counting(tasks: &mut Tasks, panics: u32) -> watch::Receiver<u32> {
        let (starts, started) = watch::channel(0);
        let starts = Arc::new(starts);
        tasks.start("counting", move |closed| {
            let starts = Arc::clone(&starts);
            async move {
                starts.send_modify(|starts| *starts += 1);
                assert!(*starts.borrow() > panics, "on purpose");
                closed.cancelled().await;
            }
        });
        started
    }

    fn tasks() -> (Tasks, Arc<Counters>, CancellationToken) {
        let (counters, closed) = (Arc::<Counters>::default(), CancellationToken::new());
        (Tasks::new(Arc::clone(&counters), SOON, closed.clone()), counters, closed)
    }

    #[tokio::test(start_paused = true)]
    async fn task_that_panics_is_counted_and_started_again() {
        let (mut tasks, counters, _closed) = tasks();
        let mut started = counting(&mut tasks, 2);

        started.wait_for(|starts| *starts == 3).await.expect("it is started");

        assert_eq!(counters.snapshot().task_panics, 2);
    }

    #[test]
    fn task_whose_runtime_ends_is_started_on_the_next_ones_until_it_is_closed() {
        let (mut tasks, counters, closed) = tasks();
        let mut started = runtime().block_on(async { counting(&mut tasks, 0) });

        for expected in [1, 2] {
            runtime().block_on(async {
                tasks.keep_running();
                started.wait_for(|starts| *starts == expected).await.expect("it is started");
                tasks.keep_running();
            });
        }
        closed.cancel();
        runtime().block_on(async {
            tasks.keep_running();
            tokio::task::yield_now().await;
        });

        assert_eq!((*started.borrow(), counters.snapshot().task_panics), (2, 0));
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// Looks as often as flights would.
    async fn look(tasks: &Tasks, looks: u32) {
        for _ in 0..looks {
            tokio::time::sleep(SOON).await;
            tasks.keep_running();
        }
    }

    #[test]
    fn task_whose_runtime_stands_still_is_dropped_with_what_it_holds_and_started_once_on_another() {
        let (still, lives) = (runtime(), runtime());
        let (mut tasks, _, _closed) = tasks();
        let (held, lock) = (watch::Sender::new(0), Arc::new(tokio::sync::Mutex::new(())));
        let (starts, locked) = (held.subscribe(), Arc::clone(&lock));
        still.block_on(async {
            tasks.start("holding", move |_| {
                let (held, lock) = (held.clone(), Arc::clone(&locked));
                async move {
                    held.send_modify(|starts| *starts += 1);
                    let _lock = lock.lock().await;
                    std::future::pending().await
                }
            });
            look(&tasks, 2).await;
        });
        assert!(*starts.borrow() == 1 && lock.try_lock().is_err());

        lives.block_on(look(&tasks, 2 * SILENT_LOOKS));
        assert_eq!(*starts.borrow(), 2);
        // The one before is polled, and is over.
        still.block_on(look(&tasks, 2 * SILENT_LOOKS));

        assert_eq!(*starts.borrow(), 3, "the runtime that lived stands still now");
        lives.block_on(async { tokio::time::sleep(2 * SOON).await });
        drop(lives);
        still.block_on(look(&tasks, 2 * SILENT_LOOKS));
        assert_eq!(*starts.borrow(), 3);
    }

    #[test]
    fn task_that_waits_for_long_on_a_runtime_that_goes_on_is_left_alone() {
        let runtime = runtime();
        let (mut tasks, _, _closed) = tasks();
        let starts = runtime.block_on(async {
            let starts = counting(&mut tasks, 0);
            look(&tasks, 4 * SILENT_LOOKS).await;
            starts
        });

        assert_eq!(*starts.borrow(), 1);
    }
}
