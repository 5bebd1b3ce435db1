//! A pod in a thread and runtime of its own, so that a test can stop it, wake it and kill it like a process.

use std::sync::mpsc as blocking;
use std::thread::JoinHandle;

use refresh_coordinator::{Config, RefreshCoordinator};
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce(RefreshCoordinator) + Send>;

pub struct Isolated {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    stopped: Option<blocking::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Isolated {
    pub async fn connect(redis: &str, config: &Config) -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (redis, config) = (redis.to_owned(), config.clone());
        let (ready, is_ready) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let pod = RefreshCoordinator::connect(&redis, config).await.expect("redis is there");
                ready.send(()).expect("the test waits");
                while let Some(job) = queue.recv().await {
                    job(pod.clone());
                }
            });
            // What still runs in it is dropped where it stands, as when a process is killed.
            drop(runtime);
        });
        is_ready.await.expect("the pod is ready");
        Self { jobs: Some(jobs), stopped: None, thread: Some(thread) }
    }

    /// Runs a future in the pod and brings back its result.
    pub fn run<T, F>(&self, job: impl FnOnce(RefreshCoordinator) -> F + Send + 'static) -> oneshot::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        self.send(Box::new(move |pod| {
            let job = job(pod);
            tokio::spawn(async move { done.send(job.await).ok() });
        }));
        result
    }

    /// Nothing in the pod goes on until it is woken: like SIGSTOP.
    pub async fn stop(&mut self) {
        let (wake, until) = blocking::channel();
        let (stopping, is_stopping) = oneshot::channel();
        self.send(Box::new(move |_| {
            stopping.send(()).expect("the test waits");
            // Either woken, or the test is over.
            _ = until.recv();
        }));
        is_stopping.await.expect("the pod stops");
        self.stopped = Some(wake);
    }

    /// Like SIGCONT.
    pub fn wake(&mut self) {
        self.stopped = None;
    }

    /// Like SIGKILL: nothing is given back or told.
    pub fn kill(mut self) {
        self.end();
    }

    fn send(&self, job: Job) {
        assert!(self.jobs.as_ref().expect("not killed").send(job).is_ok(), "the pod lives");
    }

    fn end(&mut self) {
        self.stopped = None;
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the pod ends");
        }
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.end();
    }
}
