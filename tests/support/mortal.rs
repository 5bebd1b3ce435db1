//! A pod that can die in the middle of everything: it lives on a runtime of its own.

use refresh_coordinator::{Config, RefreshCoordinator};
use tokio::runtime::Runtime;

pub struct MortalPod {
    pub pod: RefreshCoordinator,
    runtime: Option<Runtime>,
}

impl MortalPod {
    pub async fn connect(url: &str, config: &Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (url, config) = (url.to_owned(), config.clone());
        let pod = runtime.spawn(async move { RefreshCoordinator::connect(&url, config).await });
        let pod = pod.await.expect("no panic").expect("redis is there");
        Self { pod, runtime: Some(runtime) }
    }

    /// Runs where the pod lives, and ends with it.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.as_ref().expect("it lives").spawn(future);
    }

    /// Its tasks stop where they stand, its connections close, and nobody is told.
    pub fn die(self) {}
}

impl Drop for MortalPod {
    fn drop(&mut self) {
        // A runtime must not be dropped where others wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
