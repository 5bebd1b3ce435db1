//! What a sentinel says of its group.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisError};

use super::told::{Serves, Told, nobody};
use crate::store::redis::target::at;

/// Told by a sentinel when the group has another master; and before, when it has just ordered a replica to be it.
pub(in crate::store::redis) const SWITCHES: [&str; 2] = ["+switch-master", "+failover-state-wait-promotion"];

/// What it says of a server, by field.
type Said = HashMap<String, String>;

/// Asks one sentinel where the master is. Its epoch is that of the failover in which the master was chosen.
///
/// The sentinel that leads a failover names a new master when it has seen that the replica obeyed, up to a second later; which
/// replica it has chosen it says before. Until that is the master it refuses to write, and is asked for again.
pub(super) async fn ask(
    mut connection: MultiplexedConnection,
    master: &str,
    node: &ConnectionInfo,
) -> Result<Told, RedisError> {
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("MASTER").arg(master);
    both.cmd("SENTINEL").arg("REPLICAS").arg(master);
    let answered = both.query_async(&mut connection).await;
    let (said, replicas): (Said, Vec<Said>) = match answered {
        Err(error) if error.to_string().contains("No such master") => {
            return Err(nobody(format!("the sentinels know no master of the name {master}")));
        }
        other => other?,
    };
    let epoch = said.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    let (server, epoch) = match replicas.iter().find(|replica| has_flag(replica, "promoted")) {
        Some(chosen) => (chosen, epoch + 1),
        None => (&said, epoch),
    };
    let address = server.get("ip").zip(server.get("port").and_then(|port| port.parse().ok()));
    let Some((host, port)) = address else {
        return Err(nobody(format!("the sentinels know no address of {master}")));
    };
    Ok(Told { epoch, serves: Serves::All(at(node, host, port)), members: Vec::new() })
}

fn has_flag(server: &Said, flag: &str) -> bool {
    server.get("flags").is_some_and(|flags| flags.split(',').any(|other| other == flag))
}
