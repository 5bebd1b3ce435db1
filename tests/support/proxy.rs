//! What stands between a pod and Redis: an address that leads to a server, to another one later, that may forget the
//! connections through it as a NAT does, and deliver answers one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::redis::RedisServer;

/// Ends with the value, and all connections with it.
pub struct Proxy {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    ways: Ways,
    task: tokio::task::JoinHandle<()>,
}

/// What all connections go by.
#[derive(Clone)]
struct Ways {
    /// Connections that were made before it grew are forgotten.
    forgotten: Arc<AtomicU64>,
    /// How many answers each connection that was made before it was set delivers, before it holds the next.
    delivers: watch::Sender<Deliveries>,
    /// How many connections were made.
    made: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Default)]
struct Deliveries {
    /// Connections with a higher number deliver all.
    last: u64,
    answers: u64,
}

impl Proxy {
    pub async fn to(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (server, leads_to) = watch::channel(address_of(redis));
        let ways = Ways { forgotten: Arc::default(), delivers: watch::Sender::default(), made: Arc::default() };
        let task = tokio::spawn(accept(listener, leads_to, ways.clone()));
        Self { address, server, ways, task }
    }

    /// The server's URL, by way of this.
    pub fn url(&self, redis: &RedisServer) -> String {
        redis.url().replace(&address_of(redis).to_string(), &self.address.to_string())
    }

    /// What is made from now on leads to another server; what was made stays.
    pub fn lead_to(&self, redis: &RedisServer) {
        self.server.send_replace(address_of(redis));
    }

    /// What was made until now takes what it is sent, delivers nothing, and does not end.
    pub fn forget(&self) {
        self.ways.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on each connection that stands delivers so many answers, and holds the next.
    pub fn deliver_only(&self, answers: u64) {
        self.ways.delivers.send_replace(Deliveries { last: self.ways.made.load(Ordering::SeqCst), answers });
    }

    /// Nothing is held any more.
    pub fn deliver(&self) {
        self.ways.delivers.send_replace(Deliveries::default());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address_of(redis: &RedisServer) -> SocketAddr {
    let url = redis.url().trim_start_matches("redis://").trim_end_matches('/');
    url.parse().expect("a server of the test's own")
}

async fn accept(listener: TcpListener, server: watch::Receiver<SocketAddr>, ways: Ways) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (pod, _) = listener.accept().await.expect("a connection");
        let number = ways.made.fetch_add(1, Ordering::SeqCst) + 1;
        let (server, ways) = (*server.borrow(), ways.clone());
        connections.spawn(async move {
            let server = TcpStream::connect(server).await.expect("the server is there");
            let made = ways.forgotten.load(Ordering::SeqCst);
            let ((pod_reads, pod_writes), (server_reads, server_writes)) = (pod.into_split(), server.into_split());
            let answers = Gate { number, delivered: 0, delivers: ways.delivers.subscribe() };
            // Over when either side closes.
            tokio::select! {
                () = copy(pod_reads, server_writes, made, &ways, None) => {}
                () = copy(server_reads, pod_writes, made, &ways, Some(answers)) => {}
            }
        });
    }
}

/// Copies, each piece when it may be delivered.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, made: u64, ways: &Ways, mut gate: Option<Gate>) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if let Some(gate) = &mut gate {
            gate.pass().await;
        }
        if ways.forgotten.load(Ordering::SeqCst) == made && to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// What the answers over a connection go through.
struct Gate {
    number: u64,
    delivered: u64,
    delivers: watch::Receiver<Deliveries>,
}

impl Gate {
    async fn pass(&mut self) {
        let Self { number, delivered, delivers } = self;
        let passes = |most: &Deliveries| *number > most.last || *delivered < most.answers;
        let most = *delivers.wait_for(passes).await.expect("the proxy is there");
        *delivered += u64::from(*number <= most.last);
    }
}
