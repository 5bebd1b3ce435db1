//! A socket to Redis that is opened here and not by the redis crate: so that it is known which address it has on this side, and what
//! TLS goes over.

use std::io;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// The first address of a host that answers, of all that it has. Ends with its caller: nothing here waits by a clock of its own.
pub(super) async fn reach((host, port): (&str, u16), settings: &TcpSettings) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        tries.spawn(TcpStream::connect(address));
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(socket)) => {
                set(&socket, settings)?;
                return Ok(socket);
            }
            Ok(Err(error)) => failed = error,
            Err(error) => failed = io::Error::other(error),
        }
    }
    Err(failed)
}

/// As the redis crate sets them for a socket of its own, but for `SO_LINGER`, which it does not tell.
fn set(socket: &TcpStream, settings: &TcpSettings) -> io::Result<()> {
    socket.set_nodelay(settings.nodelay())?;
    let socket = SockRef::from(socket);
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(())
}
