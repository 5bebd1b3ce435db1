//! What stands between a pod and Redis: an address that leads to a server, to another one later, and that may forget the
//! connections through it as a NAT does.

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
    /// Connections that were made before it grew are forgotten.
    forgotten: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn to(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (server, leads_to) = watch::channel(address_of(redis));
        let forgotten = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, leads_to, Arc::clone(&forgotten)));
        Self { address, server, forgotten, task }
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
        self.forgotten.fetch_add(1, Ordering::SeqCst);
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

async fn accept(listener: TcpListener, server: watch::Receiver<SocketAddr>, forgotten: Arc<AtomicU64>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (pod, _) = listener.accept().await.expect("a connection");
        let (server, forgotten) = (*server.borrow(), Arc::clone(&forgotten));
        connections.spawn(async move {
            let server = TcpStream::connect(server).await.expect("the server is there");
            let made = forgotten.load(Ordering::SeqCst);
            let ((pod_reads, pod_writes), (server_reads, server_writes)) = (pod.into_split(), server.into_split());
            // Over when either side closes.
            tokio::select! {
                () = copy(pod_reads, server_writes, made, &forgotten) => {}
                () = copy(server_reads, pod_writes, made, &forgotten) => {}
            }
        });
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, made: u64, forgotten: &AtomicU64) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if forgotten.load(Ordering::SeqCst) == made && to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
