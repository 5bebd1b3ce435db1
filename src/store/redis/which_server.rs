//! Which server a connection leads to.

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
