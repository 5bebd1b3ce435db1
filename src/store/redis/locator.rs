//! Which server the endpoint leads to now.
//!
//! A primary that was demoted may go on answering over connections that stand, for as long as it lives: what it grants counts for
//! nothing. So the endpoint itself is asked, by a connection made for that: before a call, unless that was done within a third of
//! a lease, and every third of a lease while this pod leads, or keeps what a new server may have lost. Another server than
//! before means that all connections are made anew, and that what this pod holds goes there first.
//!
//! Why a third of a lease is soon enough: the server that took over gives no lead for a whole lease after it was first asked, and
//! a leader that moves over within a third puts its flight back before that is over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::lanes::Lanes;
use crate::store::contract::{ServerId, StoreError};

/// Which server was found, and when that was asked.
#[derive(Clone, Copy, Debug)]
struct Found {
    server: ServerId,
    asked: Instant,
}

/// Between two looks at the endpoint, when it is said again and again that it has moved.
const SOON: Duration = Duration::from_millis(200);

pub(super) struct Locator {
    lanes: Arc<Lanes>,
    /// A third of a lease.
    period: Duration,
    /// None before the pod takes part, and where the user may not ask which server it is: nothing is located then, and every
    /// lead counts.
    found: Mutex<Option<Found>>,
    /// When the endpoint was last found to lead to the same server as before.
    confirmed: Mutex<Option<Instant>>,
    /// Held by the one task that asks for all.
    asking: tokio::sync::Mutex<()>,
    /// Until when this pod leads or keeps something.
    active_until: Mutex<Instant>,
    wake: Notify,
    /// The server found last; told when it is another one.
    moved: watch::Sender<Option<ServerId>>,
    /// Why the endpoint could not be asked the last time, and when that was known. None: it could.
    failed: Mutex<Option<(Instant, String)>>,
}

impl Locator {
    pub(super) fn new(lanes: Arc<Lanes>, lease: Duration) -> Self {
        Self {
            lanes,
            period: lease / 3,
            found: Mutex::new(None),
            confirmed: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
            active_until: Mutex::new(Instant::now()),
            wake: Notify::new(),
            moved: watch::Sender::new(None),
            failed: Mutex::new(None),
        }
    }

    /// `first` is what the server said of itself when the pod began to take part.
    pub(super) fn begin(&self, first: Option<ServerId>) {
        let now = Instant::now();
        *lock(&self.found) = first.map(|server| Found { server, asked: now });
        *lock(&self.confirmed) = first.map(|_| now);
        if let Some(server) = first {
            self.lanes.begins_with(server);
        }
        // It is none that was moved to.
        self.moved.send_if_modified(|moved| {
            *moved = first;
            false
        });
        self.wake.notify_one();
    }

    /// The server found last, and told of each other one.
    pub(super) fn moves(&self) -> watch::Receiver<Option<ServerId>> {
        self.moved.subscribe()
    }

    /// Whether a lead that this server gave counts: it is the one that the endpoint leads to.
    ///
    /// # Errors
    ///
    /// The endpoint could not be asked.
    pub(super) async fn is_current(&self, server: ServerId) -> Result<bool, StoreError> {
        let now = Instant::now();
        match self.found() {
            // Nobody may ask.
            None => return Ok(true),
            Some(found) if found.server == server && now.duration_since(found.asked) < self.period => return Ok(true),
            Some(_) => {}
        }
        Ok(self.ask(now).await? == server)
    }

    /// Whether the endpoint can be asked, as far as this pod knows: where it could not the last time, it is asked now. Without that
    /// no lead counts, however well the connections that stand are answered.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked.
    pub(super) async fn can_ask(&self) -> Result<(), StoreError> {
        if lock(&self.failed).is_none() {
            return Ok(());
        }
        self.ask(Instant::now()).await.map(|_| ())
    }

