//! The link of a replica to its primary: everything arrives, later.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Lag {
    pub(crate) address: SocketAddr,
    /// Ends with the link, and what is on its way is lost.
    _connections: JoinSet<()>,
}

impl Lag {
    pub(crate) async fn start(primary: SocketAddr, by: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((replica, _)) = listener.accept().await {
                passing.spawn(pass(replica, primary, by));
            }
        });
        Self { address, _connections: connections }
    }
}

async fn pass(replica: TcpStream, primary: SocketAddr, by: Duration) {
    let Ok(primary) = TcpStream::connect(primary).await else { return };
    _ = (replica.set_nodelay(true), primary.set_nodelay(true));
    let (mut from_replica, to_replica) = replica.into_split();
    let (from_primary, mut to_primary) = primary.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_replica, &mut to_primary) => {}
        () = late(from_primary, to_replica, by) => {}
    }
}

/// Each piece arrives so much later than it was sent, however many are on their way.
async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, by: Duration) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reads = async move {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            if sender.send((Instant::now() + by, piece[..read].to_vec())).is_err() {
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
    tokio::join!(reads, writes);
}
