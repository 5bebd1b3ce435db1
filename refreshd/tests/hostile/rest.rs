//! What refreshd takes of the system while nobody calls.

use std::time::{Duration, Instant};

use crate::daemon::Daemon;

/// Resident memory, and what is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// In KiB.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
}

/// Buffers of connections that are new, and pages that were never touched before.
const MORE_MEMORY: u64 = 8 * 1024;
/// Connections to Redis come and go by themselves.
const MORE_DESCRIPTORS: usize = 4;
/// What is not back by then does not come back.
const PATIENCE: Duration = Duration::from_secs(10);

impl Rest {
    fn of(daemon: &Daemon) -> Self {
        let process = format!("/proc/{}", daemon.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        let resident = line.trim().trim_end_matches(" kB").parse().expect("a number");
        Self { resident, descriptors: std::fs::read_dir(format!("{process}/fd")).expect("it runs").count() }
    }

    /// Once what is open does not become less any more.
    pub(crate) async fn reached(daemon: &Daemon) -> Self {
        let mut before = Self::of(daemon);
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = Self::of(daemon);
            if now.descriptors >= before.descriptors {
                return now;
            }
            before = now;
        }
    }

    /// Waits until it is again as at rest before, and no longer than that may take. Answers what it is then, and after how long.
    pub(crate) async fn again(self, daemon: &Daemon) -> (Self, Duration) {
        let start = Instant::now();
        loop {
            let now = Self::of(daemon);
            if now.is_like(self) || start.elapsed() >= PATIENCE {
                return (now, start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn is_like(self, before: Self) -> bool {
        self.resident <= before.resident + MORE_MEMORY && self.descriptors <= before.descriptors + MORE_DESCRIPTORS
    }
}
