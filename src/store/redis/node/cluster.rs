//! What a node of a cluster says of a slot.

use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, RedisError, Value};

use super::told::{Address, Serves, Told, nobody};

/// Asks one node who owns which slots. Its epoch is the highest that it has heard of.
///
/// A node that is cut off from most others still names the owners that it knew, until it notices; then its state is not `ok`.
pub(super) async fn ask(mut connection: MultiplexedConnection, asked: &ConnectionInfo) -> Result<Told, RedisError> {
    let mut both = redis::pipe();
    both.cmd("CLUSTER").arg("INFO");
    both.cmd("CLUSTER").arg("SLOTS");
    let (info, ranges): (String, Vec<Vec<Value>>) = both.query_async(&mut connection).await?;
    let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let state = told("cluster_state:");
    if state != "ok" {
        return Err(nobody(format!("cluster_state of {} is {state}", asked.addr())));
    }
    let (mut owners, mut members) = (Vec::new(), Vec::new());
    for range in &ranges {
        let [Value::Int(first), Value::Int(last), nodes @ ..] = range.as_slice() else { continue };
        let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(*last)) else { continue };
        let nodes: Vec<_> = nodes.iter().filter_map(|node| address(node, asked)).collect();
        if let Some(owner) = nodes.first() {
            owners.push((first..=last, owner.clone()));
        }
        for node in nodes {
            if !members.contains(&node) {
                members.push(node);
            }
        }
    }
    let epoch = told("cluster_current_epoch:").parse().unwrap_or_default();
    Ok(Told { epoch, serves: Serves::Slots(owners), members })
}

/// Host and port of a node, as CLUSTER SLOTS lists it. One that it does not name is the one that was asked.
fn address(node: &Value, asked: &ConnectionInfo) -> Option<Address> {
    let Value::Array(words) = node else { return None };
    let [host, Value::Int(port), ..] = words.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => String::new(),
        _ => return None,
    };
    let host = match (host.as_str(), asked.addr()) {
        // Its name is not known yet.
        ("?", _) => return None,
        ("", ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host,
        ("", _) => return None,
        (host, _) => host,
    };
    Some((host.to_owned(), u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn node_that_is_not_named_is_the_one_that_was_asked() {
        let asked = "redis://u:p@seed:7000".into_connection_info().expect("a URL");
        let node = |host: Value| Value::Array(vec![host, Value::Int(7001), Value::BulkString(b"id".to_vec())]);
        let named = |host: &str| address(&node(Value::BulkString(host.into())), &asked);

        assert_eq!(named("other"), Some(("other".to_owned(), 7001)));
        assert_eq!(named(""), Some(("seed".to_owned(), 7001)));
        assert_eq!(address(&node(Value::Nil), &asked), Some(("seed".to_owned(), 7001)));
        assert_eq!(named("?"), None);
    }
}
