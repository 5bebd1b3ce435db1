//! A task that wakes itself while it runs goes on at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is polled again at once where it woke itself.
///
/// hyper wakes the end of a body that is written when the other end is read, and both are in the same task. To the
/// runtime that is a task that yields: it goes to the end of the queue, and another thread is woken to help, in vain
/// and on the core that the provider's answer needs.
pub(crate) struct Coalesced<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

#[derive(Default)]
struct Wakes {
    task: AtomicWaker,
    is_polled: AtomicBool,
    is_woken: AtomicBool,
}

/// A future that wakes itself more often in a row wants others to have a turn.
const IN_A_ROW: usize = 4;

impl<F: Future> Coalesced<F> {
    pub(crate) fn new(future: F) -> Self {
        let wakes = Arc::new(Wakes::default());
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&wakes)), wakes }
    }
}

impl<F: Future> Future for Coalesced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, wakes, waker } = &mut *self;
        wakes.task.register(cx.waker());
        wakes.is_polled.store(true, SeqCst);
        // Taken back before each poll: what it was woken for is seen by the poll.
        wakes.is_woken.swap(false, SeqCst);
        for _ in 0..IN_A_ROW {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if !wakes.is_woken.swap(false, SeqCst) {
                wakes.is_polled.store(false, SeqCst);
                // A thread that woke it in between saw it polled, and did not wake the task.
                if wakes.is_woken.load(SeqCst) {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        wakes.is_polled.store(false, SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // First, so that either the poll sees it or the task is woken.
        self.is_woken.store(true, SeqCst);
        if !self.is_polled.load(SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Polls once a future that wakes itself so many times, and then waits. How often it was polled and the task woken.
    fn polled(self_wakes: usize) -> (usize, usize) {
        let (task, mut polls) = (Arc::new(Task::default()), 0);
        let future = poll_fn(|cx| {
            polls += 1;
            if polls <= self_wakes {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let poll = Box::pin(Coalesced::new(future)).as_mut().poll(&mut Context::from_waker(&Waker::from(task.clone())));
        assert!(poll.is_pending());
        (polls, task.0.load(SeqCst))
    }

    #[test]
    fn future_that_wakes_itself_goes_on_without_the_runtime() {
        assert_eq!(polled(0), (1, 0));
        assert_eq!(polled(2), (3, 0));
    }

    #[test]
    fn future_that_wakes_itself_without_end_yields() {
        assert_eq!(polled(usize::MAX), (IN_A_ROW, 1));
    }

    #[test]
    fn wake_from_elsewhere_wakes_the_task() {
        let (task, given) = (Arc::new(Task::default()), Arc::new(Mutex::new(None)));
        let future = poll_fn(|cx| {
            *given.lock().expect("no panic") = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        let mut future = Box::pin(Coalesced::new(future));
        assert!(future.as_mut().poll(&mut Context::from_waker(&Waker::from(task.clone()))).is_pending());

        given.lock().expect("no panic").take().expect("it was polled").wake();

        assert_eq!(task.0.load(SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_is_lost_between_threads() {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        let receiving = tokio::spawn(Coalesced::new(async move {
            let (mut receive, mut sum) = (receive, 0);
            while let Some(number) = receive.recv().await {
                sum += number;
                // Wakes itself, as the body of a request does.
                tokio::task::yield_now().await;
            }
            sum
        }));
        let sending: Vec<_> = (0..4)
            .map(|_| {
                let send = send.clone();
                tokio::spawn(async move {
                    for number in 0..20_000_u64 {
                        send.send(number).expect("it is received");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        drop(send);

        for sending in sending {
            sending.await.expect("no panic");
        }
        let sum = tokio::time::timeout(std::time::Duration::from_secs(30), receiving).await.expect("a wake was lost");

        assert_eq!(sum.expect("no panic"), 4 * (0..20_000).sum::<u64>());
    }
}
