//! Which server a connection leads to.

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};

use crate::store::contract::ServerId;

/// Asks it, over that connection.
///
/// # Errors
///
/// The connection ended, the user may not ask, or what answers is no Redis.
pub(super) async fn which_server(connection: &mut MultiplexedConnection) -> Result<ServerId, RedisError> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    ServerId::read(run_id.trim())
        .ok_or_else(|| RedisError::from((ErrorKind::UnexpectedReturnType, "INFO server has no run_id")))
}

/// The server that the connection ends at: one that sees the address which the connection has on this side. What a proxy passes on may
/// be carried to another server, as subscriptions are, and nobody here would notice. None behind one, and where the user may not ask.
pub(super) async fn server_without_proxy(
    connection: &mut MultiplexedConnection,
    local: Option<SocketAddr>,
) -> Option<ServerId> {
    let told: String = redis::cmd("CLIENT").arg("INFO").query_async(connection).await.ok()?;
    let seen: SocketAddr = told.split(' ').find_map(|word| word.strip_prefix("addr="))?.parse().ok()?;
    let same = |one: SocketAddr, other: SocketAddr| {
        one.ip().to_canonical() == other.ip().to_canonical() && one.port() == other.port()
    };
    if !same(seen, local?) {
        return None;
    }
    which_server(connection).await.ok()
}
