//! A primary and a replica that lags behind it. The replica is promoted, and what had not arrived is lost.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::lag::Lag;
use crate::redis_server::RedisServer;

/// What becomes of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Primary {
    /// SIGKILL.
    Killed,
    /// It goes on answering over connections that stand, and takes writes.
    Lives,
}

pub(crate) struct Servers {
    binary: PathBuf,
    dir: PathBuf,
    lag: Duration,
    started: usize,
    primary: RedisServer,
    leads: watch::Sender<SocketAddr>,
    replica: Option<(RedisServer, Lag)>,
    demoted: Option<RedisServer>,
}

impl Servers {
    pub(crate) async fn start(binary: &Path, dir: &Path, lag: Duration) -> Self {
        let primary = RedisServer::start(binary, &dir.join("server-0")).await;
        let mut servers = Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            lag,
            started: 1,
            leads: watch::Sender::new(primary.address),
            primary,
            replica: None,
            demoted: None,
        };
        servers.give_replica().await;
        servers
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.primary.address
    }

    /// Where the primary is now.
    pub(crate) fn watch(&self) -> watch::Receiver<SocketAddr> {
        self.leads.subscribe()
    }

    /// The primary gets a replica again: the one that was demoted, or a new one.
    pub(crate) async fn give_replica(&mut self) {
        let replica = match self.demoted.take() {
            Some(demoted) => demoted,
            None => {
                self.started += 1;
                RedisServer::start(&self.binary, &self.dir.join(format!("server-{}", self.started))).await
            }
        };
        self.primary.ask::<String>(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;
        let link = Lag::start(self.primary.address, self.lag).await;
        replica.ask::<String>(&["REPLICAOF", "127.0.0.1", &link.address.port().to_string()]).await;
        // It has everything but what is on its way.
        while !replica.ask::<String>(&["INFO", "replication"]).await.contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.replica = Some((replica, link));
    }

    /// Promotes the replica. What is on its way to it is lost, and whatever is written to the old primary from now on.
    pub(crate) async fn promote(&mut self, old: Primary) {
        let (replica, link) = self.replica.take().expect("BUG: it has a replica");
        if old == Primary::Killed {
            self.primary.kill().await;
        }
        replica.ask::<String>(&["REPLICAOF", "NO", "ONE"]).await;
        drop(link);
        let before = std::mem::replace(&mut self.primary, replica);
        self.leads.send_replace(self.primary.address);
        self.demoted = (old == Primary::Lives).then_some(before);
    }
}
