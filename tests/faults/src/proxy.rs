//! The network between a pod and a server: a proxy in the driver that can be cut, made deaf or slow.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::transport::Endpoint;

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
    door: Door,
    is_tls: bool,
    way: watch::Sender<Way>,
    server: watch::Sender<Endpoint>,
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
    /// For the pod of this number.
    pub(crate) async fn start(server: Endpoint, pod: usize) -> Self {
        let door = match &server {
            Endpoint::Tcp(_) | Endpoint::Mtls(_) => Door::Tcp(([127, 0, 0, 1], 0).into()),
            Endpoint::Socket(path) => Door::Socket(path.with_file_name(format!("pod-{pod}.sock"))),
        };
        let is_tls = matches!(server, Endpoint::Mtls(_));
        let listener = door.listen().expect("a free place");
        let door = listener.door(door);
        let (way, changes) = watch::channel(Way::Open);
        let completions = Arc::new(AtomicU64::new(0));
        let (server, leads_to) = watch::channel(server);
        let task = tokio::spawn(run(listener, door.clone(), leads_to, changes, Arc::clone(&completions)));
        Self { door, is_tls, way, server, completions, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let Door::Tcp(address) = self.door else { panic!("BUG: a socket has no address") };
        address
    }

    /// Where the pod finds its Redis.
    pub(crate) fn redis_url(&self) -> String {
        match &self.door {
            Door::Tcp(address) if self.is_tls => format!("rediss://{address}"),
            Door::Tcp(address) => format!("redis://{address}/"),
            Door::Socket(path) => format!("redis+unix://{}", path.display()),
        }
    }

    pub(crate) fn set(&self, way: Way) {
        self.completions.store(0, Ordering::Relaxed);
        self.way.send_replace(way);
    }

    /// New connections lead there. Those that stand still lead to the server before.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Endpoint::Tcp(server));
    }

    pub(crate) fn completions(&self) -> u64 {
        self.completions.load(Ordering::Relaxed)
    }
}

/// Where pods come in.
#[derive(Clone)]
enum Door {
    Tcp(SocketAddr),
    Socket(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Socket(UnixListener),
}

enum Accepted {
    Tcp(TcpStream),
    Socket(UnixStream),
}

impl Door {
    fn listen(&self) -> std::io::Result<Listener> {
        match self {
            Self::Tcp(address) => {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                Ok(Listener::Tcp(socket.listen(1024)?))
            }
            Self::Socket(path) => {
                _ = std::fs::remove_file(path);
                Ok(Listener::Socket(UnixListener::bind(path)?))
            }
        }
    }
}

impl Listener {
    /// The same place again, where the kernel has chosen it.
    fn door(&self, door: Door) -> Door {
        match self {
            Self::Tcp(listener) => Door::Tcp(listener.local_addr().expect("its address")),
            Self::Socket(_) => door,
        }
    }

    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Ok(Accepted::Tcp(listener.accept().await?.0)),
            Self::Socket(listener) => Ok(Accepted::Socket(listener.accept().await?.0)),
        }
    }
}

async fn run(
    listener: Listener,
    door: Door,
    server: watch::Receiver<Endpoint>,
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
            None => match door.listen() {
                Ok(again) => listener.insert(again),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = listening.accept() => {
                if let Ok(pod) = accepted {
                    let server = server.borrow().clone();
                    tokio::spawn(connect(pod, server, way.clone(), Arc::clone(&completions)));
                }
            }
            changed = way.changed() => if changed.is_err() { return },
        }
    }
}

async fn connect(pod: Accepted, server: Endpoint, way: watch::Receiver<Way>, completions: Arc<AtomicU64>) {
    match (pod, server) {
        (Accepted::Tcp(pod), Endpoint::Tcp(address)) => {
            let Some((pod, server)) = connected(pod, address).await else { return };
            pass(pod.into_split(), server.into_split(), way, completions).await;
        }
        (Accepted::Tcp(pod), Endpoint::Mtls(mtls)) => {
            let Some((pod, server)) = connected(pod, mtls.address).await else { return };
            let (mut opened, mut cut) = (way.clone(), way.clone());
            let shaken = async {
                // Who hears nothing shakes no hands.
                opened.wait_for(|way| !matches!(way, Way::Deaf | Way::DeafToPod | Way::DeafToServer)).await.ok()?;
                let server = mtls.connector.connect(mtls.name(), server);
                tokio::try_join!(mtls.acceptor.accept(pod), server).ok()
            };
            let both = tokio::select! {
                both = shaken => both,
                _ = cut.wait_for(|way| *way == Way::Cut) => None,
            };
            let Some((pod, server)) = both else { return };
            pass(split(pod), split(server), way, completions).await;
        }
        (Accepted::Socket(pod), Endpoint::Socket(path)) => {
            let Ok(server) = UnixStream::connect(path).await else { return };
            pass(pod.into_split(), server.into_split(), way, completions).await;
        }
        (Accepted::Tcp(_), Endpoint::Socket(_)) | (Accepted::Socket(_), Endpoint::Tcp(_) | Endpoint::Mtls(_)) => {
            unreachable!("a door is of its server's kind")
        }
    }
}

async fn connected(pod: TcpStream, address: SocketAddr) -> Option<(TcpStream, TcpStream)> {
    let Ok(server) = TcpStream::connect(address).await else {
        // As if there were no proxy: a pod that was let in is thrown out at once.
        _ = pod.set_zero_linger();
        return None;
    };
    _ = (pod.set_nodelay(true), server.set_nodelay(true));
    Some((pod, server))
}

/// Both ways at once, until one ends or is cut.
async fn pass(
    (pod_reads, pod_writes): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (server_reads, server_writes): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    mut way: watch::Receiver<Way>,
    completions: Arc<AtomicU64>,
) {
    let is_inbox = Arc::new(AtomicBool::new(false));
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
    async fn copy(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
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
            // What TLS has taken is not sent before it is flushed.
            if is_over || to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
