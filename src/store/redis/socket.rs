//! A socket to Redis that is opened here and not by the redis crate: so that it is known which address it has on this side, and what
//! TLS goes over.

use std::io;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use redis::{ConnectionAddr, ConnectionInfo, RedisError};
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

/// Why a connection in clear was dropped, where the server says so to those that ask nothing. It may be silent, as TLS is, for as
/// long as there is patience.
pub(super) async fn why_dropped(
    error: RedisError,
    info: &ConnectionInfo,
    settings: &TcpSettings,
    patience: Duration,
) -> RedisError {
    let ConnectionAddr::Tcp(host, port) = info.addr() else { return error };
    if !error.is_connection_dropped() || error.is_connection_refusal() {
        return error;
    }
    let said = tokio::time::timeout(patience, turned_away((host, *port), settings)).await;
    match said.ok().flatten() {
        Some(said) => io::Error::other(said).into(),
        None => error,
    }
}

/// What a server says before it is asked anything, where it turns everybody away: that it has too many clients, or is in protected
/// mode. It closes the connection behind that, and who has sent something by then mostly hears of the close alone.
async fn turned_away(host: (&str, u16), settings: &TcpSettings) -> Option<String> {
    const LONGEST: usize = 512;
    let socket = reach(host, settings).await.ok()?;
    let (mut said, mut length) = ([0; LONGEST], 0);
    while length < LONGEST && !said[..length].contains(&b'\n') {
        socket.readable().await.ok()?;
        match socket.try_read(&mut said[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    let line = said[..length].split(|byte| *byte == b'\n').next()?.strip_prefix(b"-")?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn server_that_turns_everybody_away_says_why() {
        let settings = TcpSettings::default();
        for (said, expected) in [
            ("-ERR max number of clients reached\r\n", Some("ERR max number of clients reached")),
            ("-DENIED Redis is running in protected mode\r\n", Some("DENIED Redis is running in protected mode")),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let server = async {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                stream.write_all(said.as_bytes()).await.expect("written");
            };

            let (heard, ()) = tokio::join!(turned_away(("127.0.0.1", port), &settings), server);

            assert_eq!(heard.as_deref(), expected, "{said}");
        }
    }
}