    /// This pod leads or keeps something for so long.
    pub(super) fn is_active_for(&self, span: Duration) {
        let until = Instant::now() + span;
        let mut active_until = lock(&self.active_until);
        let was_at_rest = *active_until < Instant::now();
        *active_until = until.max(*active_until);
        drop(active_until);
        if was_at_rest {
            self.wake.notify_one();
        }
    }

    /// Whether the user may not ask which server it is.
    pub(super) fn is_blind(&self) -> bool {
        self.found().is_none()
    }

    /// Something was heard of another server: the endpoint is asked soon.
    pub(super) fn may_have_moved(&self) {
        self.wake.notify_one();
    }

    /// Asks every third of a lease while this pod is active, and when another server was heard of.
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        loop {
            let due = self.due();
            let is_woken = tokio::select! {
                () = closed.cancelled() => return,
                () = self.wake.notified() => true,
                () = sleep_until(due) => false,
            };
            // By the clock, what another namespace of this process has found lately will do.
            let since = if is_woken { Some(Instant::now()) } else { Instant::now().checked_sub(self.period / 2) };
            let Some(found) = self.found() else { continue };
            let soonest = found.asked + (self.period / 10).min(SOON);
            tokio::time::sleep_until(soonest).await;
            if let Err(error) = self.ask(since.unwrap_or_else(Instant::now)).await {
                debug!(%error, "the endpoint could not be asked which server it leads to");
                tokio::time::sleep(self.period / 10).await;
                self.wake.notify_one();
            }
        }
    }

    /// When to ask next, if nothing is heard meanwhile.
    fn due(&self) -> Option<Instant> {
        let next = self.found()?.asked + self.period;
        (*lock(&self.active_until) > Instant::now()).then_some(next)
    }

    /// Asks the endpoint, unless another task has asked since then: what that was told, or that it was told nothing, is true for all
    /// that waited for it. Otherwise each in a line would ask an endpoint that hangs, until the last one's lease is over.
    async fn ask(&self, since: Instant) -> Result<ServerId, StoreError> {
        let Ok(_asking) = tokio::time::timeout(self.period, self.asking.lock()).await else {
            return Err(StoreError::did_not_run(format!(
                "redis is being asked which server it is for {:?}",
                self.period
            )));
        };
        if let Some((_, reason)) = lock(&self.failed).as_ref().filter(|(at, _)| *at >= since) {
            return Err(StoreError::did_not_run(reason.clone()));
        }
        if let Some(found) = self.found().filter(|found| found.asked >= since) {
            return Ok(found.server);
        }
        // No longer than a third of a lease, or an endpoint that is slow once is asked again when it is too late to move over.
        let reason = match tokio::time::timeout(self.period, self.lanes.server_id(since)).await {
            Ok(Ok((server, asked))) => {
                lock(&self.failed).take();
                self.see(Found { server, asked });
                return Ok(server);
            }
            Ok(Err(error)) => format!("redis did not say which server it is: {error}"),
            Err(_) => format!("redis did not say which server it is within {:?}", self.period),
        };
        if lock(&self.failed).replace((Instant::now(), reason.clone())).is_none() {
            warn!(reason, "the endpoint cannot be asked over a new connection: nobody is given a lead until it can");
        }
        Err(StoreError::did_not_run(reason))
    }

    fn see(&self, found: Found) {
        let before = lock(&self.found).replace(found);
        if before.is_some_and(|before| before.server == found.server) {
            *lock(&self.confirmed) = Some(found.asked);
        }
        if let Some(before) = before.filter(|before| before.server != found.server) {
            warn!(before = %before.server, now = %found.server,
                "the endpoint leads to another redis server: it may have lost writes, and is told what this pod holds");
            self.moved.send_replace(Some(found.server));
        }
    }

    /// When the endpoint was last found to lead to the same server as before: what that server had acknowledged by then is there.
    /// None where the user may not ask.
    pub(super) fn confirmed(&self) -> Option<Instant> {
        *lock(&self.confirmed)
    }

    fn found(&self) -> Option<Found> {
        *lock(&self.found)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("BUG: nothing panics with this lock held")
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
