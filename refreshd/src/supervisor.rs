//! What the service manager is told of this process, where it listens (`sd_notify(3)`): that it serves, that it reads its files
//! again, that it lives, and that it ends.

use std::time::Duration;

use sd_notify::NotifyState;

/// Callers are served from now on.
pub(crate) fn serves(address: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening at {address}"))]);
}

/// Files are read again until it is told that this is over.
pub(crate) fn reads_again() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

pub(crate) fn has_read_again() {
    tell(&[NotifyState::Ready]);
}

/// It ends, within this time at most.
pub(crate) fn ends(within: Duration) {
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within), NotifyState::Status("draining")]);
}

/// Says that it lives, twice as often as the manager wants to hear (`WatchdogSec=`). Never ends.
pub(crate) async fn lives() {
    let Some(period) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(period / 2).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET nobody listens, and that is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told how it goes");
    }
}
