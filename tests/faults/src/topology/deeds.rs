//! What is done to servers behind Sentinel and on a Cluster.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::node::source;
use super::sentinel;
use super::servers::{Servers, Topology};
use super::wait::wait_until;
use crate::arena::Arena;
use crate::clock::now_us;
use crate::history::What;

/// After how long a pod that does not listen to the server that decides is told of.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    pub(crate) act: ServerAct,
    /// How far the replica is behind when it happens, in ms.
    pub(crate) lag_ms: u64,
    /// The pod that leads is killed at the same moment.
    pub(crate) kills_a_pod: bool,
}

/// What happens to the server that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerAct {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, until another has taken over; then it wakes.
    Hang,
    /// `SENTINEL FAILOVER`, `CLUSTER FAILOVER`.
    Relieve,
    /// `CLUSTER FAILOVER TAKEOVER`: without asking anybody, nor for the last writes.
    Usurp,
    /// The slot of the namespace moves to another node.
    MoveSlot,
    /// No server and no sentinel reaches it, nor it them. Pods reach everybody.
    CutOff,
    /// One sentinel reaches no server, and goes on naming the old primary. The others order a failover.
    RelieveUnseenByOne,
    /// The replica hangs; nobody takes over.
    HangReplica { ms: u64 },
    /// All servers hang; nobody can take over.
    HangAll { ms: u64 },
}

impl Deed {
    pub(crate) const fn of(act: ServerAct) -> Self {
        Self { act, lag_ms: 0, kills_a_pod: false }
    }

    /// For how long Redis is about to be out of reach.
    pub(crate) fn away_ms(self) -> u64 {
        match self.act {
            ServerAct::HangReplica { ms } | ServerAct::HangAll { ms } => ms,
            ServerAct::Kill | ServerAct::Hang | ServerAct::CutOff => 3000,
            ServerAct::Relieve | ServerAct::Usurp | ServerAct::MoveSlot | ServerAct::RelieveUnseenByOne => 0,
        }
    }

    pub(crate) async fn prepare(self, arena: &Arena) {
        let servers = arena.redis.lock().await;
        servers.nodes[servers.decides].be_late(Duration::from_millis(self.lag_ms));
    }

    pub(crate) async fn happens(self, arena: &Arena, victim: usize) {
        let mut servers = arena.redis.lock().await;
        // On a busy machine servers fail over by themselves.
        servers.settle().await;
        let from = now_us();
        // A piece of what was written is always on its way.
        let lost_since = from - self.lag_ms * 1000 - 200_000;
        match self.act {
            ServerAct::HangReplica { ms } => {
                let replica = servers.replica().await;
                hang(&servers, &[replica], ms).await;
                return;
            }
            ServerAct::HangAll { ms } => {
                let all: Vec<usize> = (0..servers.nodes.len()).collect();
                hang(&servers, &all, ms).await;
                let before = servers.decides;
                servers.settle().await;
                if servers.decides != before {
                    arena.recorder.now(What::FailedOver { lost_since: Some(lost_since), from });
                }
                return;
            }
            _ => {}
        }
        let (old, replica) = (servers.decides, servers.replica().await);
        let loses = self.begin(&mut servers).await.then_some(lost_since);
        if self.kills_a_pod {
            arena.kill(victim).await;
        }
        if self.act != ServerAct::MoveSlot {
            wait_until("the replica is promoted", async || servers.nodes[replica].is_primary().await).await;
            servers.decides = replica;
            servers.ready().await;
        }
        let promoted = Instant::now();
        let pods = arena.pods.borrow().iter().flatten().count();
        let until = promoted + FOUND_WITHIN;
        while servers.listeners().await < pods {
            if Instant::now() > until {
                eprintln!("{}: {} of {pods} pods listen where it is decided", arena.name, servers.listeners().await);
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        arena.recorder.now(What::FailedOver { lost_since: loses, from });
        eprintln!(
            "{}: taken over after {} ms, found by all pods {} ms later",
            arena.name,
            (now_us() - from) / 1000 - promoted.elapsed().as_millis() as u64,
            promoted.elapsed().as_millis()
        );
        if self.act == ServerAct::Hang {
            // It takes itself for what it was until somebody tells it.
            servers.nodes[old].server.signal(Signal::SIGCONT);
        }
        drop(servers);
        if self.kills_a_pod {
            arena.start_pod(victim).await;
        }
    }

    /// Says whether writes may be lost.
    async fn begin(self, servers: &mut Servers) -> bool {
        let (old, replica) = (servers.decides, servers.replica().await);
        match (self.act, servers.topology) {
            (ServerAct::Kill, _) => servers.nodes[old].server.kill().await,
            (ServerAct::Hang, _) => servers.nodes[old].server.signal(Signal::SIGSTOP),
            (ServerAct::CutOff, _) => {
                let own = servers.nodes[old].source;
                let others: Vec<_> = servers.nodes.iter().map(|node| node.source).filter(|peer| *peer != own).collect();
                let sentinels: Vec<_> = servers.sentinels.iter().map(|sentinel| sentinel.source).collect();
                for node in &servers.nodes {
                    node.shut_for(&[own]);
                }
                servers.nodes[old].shut_for(&[others, sentinels].concat());
            }
            (ServerAct::RelieveUnseenByOne, _) => {
                servers.nodes.iter().for_each(|node| node.shut_for(&[source(10)]));
                sentinel::order(&servers.sentinels[1]).await;
            }
            (ServerAct::Relieve, Topology::Cluster) => {
                servers.nodes[replica].says(&["CLUSTER", "FAILOVER"]).await;
                return false;
            }
            (ServerAct::Relieve, _) => sentinel::order(&servers.sentinels[0]).await,
            (ServerAct::Usurp, _) => _ = servers.nodes[replica].says(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await,
            (ServerAct::MoveSlot, _) => {
                servers.move_slot().await;
                return false;
            }
            (ServerAct::HangReplica { .. } | ServerAct::HangAll { .. }, _) => {}
        }
        true
    }
}

async fn hang(servers: &Servers, which: &[usize], ms: u64) {
    which.iter().for_each(|number| servers.nodes[*number].server.signal(Signal::SIGSTOP));
    sleep(Duration::from_millis(ms)).await;
    which.iter().for_each(|number| servers.nodes[*number].server.signal(Signal::SIGCONT));
}
