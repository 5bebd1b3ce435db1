//! A connection over TLS (feature `tls`): what the redis crate is handed instead of a socket of its own.

use std::sync::Arc;

use redis::{ErrorKind, RedisError};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::Certificates;

/// Greets the server, over a socket to it. Ends with its caller: nothing here waits by a clock of its own.
pub(super) async fn secure(
    host: &str,
    socket: TcpStream,
    certificates: &Arc<Certificates>,
) -> Result<TlsStream<TcpStream>, RedisError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        RedisError::from((ErrorKind::InvalidClientConfig, "the host is no name to verify", error.to_string()))
    })?;
    let tls = certificates.config().await.map_err(|error| {
        RedisError::from((ErrorKind::InvalidClientConfig, "TLS cannot be set up", error.to_string()))
    })?;
    let stream = TlsConnector::from(tls).connect(name, socket).await?;
    certificates.note_server(stream.get_ref().1.peer_certificates());
    Ok(stream)
}
