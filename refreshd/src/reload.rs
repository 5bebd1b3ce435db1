//! What is read again while the daemon runs: the files of the upstream, at SIGHUP and when they change.
//!
//! The files that say how Redis is entered need none of this: they are read at every connect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refresh_coordinator::Config;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::supervisor;
use crate::upstream::{Upstream, UpstreamSettings};

/// How often files are looked at: an orchestrator replaces what it has mounted, and tells nobody.
const PERIOD: Duration = Duration::from_secs(5);

pub(crate) struct Reload<'a> {
    pub(crate) settings: &'a UpstreamSettings,
    pub(crate) config: &'a Config,
    pub(crate) upstream: watch::Sender<Arc<Upstream>>,
}

/// When a file was changed, and how long it is. None: it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Reload<'_> {
    /// Reads again whenever there is a reason to. Never ends.
    pub(crate) async fn run(&self, hangup: &mut Signal) {
        let mut seen = self.stamps();
        loop {
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(PERIOD) => false,
            };
            let now = self.stamps();
            if is_asked || now != seen {
                seen = now;
                self.read_again();
            }
        }
    }

    /// Requests that are under way keep the upstream that they began with.
    fn read_again(&self) {
        supervisor::reads_again();
        match self.settings.build(self.config) {
            Ok(upstream) => {
                self.upstream.send_replace(Arc::new(upstream));
                tracing::info!("the files of the upstream were read again");
            }
            Err(wrong) => tracing::error!(reason = %wrong, "what was read before is kept"),
        }
        supervisor::has_read_again();
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        self.settings.files().map(stamp).collect()
    }
}
