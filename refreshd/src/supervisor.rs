//! What the service manager is told of this process, where it listens (`sd_notify(3)`): that it serves, that it reads its files
//! again, that it lives, and that it ends.
//!
//! By a task of its own: a manager that takes no messages for a while is not to keep callers waiting.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::unix::net;
use std::sync::OnceLock;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// More messages do not wait for a manager. It takes hundreds by itself.
const MOST_WAITING: usize = 64;

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
    static TELLER: OnceLock<Option<Sender<String>>> = OnceLock::new();
    // Without NOTIFY_SOCKET nobody listens, and that is no error.
    let teller = TELLER.get_or_init(|| {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let (teller, told) = channel(MOST_WAITING);
        tokio::spawn(async move { deliver(&socket, told).await });
        Some(teller)
    });
    if let Some(teller) = teller {
        let mut message = String::new();
        states.iter().for_each(|state| writeln!(message, "{state}").expect("BUG: a text takes all"));
        // One that finds no room is left out: so many are late by then.
        let _ = teller.try_send(message);
    }
}

/// In the order in which they were told.
async fn deliver(socket: &OsStr, mut messages: Receiver<String>) {
    let mut is_warned = false;
    while let Some(message) = messages.recv().await {
        let delivered = async { connected(socket)?.send(message.as_bytes()).await };
        match delivered.await {
            Ok(_) => is_warned = false,
            Err(error) => {
                if !is_warned {
                    tracing::warn!(%error, "the service manager could not be told how it goes");
                }
                is_warned = true;
            }
        }
    }
}

/// Anew for each message: the manager may have made its socket anew.
fn connected(socket: &OsStr) -> io::Result<UnixDatagram> {
    let datagrams = net::UnixDatagram::unbound()?;
    datagrams.connect_addr(&address(socket)?)?;
    datagrams.set_nonblocking(true)?;
    UnixDatagram::from_std(datagrams)
}

/// A path, or behind an @ a name that has none.
fn address(socket: &OsStr) -> io::Result<net::SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(socket).strip_prefix(b"@") {
        return <net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    net::SocketAddr::from_pathname(socket)
}
