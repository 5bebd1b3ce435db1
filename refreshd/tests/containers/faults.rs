//! What happens to containers, and for how long.

use std::fmt;
use std::time::Duration;

use crate::compose::{Project, Store};

#[derive(Clone, Copy)]
pub(crate) struct Fault {
    whom: Whom,
    how: How,
    span: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// The second pod.
    Pod,
    /// The server that decides when it happens.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Killed,
    Paused,
    /// Disconnected from its network.
    CutOff,
}

impl Fault {
    /// Shorter and longer than the lease of 2 s; long enough for a failover where there is one.
    pub(crate) fn all(store: Store) -> Vec<Self> {
        let is_bounded = std::env::var_os("CONTAINERS_BOUNDED").is_some();
        let server = if store.fails_over() { 8000 } else { 3000 };
        let faults = [
            (Whom::Pod, How::Killed, 500),
            (Whom::Server, How::Killed, server),
            (Whom::Server, How::CutOff, server),
            (Whom::Pod, How::Paused, 4000),
            (Whom::Pod, How::CutOff, 4000),
            (Whom::Server, How::Paused, server),
            (Whom::Server, How::Killed, 300),
            (Whom::Server, How::Paused, 1000),
            (Whom::Pod, How::Paused, 1000),
        ];
        let many = if is_bounded { 3 } else { faults.len() };
        let fault = |(whom, how, ms)| Self { whom, how, span: Duration::from_millis(ms) };
        faults.into_iter().take(many).map(fault).collect()
    }

    /// Whether a leader can be lost by it, so that nobody knows what became of its token.
    pub(crate) fn loses_leaders(&self) -> bool {
        self.whom == Whom::Pod
    }

    /// Whether callers can be left without an answer: those of the pod that it happens to.
    pub(crate) fn silences_callers(&self) -> bool {
        self.whom == Whom::Pod
    }

    /// Breaks it, waits, and brings it back.
    pub(crate) async fn happen(&self, project: &Project) {
        let service = match self.whom {
            Whom::Pod => project.pod(1),
            Whom::Server => project.deciding().await,
        };
        match self.how {
            How::Killed => {
                project.kill(&service);
                tokio::time::sleep(self.span).await;
                project.start(&service);
            }
            How::Paused => {
                project.pause(&service);
                tokio::time::sleep(self.span).await;
                project.unpause(&service);
            }
            How::CutOff => {
                let names = project.disconnect(&service);
                tokio::time::sleep(self.span).await;
                project.connect(&service, &names);
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.whom {
            Whom::Pod => "a pod",
            Whom::Server => "the deciding Redis",
        };
        let how = match self.how {
            How::Killed => "killed",
            How::Paused => "paused",
            How::CutOff => "cut off",
        };
        write!(f, "{whom} {how} for {:?}", self.span)
    }
}
