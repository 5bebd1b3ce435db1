//! Signals, listened to from before the first connection on: which end the process, which have it read its files again, and which
//! mean nothing.

use refresh_coordinator_cli::BadSetting;
use tokio::signal::unix::{Signal, SignalKind, signal};

const SIGTERM: &str = "SIGTERM";
/// What containers of servers that drain at it are stopped by.
const SIGQUIT: &str = "SIGQUIT";

pub(crate) struct Signals {
    term: Signal,
    quit: Signal,
    interrupt: Signal,
    /// Of who reads again.
    pub(crate) hangup: Option<Signal>,
    /// By themselves they would end the process with its flights, and tools that rotate logs send them.
    of_users: [Signal; 2],
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, BadSetting> {
        let listen =
            |kind| signal(kind).map_err(|error| BadSetting::new(format!("signals cannot be listened to: {error}")));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: Some(listen(SignalKind::hangup())?),
            of_users: [listen(SignalKind::user_defined1())?, listen(SignalKind::user_defined2())?],
        })
    }

    /// The next one that ends the process.
    pub(crate) async fn next(&mut self) -> &'static str {
        let [first, second] = &mut self.of_users;
        loop {
            let name = tokio::select! {
                _ = self.term.recv() => return SIGTERM,
                _ = self.quit.recv() => return SIGQUIT,
                _ = self.interrupt.recv() => return "SIGINT",
                _ = first.recv() => "SIGUSR1",
                _ = second.recv() => "SIGUSR2",
            };
            tracing::info!(signal = name, "this signal means nothing to refreshd");
        }
    }
}

/// Whether requests are still taken for a while after it.
pub(crate) fn waits(name: &str) -> bool {
    [SIGTERM, SIGQUIT].contains(&name)
}
