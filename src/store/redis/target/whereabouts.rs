//! Where Redis is, as a URL says it.

use redis::{ConnectionAddr, ConnectionInfo};

/// Where Redis is: what a URL says.
#[derive(Clone, Debug)]
pub(crate) enum Whereabouts {
    /// One address: a server, a managed endpoint, a proxy, a socket.
    Fixed(ConnectionInfo),
    /// Sentinels know which of a group of servers is the master.
    Sentinel {
        /// Each with the sentinels' own name and password.
        sentinels: Vec<ConnectionInfo>,
        /// The name that they know the group by.
        master: String,
        /// How the master is entered. Its address is none.
        node: ConnectionInfo,
    },
    /// Any of these nodes knows which one owns the slot of a namespace.
    Cluster { seeds: Vec<ConnectionInfo> },
}

impl Whereabouts {
    /// How many sentinels are to be listened to.
    pub(in crate::store::redis) fn sentinels(&self) -> usize {
        match self {
            Self::Sentinel { sentinels, .. } => sentinels.len(),
            Self::Fixed(_) | Self::Cluster { .. } => 0,
        }
    }

    /// What stands behind the scheme of its URL.
    pub(in crate::store::redis) fn kind(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "",
            Self::Sentinel { .. } => "+sentinel",
            Self::Cluster { .. } => "+cluster",
        }
    }

    /// The first of those that are named.
    pub(in crate::store::redis) fn first(&self) -> &ConnectionInfo {
        match self {
            Self::Fixed(info) => info,
            Self::Sentinel { sentinels, .. } => &sentinels[0],
            Self::Cluster { seeds } => &seeds[0],
        }
    }

    /// Where Redis is, as an operator would say it.
    pub(in crate::store::redis) fn address(&self) -> String {
        let all = |nodes: &[ConnectionInfo]| {
            let addresses: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
            addresses.join(",")
        };
        match self {
            Self::Fixed(info) => info.addr().to_string(),
            Self::Sentinel { sentinels, master, .. } => format!("{master} of the sentinels {}", all(sentinels)),
            Self::Cluster { seeds } => format!("the cluster of {}", all(seeds)),
        }
    }
}

/// Entered the same way, at another address.
pub(in crate::store::redis) fn at(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(address)
}
