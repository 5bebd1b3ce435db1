//! All pods of a storm, driven together: in this process or as processes of their own.

use std::io;
use std::process::Stdio;

use futures_util::future::{join_all, try_join_all};
use refresh_coordinator::MemoryStore;
use refresh_coordinator_cli::BadSetting;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::stopped::Stopped;
use crate::wire::{self, Order, Presented, Receiver, Report, Start};
use crate::{clock, pod};

/// Pods that obey.
pub(crate) struct Fleet {
    pods: Vec<Pod>,
}

struct Pod {
    orders: Box<dyn AsyncWrite + Send + Unpin>,
    reports: Receiver<Box<dyn AsyncRead + Send + Unpin>>,
    life: Life,
}

/// What ends when the pod is dropped.
enum Life {
    /// Killed on drop.
    Process(Child),
    /// Aborted on drop.
    Task(JoinHandle<io::Result<()>>),
}

impl Drop for Life {
    fn drop(&mut self) {
        match self {
            Self::Process(_) => {}
            Self::Task(task) => task.abort(),
        }
    }
}

/// Between the order to release and the release: every pod has read the order by then, or the first would have
/// their answer before the last have asked.
const RUN_UP_US: u64 = 5_000;

impl Fleet {
    /// Starts pods as tasks of this process that share one store in memory.
    pub(crate) async fn here(start: &Start, pods: usize) -> Result<Self, Stopped> {
        let store = MemoryStore::new();
        let pods = (0..pods).map(|_| {
            // Room for the report of a big wave, so that pods need not wait for their driver.
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            let (read, write) = tokio::io::split(theirs);
            let task = tokio::spawn(pod::serve(read, write, store.clone()));
            let (read, write) = tokio::io::split(ours);
            Pod { orders: Box::new(write), reports: Receiver::new(Box::new(read)), life: Life::Task(task) }
        });
        Self { pods: pods.collect() }.start(start).await
    }

    /// Starts pods as processes that share nothing but what their way makes them share.
    pub(crate) async fn processes(start: &Start, pods: usize) -> Result<Self, Stopped> {
        let pods: io::Result<Vec<Pod>> = (0..pods).map(|_| spawn()).collect();
        let pods = pods.map_err(|error| Stopped::broken(format!("a pod cannot be started: {error}")))?;
        Self { pods }.start(start).await
    }

    async fn start(mut self, start: &Start) -> Result<Self, Stopped> {
        for report in self.order(&Order::Start(Box::new(start.clone()))).await? {
            match report {
                Report::Started { .. } => {}
                Report::NotStarted { problem } => return Err(Stopped::Setting(BadSetting::new(problem))),
                _ => return Err(Stopped::broken("a pod answered what it was not asked")),
            }
        }
        Ok(self)
    }

    /// The process ids, one per pod that is a process.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let pid = |pod: &Pod| match &pod.life {
            Life::Process(child) => child.id(),
            Life::Task(_) => None,
        };
        self.pods.iter().filter_map(pid).collect()
    }

    /// Lets all callers of all pods present the tokens together; what each pod heard. Those of the first so many
    /// tokens are watched.
    pub(crate) async fn present(&mut self, tokens: Vec<String>, watched: usize) -> Result<Vec<Presented>, Stopped> {
        self.release(Order::Arm { tokens, watched, gone_after_ms: None }).await
    }

    /// The same, and all callers go away before they are answered.
    pub(crate) async fn present_and_go(&mut self, tokens: Vec<String>, gone_after_ms: u64) -> Result<(), Stopped> {
        self.release(Order::Arm { tokens, watched: 0, gone_after_ms: Some(gone_after_ms) }).await.map(drop)
    }

    async fn release(&mut self, arm: Order) -> Result<Vec<Presented>, Stopped> {
        for report in self.order(&arm).await? {
            let Report::Armed = report else {
                return Err(Stopped::broken("a pod did not get ready"));
            };
        }
        let release = Order::Release { at_unix_us: clock::unix_us() + RUN_UP_US };
        let reports = self.order(&release).await?.into_iter().map(|report| match report {
            Report::Presented(presented) => Ok(*presented),
            _ => Err(Stopped::broken("a pod did not tell what it heard")),
        });
        reports.collect()
    }

    /// Lets every pod close its coordinator, and sees it go.
    pub(crate) async fn finish(mut self) -> Result<(), Stopped> {
        self.order(&Order::Finish).await?;
        let ends = self.pods.iter_mut().map(async |pod| match &mut pod.life {
            Life::Process(child) => child.wait().await.map(|_| ()),
            Life::Task(task) => task.await.unwrap_or(Ok(())),
        });
        join_all(ends).await.into_iter().collect::<io::Result<()>>().map_err(lost)
    }

    /// Tells all pods, then hears all pods.
    async fn order(&mut self, order: &Order) -> Result<Vec<Report>, Stopped> {
        try_join_all(self.pods.iter_mut().map(|pod| wire::send(&mut pod.orders, order))).await.map_err(lost)?;
        let reports = try_join_all(self.pods.iter_mut().map(|pod| pod.reports.next())).await.map_err(lost)?;
        reports.into_iter().collect::<Option<_>>().ok_or_else(|| Stopped::broken("a pod went away"))
    }
}

fn lost(error: io::Error) -> Stopped {
    Stopped::broken(format!("a pod was lost: {error}"))
}

fn spawn() -> io::Result<Pod> {
    let mut child = myself()?.arg("pod").spawn()?;
    let (Some(orders), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
        unreachable!("BUG: both are piped");
    };
    Ok(Pod { orders: Box::new(orders), reports: Receiver::new(Box::new(reports)), life: Life::Process(child) })
}

/// This program again, to be driven over its standard streams and to die with the driver.
pub(crate) fn myself() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C is for the driver, which then ends its children: they must not be gone before it can tell why.
    #[cfg(unix)]
    command.process_group(0);
    Ok(command)
}
