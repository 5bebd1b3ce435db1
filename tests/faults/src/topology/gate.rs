//! The announced address of a server: a proxy in the driver that can be shut for single peers, or late for one.
//!
//! Servers and sentinels have source addresses of their own (127.0.0.2 and so on), so a gate knows who comes. Pods come from
//! 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Whom a gate keeps out, and to whom it is late.
#[derive(Clone, Debug, Default)]
struct Order {
    shut_for: Vec<IpAddr>,
    late: Duration,
}

pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    order: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (order, orders) = watch::channel(Order::default());
        let task = tokio::spawn(async move {
            while let Ok((peer, from)) = listener.accept().await {
                tokio::spawn(pass(peer, from.ip(), server, orders.clone()));
            }
        });
        Self { address, order, task }
    }

    /// Connections of these peers end, and new ones do.
    pub(crate) fn shut_for(&self, peers: &[Ipv4Addr]) {
        self.order.send_modify(|order| order.shut_for.extend(peers.iter().copied().map(IpAddr::V4)));
    }

    /// What the server says to other servers arrives so much later; what is on its way when the server ends is lost.
    pub(crate) fn be_late(&self, late: Duration) {
        self.order.send_modify(|order| order.late = late);
    }

    /// Everybody passes, in time.
    pub(crate) fn open(&self) {
        self.order.send_replace(Order::default());
    }
}

async fn pass(peer: TcpStream, from: IpAddr, server: SocketAddr, mut orders: watch::Receiver<Order>) {
    if orders.borrow().shut_for.contains(&from) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        // As if there were no gate: the peer is thrown out at once.
        _ = peer.set_zero_linger();
        return;
    };
    _ = (peer.set_nodelay(true), server.set_nodelay(true));
    let (mut from_peer, to_peer) = peer.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let late = orders.clone();
    let back = async {
        if from == Ipv4Addr::LOCALHOST {
            let mut to_peer = to_peer;
            _ = tokio::io::copy(&mut from_server, &mut to_peer).await;
        } else {
            in_its_time(from_server, to_peer, late).await;
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_peer, &mut to_server) => {}
        () = back => {}
        _ = orders.wait_for(|order| order.shut_for.contains(&from)) => {}
    }
}

/// Each piece arrives as late as was ordered when it was sent, and none after the server has ended.
async fn in_its_time(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, orders: watch::Receiver<Order>) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reads = async move {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let late = orders.borrow().late;
            if sender.send((Instant::now() + late, piece[..read].to_vec())).is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reads => {}
        () = writes => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    async fn from(source: Ipv4Addr, gate: &Gate) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("a source of its own");
        socket.connect(gate.address).await.expect("the gate listens")
    }

    /// A server, and what it says to whom.
    async fn server() -> (TcpListener, Gate) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let gate = Gate::start(listener.local_addr().expect("its address")).await;
        (listener, gate)
    }

    #[tokio::test]
    async fn gate_is_shut_for_one_peer_and_open_for_another() {
        let (listener, gate) = server().await;
        let mut before = from(REPLICA, &gate).await;
        let (_held, _) = listener.accept().await.expect("the replica");

        gate.shut_for(&[REPLICA]);

        assert_eq!(before.read(&mut [0; 1]).await.expect("it ends in order"), 0);
        assert_eq!(from(REPLICA, &gate).await.read(&mut [0; 1]).await.expect("it ends in order"), 0);
        let mut pod = from(Ipv4Addr::LOCALHOST, &gate).await;
        let (mut served, _) = listener.accept().await.expect("the pod");
        served.write_all(b"+").await.expect("it goes out");
        assert_eq!(pod.read_u8().await.expect("it arrives"), b'+');
    }

    #[tokio::test]
    async fn what_is_late_when_the_server_ends_never_arrives() {
        let (listener, gate) = server().await;
        gate.be_late(Duration::from_secs(3600));
        let mut replica = from(REPLICA, &gate).await;
        let (mut primary, _) = listener.accept().await.expect("the replica");
        primary.write_all(b"a write").await.expect("it goes out");

        drop(primary);

        assert_eq!(replica.read(&mut [0; 16]).await.expect("it ends in order"), 0);
    }
}
