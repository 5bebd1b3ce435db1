//! What goes on beside the flights of a pod, for as long as the pod lives: whatever becomes of the runtime that it began on.
//!
//! A task ends with its runtime, without a word. So each tells when it ends, and the next flight starts it again where it
//! is itself. One that panics is started again at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::metrics::Counters;

/// Between a panic and the next start: what panics at once is not to fill the log.
const PAUSE: Duration = Duration::from_secs(1);

/// The tasks of a pod.
pub(super) struct Tasks {
    tasks: Vec<Arc<Task>>,
    /// Whether any of them has ended: what a flight looks at.
    has_ended: Arc<AtomicBool>,
    counters: Arc<Counters>,
    closed: CancellationToken,
}

struct Task {
    name: &'static str,
    start: Box<dyn Fn() -> Running + Send + Sync>,
    is_running: AtomicBool,
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Tasks {
    pub(super) fn new(counters: Arc<Counters>, closed: CancellationToken) -> Self {
        Self { tasks: Vec::new(), has_ended: Arc::default(), counters, closed }
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
        let start = Box::new(move || -> Running { Box::pin(start(closed.clone())) });
        let task = Arc::new(Task { name, start, is_running: AtomicBool::new(true) });
        self.tasks.push(Arc::clone(&task));
        self.spawn(task);
    }

    /// Starts what has ended since, on the runtime of the caller.
    pub(super) fn keep_running(&self) {
        if !self.has_ended.load(Ordering::Relaxed) || self.closed.is_cancelled() {
            return;
        }
        self.has_ended.store(false, Ordering::SeqCst);
        for task in &self.tasks {
            if !task.is_running.swap(true, Ordering::SeqCst) {
                info!(task = task.name, "a background task ended with its runtime and is started on another");
                self.spawn(Arc::clone(task));
            }
        }
    }

    fn spawn(&self, task: Arc<Task>) {
        let (counters, closed) = (Arc::clone(&self.counters), self.closed.clone());
        // Dropped with the task, and so also where a runtime ends before it has begun.
        let ends = Ends { task: Arc::clone(&task), has_ended: Arc::clone(&self.has_ended) };
        let run = async move {
            let _ends = ends;
            while panics((task.start)()).await {
                counters.task_panics.add_one();
                error!(task = task.name, "a background task panicked and is started again");
                if closed.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        };
        tokio::spawn(run);
    }
}

/// Tells that a task has ended, however it did.
struct Ends {
    task: Arc<Task>,
    has_ended: Arc<AtomicBool>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.task.is_running.store(false, Ordering::SeqCst);
        self.has_ended.store(true, Ordering::SeqCst);
    }
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
        (Tasks::new(Arc::clone(&counters), closed.clone()), counters, closed)
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
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
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
}
