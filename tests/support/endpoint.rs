//! The address by which a pod knows its Redis: a proxy that leads to one server now, and to another one later.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub struct Endpoint {
    port: u16,
    server: watch::Sender<String>,
    /// Connections below this number are closed.
    cut_below: watch::Sender<u64>,
    /// What servers answer over connections below this number waits.
    held_below: watch::Sender<u64>,
    /// Connections from this number on are taken, and nothing comes over them.
    silent_from: Arc<AtomicU64>,
    /// The number of the next connection.
    next: Arc<AtomicU64>,
    serving: AbortHandle,
}

impl Endpoint {
    /// To a Redis, by its URL.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (server, leads_to) = watch::channel(address(url));
        let (cut_below, cut) = watch::channel(0);
        let (held_below, held) = watch::channel(0);
        let next = Arc::new(AtomicU64::new(1));
        let numbers = Arc::clone(&next);
        let silent_from = Arc::new(AtomicU64::new(u64::MAX));
        let silent = Arc::clone(&silent_from);
        let serving = tokio::spawn(async move {
            let mut hanging = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                if number >= silent.load(Ordering::SeqCst) {
                    hanging.push(client);
                    continue;
                }
                let server = leads_to.borrow().clone();
                tokio::spawn(pass(client, server, number, cut.clone(), held.clone()));
            }
        });
        Self { port, server, cut_below, held_below, silent_from, next, serving: serving.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// New connections lead to this server. Those that stand still lead to the one before.
    pub fn lead_to(&self, url: &str) {
        self.server.send_replace(address(url));
    }

    /// Connections that stand end.
    pub fn cut(&self) {
        self.cut_below.send_replace(self.next.load(Ordering::SeqCst));
    }

    /// What servers answer over connections that stand waits, until it is released.
    pub fn hold(&self) {
        self.held_below.send_replace(self.next.load(Ordering::SeqCst));
    }

    /// New connections hang, as behind a load balancer that has lost its server. Those that stand are answered.
    pub fn hang(&self) {
        self.silent_from.store(self.next.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub fn release(&self) {
        self.held_below.send_replace(0);
    }
}

fn address(url: &str) -> String {
    url.trim_start_matches("redis://").trim_end_matches('/').to_owned()
}

async fn pass(
    client: TcpStream,
    server: String,
    number: u64,
    mut cut: watch::Receiver<u64>,
    mut held: watch::Receiver<u64>,
) {
    // A server that is gone: the client is thrown out at once.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = async {
        let mut piece = Vec::new();
        while from_server.read_buf(&mut piece).await.is_ok_and(|read| read > 0) {
            if held.wait_for(|below| number >= *below).await.is_err() || to_client.write_all(&piece).await.is_err() {
                return;
            }
            piece.clear();
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = back => {}
        _ = cut.wait_for(|below| number < *below) => {}
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
