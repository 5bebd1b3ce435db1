//! What is read again while the daemon runs: the files of each upstream, at SIGHUP and when they change; the file of `--config` at
//! SIGHUP, as a half-written one is not to be taken.
//!
//! The files that say how Redis is entered need none of this: they are read at every connect.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refresh_coordinator::Config;
use refresh_coordinator_cli::BadSetting;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config_file::{ConfigFile, Configured, Scope, scope};
use crate::coordination::{Coordination, close};
use crate::limits::Limits;
use crate::opening;
use crate::provider::{Planned, Provider};
use crate::providers::Providers;
use crate::supervisor;
use crate::upstream::Upstream;

/// How often files are looked at: an orchestrator replaces what it has mounted, and tells nobody.
const PERIOD: Duration = Duration::from_secs(5);

pub(crate) struct Reload {
    pub(crate) file: Option<ConfigFile>,
    /// With what holds for all providers, as it was at the start.
    pub(crate) shared: Configured,
    pub(crate) limits: Limits,
    /// How long the flights of a provider that is no longer named may take to end.
    pub(crate) drain: Duration,
    pub(crate) coordination: Arc<Coordination>,
    /// Coordinators of providers that are no longer named, until their flights have ended.
    pub(crate) leaving: TaskTracker,
    pub(crate) providers: watch::Sender<Arc<Providers>>,
}

/// When a file was changed, and how long it is. None: it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    /// Reads again whenever there is a reason to. Never ends.
    pub(crate) async fn run(&self, hangup: &mut Signal) {
        let mut seen = self.stamps();
        loop {
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(PERIOD) => false,
            };
            // As they stand before they are read: what changes meanwhile is seen the next time.
            let now = self.stamps();
            let is_changed = |provider: &&Arc<Provider>| {
                let namespace = &provider.config.namespace;
                now.get(namespace) != seen.get(namespace)
            };
            if is_asked || now != seen {
                supervisor::reads_again();
                // A file of --config that is refused keeps nobody from reading a new certificate.
                if !is_asked || !self.read_all_again().await {
                    self.now().iter().filter(is_changed).for_each(|provider| provider.read_again());
                }
                supervisor::has_read_again();
            }
            seen = now;
        }
    }

    /// False where the file of `--config` is wrong.
    async fn read_all_again(&self) -> bool {
        let Some(file) = &self.file else {
            self.now().iter().for_each(|provider| provider.read_again());
            return true;
        };
        match self.read_file_again(file).await {
            Ok(()) => {
                let providers = self.now().iter().count();
                tracing::info!(providers, file = %file.path().display(), "the file of --config was read again");
                true
            }
            Err(wrong) => {
                tracing::error!(reason = %wrong, "what was read before is kept");
                false
            }
        }
    }

    /// All of the file holds from now on, or nothing of it. Requests that are under way end as they began.
    async fn read_file_again(&self, file: &ConfigFile) -> Result<(), BadSetting> {
        let read = file.read()?;
        for configured in &read {
            if let Some(key) = file.changed(&self.shared, configured, |flag| scope(flag) == Scope::Shared) {
                return Err(BadSetting::new(format!(
                    "{}: {key} is changed, which all providers share: that takes a restart",
                    file.path().display()
                )));
            }
        }
        let planned = read.iter().map(|configured| Planned::of(configured, &self.limits));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        Providers::can_be_together(&planned)?;

        let before = self.now();
        let (mut kept, mut anew): (Vec<(Arc<Provider>, Upstream)>, _) = (Vec::new(), Vec::new());
        for planned in planned {
            match before.in_namespace(&planned.config.namespace) {
                None => anew.push((planned, None)),
                Some(old) if old.configured.is_as(&planned.configured) && is_same(&old.config, &planned.config) => {
                    kept.push((Arc::clone(old), planned.upstream));
                }
                Some(old) if is_same(&old.config, &planned.config) => {
                    anew.push((planned, Some(old.coordinator.clone())));
                }
                Some(old) => return Err(takes_a_restart(file, old, &planned)),
            }
        }
        let opened = opening::open(anew, &self.coordination).await?;

        // Nothing fails from here on.
        let mut served: Vec<_> = opened.into_iter().map(opening::Opened::serve).collect();
        for (provider, upstream) in kept {
            provider.upstream.send_replace(Arc::new(upstream));
            served.push(provider);
        }
        let now = Arc::new(Providers::new(served));
        self.providers.send_replace(Arc::clone(&now));
        let left = before.iter().filter(|old| now.in_namespace(&old.config.namespace).is_none());
        let left: Vec<_> = left.map(|old| old.coordinator.clone()).collect();
        self.leaving.spawn(close(left, self.drain));
        Ok(())
    }

    fn now(&self) -> Arc<Providers> {
        Arc::clone(&self.providers.borrow())
    }

    /// By namespace.
    fn stamps(&self) -> HashMap<String, Vec<Stamp>> {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        let stamps = |provider: &Arc<Provider>| {
            let files = provider.settings.upstream.files();
            (provider.config.namespace.clone(), files.map(stamp).collect())
        };
        self.now().iter().map(stamps).collect()
    }
}

/// Whether a coordinator with these settings may stay as it is.
fn is_same(before: &Config, now: &Config) -> bool {
    let pepper = |config: &Config| config.pepper.as_ref().map(|pepper| pepper.expose().to_owned());
    // All fields but the pepper are told.
    format!("{before:?}") == format!("{now:?}") && pepper(before) == pepper(now)
}

/// A coordinator keeps the settings that it was opened with.
fn takes_a_restart(file: &ConfigFile, old: &Provider, planned: &Planned) -> BadSetting {
    let is_coordination = |flag: &clap::Arg| flag.get_help_heading() == Some("Coordination");
    let what = file.changed(&old.configured, &planned.configured, is_coordination);
    let what = what.unwrap_or("the provider's name or the pepper");
    planned.configured.explain(BadSetting::new(format!(
        "{what} is changed, which its coordination in namespace {} began with: that takes a restart",
        planned.config.namespace
    )))
}
