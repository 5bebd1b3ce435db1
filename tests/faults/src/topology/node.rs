//! One Redis of a group: a server, its announced addresses, and its source address by which others know who comes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use redis::Value;

use super::gate::Gate;
use crate::redis_server::RedisServer;

pub(crate) struct Node {
    pub(crate) server: RedisServer,
    /// From where it connects to others.
    pub(crate) source: Ipv4Addr,
    /// Its address for everybody; on a Cluster also that of its bus.
    gates: Vec<Gate>,
}

impl Node {
    /// One that nobody announces: what a standalone Redis is.
    pub(crate) fn alone(server: RedisServer) -> Self {
        Self { server, source: Ipv4Addr::LOCALHOST, gates: Vec::new() }
    }

    /// One that is not started yet. `bus` is its port for other nodes, on a Cluster.
    pub(crate) async fn planned(binary: &Path, dir: &Path, number: u8, bus: Option<u16>) -> Self {
        let mut server = RedisServer::planned(binary, &dir.join(format!("server-{number}")));
        let source = source(number);
        let mut gates = vec![Gate::start(server.address).await];
        let mut arguments = vec!["--bind-source-addr".to_owned(), source.to_string()];
        arguments.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
        if let Some(bus) = bus {
            gates.push(Gate::start(([127, 0, 0, 1], bus).into()).await);
        }
        let port = gates[0].address.port().to_string();
        let announced = match gates.get(1) {
            None => {
                vec!["--replica-announce-ip".to_owned(), LOCAL.to_owned(), "--replica-announce-port".to_owned(), port]
            }
            Some(bus_gate) => [
                ("--cluster-announce-ip", LOCAL.to_owned()),
                ("--cluster-announce-port", port),
                ("--cluster-announce-bus-port", bus_gate.address.port().to_string()),
                ("--cluster-port", bus.unwrap_or_default().to_string()),
            ]
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect(),
        };
        server.always = arguments.into_iter().chain(announced).collect();
        Self { server, source, gates }
    }

    /// Where pods and other servers find it.
    pub(crate) fn announced(&self) -> SocketAddr {
        self.gates.first().map_or(self.server.address, |gate| gate.address)
    }

    /// Where other nodes of a Cluster find it.
    pub(crate) fn bus(&self) -> SocketAddr {
        self.gates.last().expect("BUG: nodes of a Cluster have a bus").address
    }

    pub(crate) fn shut_for(&self, peers: &[Ipv4Addr]) {
        self.gates.iter().for_each(|gate| gate.shut_for(peers));
    }

    /// Its replica gets what it writes so much later.
    pub(crate) fn be_late(&self, late: Duration) {
        self.gates.iter().take(1).for_each(|gate| gate.be_late(late));
    }

    pub(crate) fn open(&self) {
        self.gates.iter().for_each(Gate::open);
    }

    /// What it says to these words, past all gates; an empty text for an error.
    pub(crate) async fn says(&self, words: &[&str]) -> String {
        said(self.server.address, words).await.unwrap_or_default()
    }

    pub(crate) async fn is_primary(&self) -> bool {
        self.says(&["ROLE"]).await.starts_with("master")
    }
}

/// An address that nobody has.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// The source address of a server or a sentinel.
pub(crate) fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + number)
}

pub(crate) const LOCAL: &str = "127.0.0.1";

/// Asks whatever Redis there is, over a connection of its own: those that stand may be victims.
pub(crate) async fn said(address: SocketAddr, words: &[&str]) -> redis::RedisResult<String> {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let patient = Duration::from_secs(5);
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(patient));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async::<Value>(&mut connection).await.map(|value| shown(&value))
}

/// One line for each value.
fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
