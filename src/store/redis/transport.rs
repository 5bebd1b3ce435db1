//! A connection over TLS (feature `tls`): what the redis crate is handed instead of a socket of its own.

use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::certificates::Certificates;

/// Connects and logs in. Ends with its caller: nothing here waits by a clock of its own.
pub(super) async fn connect(
    (host, port): (&str, u16),
    settings: &TcpSettings,
    certificates: &Arc<Certificates>,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        RedisError::from((ErrorKind::InvalidClientConfig, "the host is no name to verify", error.to_string()))
    })?;
    let tls = certificates.config().await.map_err(|error| {
        RedisError::from((ErrorKind::InvalidClientConfig, "TLS cannot be set up", error.to_string()))
    })?;
    let socket = reach(host, port).await?;
    set(&socket, settings)?;
    let stream = TlsConnector::from(tls).connect(name, socket).await?;
    certificates.note_server(stream.get_ref().1.peer_certificates());
    let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    // It ends when nobody holds the connection any more and all that was sent is answered, or the socket ends.
    tokio::spawn(driver);
    Ok(connection)
}

/// The first address of a host that answers, of all that it has.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        tries.spawn(TcpStream::connect(address));
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(socket)) => return Ok(socket),
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
