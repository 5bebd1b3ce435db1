//! The connection of one caller: whether it waits for its caller, and since when, or is cut.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::CUT;

/// The connection of a caller.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: IpAddr,
    since: Instant,
    waits: Mutex<Waits>,
    cut: Notify,
    speaks: OnceLock<Option<&'static str>>,
}

/// How connections begin that operators have set up for something else than HTTP/1.1 in clear, and what is told of them.
const OTHER_PROTOCOLS: [(&[u8], &str); 4] = [
    (b"\x16\x03", "TLS is spoken to a port that speaks none: send http://, or give --tls-cert for --listen"),
    (b"PRI * HTTP/2", "HTTP/2 is spoken: send HTTP/1.1"),
    (b"PROXY ", PROXY_PROTOCOL),
    (b"\r\n\r\n\0\r\nQUIT\n", PROXY_PROTOCOL),
];
const PROXY_PROTOCOL: &str = "the PROXY protocol is spoken, which is not understood: turn it off in front of refreshd";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// For its caller, since then: since it came, was answered, or the caller took the last bytes of an answer.
    Since(Instant),
    /// A request of its is being answered.
    Answering,
    /// The same, though it sends no more since then, and may have gone.
    AnsweringWhoMayHaveGone(Instant),
    Cut,
}

impl Caller {
    /// It waits from now on.
    pub(crate) fn new(peer: IpAddr) -> Self {
        let now = Instant::now();
        Self { peer, since: now, waits: Mutex::new(Waits::Since(now)), cut: Notify::new(), speaks: OnceLock::new() }
    }

    /// It has sent these bytes. The first that are seen tell which protocol it speaks.
    pub(crate) fn sends(&self, bytes: &[u8]) {
        self.speaks.get_or_init(|| {
            OTHER_PROTOCOLS.iter().find_map(|(beginning, told)| bytes.starts_with(beginning).then_some(*told))
        });
    }

    /// What is told of its protocol, where that is known, and is none that is spoken in clear here.
    pub(crate) fn speaks_otherwise(&self) -> Option<&'static str> {
        self.speaks.get().copied().flatten()
    }

    /// For how long it has waited for its caller, where that is long enough and it is not cut yet.
    pub(crate) fn waits_for(&self, least: Duration) -> Option<Duration> {
        match *self.waits() {
            Waits::Since(since) | Waits::AnsweringWhoMayHaveGone(since) => {
                Some(since.elapsed()).filter(|waited| *waited >= least)
            }
            Waits::Answering | Waits::Cut => None,
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().expect("BUG: nothing panics under this lock")
    }

    /// What is cut stays so.
    fn set(&self, waits: Waits) {
        let mut now = self.waits();
        if *now != Waits::Cut {
            *now = waits;
        }
    }

    /// The caller has taken bytes of its answer.
    pub(crate) fn takes(&self) {
        if let Waits::Since(since) = &mut *self.waits() {
            *since = Instant::now();
        }
    }

    /// The caller sends no more. Whether a request of its is being answered: such a connection makes way as one that waits for its
    /// caller does.
    pub(crate) fn may_have_gone(&self) -> bool {
        let mut waits = self.waits();
        if let Waits::Answering = *waits {
            *waits = Waits::AnsweringWhoMayHaveGone(Instant::now());
        }
        matches!(*waits, Waits::AnsweringWhoMayHaveGone(_))
    }

    /// Whether it is cut: it is not where it was cut before, or a request has come since it was looked at.
    pub(crate) fn cut(&self) -> bool {
        let mut waits = self.waits();
        if matches!(*waits, Waits::Answering | Waits::Cut) {
            return false;
        }
        *waits = Waits::Cut;
        drop(waits);
        self.cut.notify_one();
        metrics::counter!(CUT).increment(1);
        true
    }

    pub(crate) fn was_cut(&self) -> bool {
        *self.waits() == Waits::Cut
    }

    /// Ends when the connection is to be cut.
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// A whole request is there, and is answered for as long as this lives. Never ends where the connection is cut already: what
    /// came too late goes with it, and is sent to nobody.
    pub(crate) async fn answering(&self) -> Answering<'_> {
        self.set(Waits::Answering);
        if self.was_cut() {
            std::future::pending::<()>().await;
        }
        Answering(self)
    }
}

/// The connection of a caller is not cut.
#[derive(Debug)]
pub(crate) struct Answering<'a>(&'a Caller);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.set(Waits::Since(Instant::now()));
    }
}
