//! What is read again while the daemon runs, at SIGHUP and when it changes: the files of each upstream, those of the token port's TLS,
//! and the file of `--config`.
//!
//! A file may take a while to be read, or for ever, where its file system stands still: callers are served meanwhile by others.
//!
//! The files that say how Redis is entered need none of this: they are read at every connect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator};
use refresh_coordinator_cli::BadSetting;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::caller_tls::Showing;
use crate::config_file::{ConfigFile, Configured, Scope, scope};
use crate::coordination::{Coordination, close};
use crate::limits::Limits;
use crate::opening;
use crate::provider::{Begins, Planned, Provider};
use crate::providers::Providers;
use crate::stamps::Stamps;
use crate::supervisor;
use crate::upstream::Upstream;

/// How often files are looked at: an orchestrator replaces what it has mounted, and tells nobody.
const PERIOD: Duration = Duration::from_secs(5);
/// How often a file that was refused is tried again, at last.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);

pub(crate) struct Reload {
    pub(crate) file: Option<ConfigFile>,
    /// With what holds for all providers, as it was at the start.
    pub(crate) shared: Configured,
    pub(crate) limits: Limits,
    /// How long the flights of a provider that is no longer named may take to end.
    pub(crate) drain: Duration,
    pub(crate) coordination: Arc<Coordination>,
    pub(crate) caller_tls: Showing,
    /// Coordinators of providers that are no longer named, until their flights have ended.
    pub(crate) leaving: TaskTracker,
    pub(crate) providers: watch::Sender<Arc<Providers>>,
}

/// A provider that is new or has changed, with the coordinator that it has.
type ToOpen = (Planned, Option<RefreshCoordinator>);
/// One that is as it was, and its upstream with what stands in its files now.
type Kept = (Arc<Provider>, Upstream);

/// A file of `--config` that was refused, until when it is not tried again: a provider that is away comes back, and what a file names is
/// mounted a little later than the file.
struct Refused {
    reason: String,
    again_at: Instant,
    pause: Duration,
}

impl Refused {
    /// After this one, where that was tried again: what is the same as before is not told again.
    fn told(reason: BadSetting, before: Option<Self>) -> Self {
        let reason = reason.to_string();
        let pause = before.as_ref().map_or(PERIOD, |before| (2 * before.pause).min(LONGEST_PERIOD));
        if before.is_none_or(|before| before.reason != reason) {
            tracing::error!(reason, "what was read before is kept");
        }
        Self { reason, again_at: Instant::now() + pause, pause }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.again_at
    }
}

impl Reload {
    /// Reads again whenever there is a reason to. Never ends.
    pub(crate) async fn run(self: Arc<Self>, mut hangup: Signal) {
        let (mut seen, mut seen_tls) = (self.stamps_read(), self.caller_tls.stamps());
        let mut file_read = self.file.as_ref().map(|file| file.stamps_at_start.clone());
        let mut file_before = file_read.clone();
        let mut refused: Option<Refused> = None;
        loop {
            self.caller_tls.tell_of_end();
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(PERIOD) => false,
            };
            // As they stand before they are read: what changes meanwhile is seen the next time.
            let (now, now_tls, file_now) = block_in_place(|| {
                let file_now = self.file.as_ref().map(ConfigFile::stamps);
                (self.stamps(), Stamps::of(self.caller_tls.files()), file_now)
            });
            // It may be half written: it is read when it has stayed as it is for a while.
            let is_another = file_now != file_read && file_now == file_before;
            let is_due = file_now == file_read && refused.as_ref().is_some_and(Refused::is_due);
            let reads_all = is_asked || is_another || is_due;
            let is_changed = |provider: &&Arc<Provider>| {
                let namespace = &provider.config.namespace;
                now.get(namespace) != seen.get(namespace)
            };
            if reads_all || now != seen || now_tls != seen_tls {
                supervisor::reads_again();
                if reads_all {
                    // A person who asks is told, however often.
                    let before = refused.take().filter(|_| is_due && !is_asked);
                    refused = self.read_all_again().await.err().map(|reason| Refused::told(reason, before));
                    file_read.clone_from(&file_now);
                }
                // A file of --config that is refused keeps nobody from reading a new certificate.
                if !reads_all || refused.is_some() {
                    block_in_place(|| self.now().iter().filter(is_changed).for_each(|provider| provider.read_again()));
                }
                if is_asked || now_tls != seen_tls {
                    block_in_place(|| self.caller_tls.read_again());
                }
                supervisor::has_read_again();
            }
            (seen, seen_tls, file_before) = (now, now_tls, file_now);
        }
    }

    async fn read_all_again(&self) -> Result<(), BadSetting> {
        let Some(file) = &self.file else {
            block_in_place(|| self.now().iter().for_each(|provider| provider.read_again()));
            return Ok(());
        };
        self.read_file_again(file).await?;
        let providers = self.now().iter().count();
        tracing::info!(providers, file = %file.path().display(), "the file of --config was read again");
        Ok(())
    }

    /// All of the file holds from now on, or nothing of it. Requests that are under way end as they began.
    async fn read_file_again(&self, file: &ConfigFile) -> Result<(), BadSetting> {
        let (anew, kept) = block_in_place(|| self.planned_again(file))?;
        let opened = opening::open(anew, &self.coordination, Begins::WhileOthersAreServed).await?;

        // Nothing fails from here on.
        let before = self.now();
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

    /// What the file says now: who is opened anew, with the coordinator that it has, and who stays, with its files read again.
    fn planned_again(&self, file: &ConfigFile) -> Result<(Vec<ToOpen>, Vec<Kept>), BadSetting> {
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
        let (mut kept, mut anew) = (Vec::new(), Vec::new());
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
        Ok((anew, kept))
    }

    fn now(&self) -> Arc<Providers> {
        Arc::clone(&self.providers.borrow())
    }

    /// By namespace: as they are now, and as they were when they were read.
    fn stamps(&self) -> HashMap<String, Stamps> {
        self.of_each(|provider| Stamps::of(provider.settings.upstream.files()))
    }

    fn stamps_read(&self) -> HashMap<String, Stamps> {
        self.of_each(|provider| provider.upstream.borrow().stamps().clone())
    }

    fn of_each<T>(&self, of: impl Fn(&Provider) -> T) -> HashMap<String, T> {
        self.now().iter().map(|provider| (provider.config.namespace.clone(), of(provider))).collect()
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
