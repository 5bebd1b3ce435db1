//! The network between a pod and a server: a TCP proxy in the driver that can be cut, made deaf or slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// The state of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections are reset, new ones refused.
    Cut,
    /// Nothing arrives, and nobody is told.
    Deaf,
    /// What the pod says does not arrive.
    DeafToPod,
    /// What the server answers does not arrive.
    DeafToServer,
    /// Every piece is late by so many milliseconds.
    Slow(u64),
    /// What is published does not arrive; the rest does.
    InboxStalled,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    server: watch::Sender<SocketAddr>,
    /// How many outcomes were seen on their way to Redis while the way was not open.
    completions: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (way, changes) = watch::channel(Way::Open);
        let completions = Arc::new(AtomicU64::new(0));
        let (server, leads_to) = watch::channel(server);
        let task = tokio::spawn(run(listener, address, leads_to, changes, Arc::clone(&completions)));
        Self { address, way, server, completions, task }
    }

    pub(crate) fn set(&self, way: Way) {
        self.completions.store(0, Ordering::Relaxed);
        self.way.send_replace(way);
    }

    /// New connections lead there. Those that stand still lead to the server before.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    pub(crate) fn completions(&self) -> u64 {
        self.completions.load(Ordering::Relaxed)
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    server: watch::Receiver<SocketAddr>,
    mut way: watch::Receiver<Way>,
    completions: Arc<AtomicU64>,
) {
    let mut listener = Some(listener);
    loop {
        let is_cut = *way.borrow_and_update() == Way::Cut;
        if is_cut {
            // No listener: the kernel refuses.
            listener = None;
            if way.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listening = match &listener {
            Some(listening) => listening,
            None => match listen(address) {
                Ok(again) => listener.insert(again),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = listening.accept() => {
                if let Ok((pod, _)) = accepted {
                    let server = *server.borrow();
                    tokio::spawn(connect(pod, server, way.clone(), Arc::clone(&completions)));
                }
            }
            changed = way.changed() => if changed.is_err() { return },
        }
    }
}

async fn connect(pod: TcpStream, server: SocketAddr, mut way: watch::Receiver<Way>, completions: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(server).await else {
        // As if there were no proxy: a pod that was let in is thrown out at once.
        _ = pod.set_zero_linger();
        return;
    };
    _ = pod.set_nodelay(true);
    _ = server.set_nodelay(true);
    let is_inbox = Arc::new(AtomicBool::new(false));
    let (pod_reads, pod_writes) = pod.into_split();
    let (server_reads, server_writes) = server.into_split();
    let there = Direction { way: way.clone(), completions: Some(completions), is_inbox: Arc::clone(&is_inbox) };
    let back = Direction { way: way.clone(), completions: None, is_inbox };
    tokio::select! {
        () = there.copy(pod_reads, server_writes) => {}
        () = back.copy(server_reads, pod_writes) => {}
        () = async { drop(way.wait_for(|way| *way == Way::Cut).await) } => {}
    }
    // Both halves of both end here: closed, with a reset where something was not read.
}

struct Direction {
    way: watch::Receiver<Way>,
    /// None on the way back.
    completions: Option<Arc<AtomicU64>>,
    is_inbox: Arc<AtomicBool>,
}

impl Direction {
    async fn copy(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let bytes = &piece[..read];
            if let Some(completions) = &self.completions {
                if holds(bytes, b"SUBSCRIBE") {
                    self.is_inbox.store(true, Ordering::Relaxed);
                }
                if holds(bytes, b"rotated") {
                    completions.fetch_add(1, Ordering::Relaxed);
                }
            }
            let way = *self.way.borrow();
            if let Way::Slow(ms) = way {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let (is_back, is_inbox) = (self.completions.is_none(), Arc::clone(&self.is_inbox));
            let passes = |way: &Way| match way {
                Way::Open | Way::Slow(_) | Way::Cut => true,
                Way::Deaf => false,
                Way::DeafToPod => is_back,
                Way::DeafToServer => !is_back,
                Way::InboxStalled => !(is_back && is_inbox.load(Ordering::Relaxed)),
            };
            let is_over = self.way.wait_for(passes).await.is_err();
            if is_over || to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
