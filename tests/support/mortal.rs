//! A pod that a test can stop, wake and kill like a process: it lives on a runtime of its own.

use std::sync::mpsc;

use refresh_coordinator::{Config, RefreshCoordinator};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fleet::connect_to;

pub struct MortalPod {
    pod: RefreshCoordinator,
    runtime: Option<Runtime>,
    /// Its thread blocks for as long as this is there.
    stopped: Option<mpsc::Sender<()>>,
}

impl MortalPod {
    pub async fn connect(url: &str, config: &Config) -> Self {
        // One thread, so that one task that blocks stops the pod.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (url, config) = (url.to_owned(), config.clone());
        let pod = runtime.spawn(async move { connect_to(&url, &config).await });
        let pod = pod.await.expect("no panic");
        Self { pod, runtime: Some(runtime), stopped: None }
    }

    /// Runs where the pod lives, and ends with it.
    pub fn spawn<T, F>(&self, job: impl FnOnce(RefreshCoordinator) -> F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.as_ref().expect("it lives").spawn(job(self.pod.clone()))
    }

    /// Nothing in the pod goes on until it is woken: like SIGSTOP.
    pub async fn stop(&mut self) {
        let (wake, until) = mpsc::channel();
        let (stopping, is_stopping) = oneshot::channel();
        self.spawn(|_| async move {
            stopping.send(()).expect("the test waits");
            // Either woken, or the test is over.
            _ = until.recv();
        });
        is_stopping.await.expect("the pod stops");
        self.stopped = Some(wake);
    }

    /// Like SIGCONT.
    pub fn wake(&mut self) {
        self.stopped = None;
    }

    /// Like SIGKILL: its tasks stop where they stand, its connections close, and nobody is told.
    pub fn die(self) {}
}

impl Drop for MortalPod {
    fn drop(&mut self) {
        // Before it is woken, so that nothing goes on. In the background: a runtime must not be dropped where others
        // wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
