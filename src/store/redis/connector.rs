//! How connections are made: to the node that serves a namespace now, over TLS or not, with the process' name, and so that a
//! dead one is noticed.

use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool::managed::Manager;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::Access;
#[cfg(feature = "tls")]
use super::certificates::Certificates;
use super::node::{Address, Node};
use super::socket;
use super::target::{Target, TargetError, Whereabouts, at};
#[cfg(feature = "tls")]
use super::transport;
use crate::error::ConnectError;
use crate::metrics::Level;

#[cfg(feature = "tls")]
const HOUR: Duration = Duration::from_secs(3600);

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Wherever the endpoint leads: one server, or the master of the group.
    Endpoint,
    /// A node of a cluster.
    Node(Address),
}

pub(super) struct Connector {
    target: Target,
    pub(super) access: Access,
    pub(super) node: Node,
    #[cfg(feature = "tls")]
    certificates: Arc<Certificates>,
    /// Names the pod of the connection in CLIENT LIST.
    client_name: String,
    /// How long finding the node and connecting may take together, and how long the kernel waits for acknowledgements.
    pub(super) timeout: Duration,
    /// How long a connection may be silent before the kernel asks whether the other end lives.
    pub(super) idle: Duration,
    /// Connections that stand: those of lanes, and subscriptions.
    pub(super) standing: Level,
}

impl Connector {
    pub(super) fn new(
        target: Target,
        access: Access,
        node: Node,
        client_name: String,
        timeout: Duration,
        idle: Duration,
    ) -> Self {
        #[cfg(feature = "tls")]
        let certificates = Arc::new(Certificates::new(access.files.clone()));
        Self {
            target,
            access,
            node,
            #[cfg(feature = "tls")]
            certificates,
            client_name,
            timeout,
            idle,
            standing: Level::called(
                "refresh_coordinator_redis_connections",
                "Connections to Redis that stand, for commands and to hear news.",
            ),
        }
    }

    /// Where Redis is now, and how it is entered.
    pub(super) async fn whereabouts(&self) -> Result<Whereabouts, TargetError> {
        self.access.to_all(self.target.ask().await?).await
    }

    /// Whether TLS can be set up where it is asked for.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Tls`] names the file that is wrong.
    pub(super) async fn check_tls(&self, whereabouts: &Whereabouts) -> Result<(), ConnectError> {
        #[cfg(feature = "tls")]
        if secured(whereabouts.first()).is_some() {
            let made = self.in_time(Box::pin(async { Ok(self.certificates.config().await) })).await;
            let made = made.map_err(|error| ConnectError::Tls { reason: error.to_string() })?;
            return made.map(|_| ()).map_err(|error| ConnectError::Tls { reason: error.to_string() });
        }
        let _ = whereabouts;
        if self.access.files.is_empty() {
            return Ok(());
        }
        let reason = if cfg!(feature = "tls") {
            "a client of the redis crate that has certificates of its own takes no others"
        } else {
            "this build has none: switch the cargo feature tls on"
        };
        Err(ConnectError::Tls { reason: reason.to_owned() })
    }

    /// Where a slot is served, unless another task has asked since then; without `since` whatever was found last will do.
    pub(super) async fn place_of(&self, slot: u16, since: Option<Instant>) -> Result<Place, RedisError> {
        if !self.node.is_cluster {
            return Ok(Place::Endpoint);
        }
        self.in_time(Box::pin(async {
            let whereabouts = self.whereabouts().await?;
            let asked_over = |info| self.open_at(info, AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2));
            Ok(Place::Node(self.node.owner(whereabouts, slot, since, self.timeout, &asked_over).await?))
        }))
        .await
    }

    /// All places where something is served.
    pub(super) async fn places(&self) -> Result<Vec<Place>, RedisError> {
        if !self.node.is_cluster {
            return Ok(vec![Place::Endpoint]);
        }
        self.in_time(Box::pin(async {
            let whereabouts = self.whereabouts().await?;
            let asked_over = |info| self.open_at(info, AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2));
            let owners = self.node.owners(whereabouts, self.timeout, &asked_over).await?;
            Ok(owners.into_iter().map(Place::Node).collect())
        }))
        .await
    }

    /// Connects, within the timeout, beside the pool. `config` is what is special about the connection.
    pub(super) async fn connect(
        &self,
        place: &Place,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.in_time(Box::pin(async {
            let mut connection = self.open(place, config, protocol).await?;
            self.name(&mut connection).await?;
            Ok(connection)
        }))
        .await
    }

    /// The same, and the address that the connection has on this side, where it has one.
    pub(super) async fn connect_known(
        &self,
        place: &Place,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<(MultiplexedConnection, Option<SocketAddr>), RedisError> {
        self.in_time(Box::pin(async {
            let info = self.entry(place).await?;
            let (mut connection, local) = self.open_known(info, config, protocol).await?;
            self.name(&mut connection).await?;
            Ok((connection, local))
        }))
        .await
    }

    /// Bounds connecting. In a box of any type: it is large, rare, and a part of every call, also for the compiler.
    pub(super) async fn in_time<T>(
        &self,
        connecting: Pin<Box<dyn Future<Output = Result<T, RedisError>> + Send + '_>>,
    ) -> Result<T, RedisError> {
        let connected = tokio::time::timeout(self.timeout, connecting).await;
        connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }

    /// Connects to a place, with the login as it is now. The connection has no name yet.
    pub(super) async fn open(
        &self,
        place: &Place,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.open_at(self.entry(place).await?, config, protocol).await
    }

    /// How a place is entered now.
    async fn entry(&self, place: &Place) -> Result<ConnectionInfo, RedisError> {
        let asked_over = |info| self.open_at(info, AsyncConnectionConfig::new(), Some(ProtocolVersion::RESP2));
        match (self.whereabouts().await?, place) {
            (Whereabouts::Cluster { seeds }, Place::Node((host, port))) => Ok(at(&seeds[0], host, *port)),
            (whereabouts, _) => self.node.find(whereabouts, self.timeout, &asked_over).await,
        }
    }

    /// Connects to an address with the login that stands beside it.
    pub(super) async fn open_at(
        &self,
        info: ConnectionInfo,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<MultiplexedConnection, RedisError> {
        #[cfg(feature = "tls")]
        if secured(&info).is_some() {
            let (connection, _) = self.open_known(info, config, protocol).await?;
            return Ok(connection);
        }
        let (settings, login, config) = self.terms(&info, config, protocol);
        let of_tcp = info.clone();
        let info = info.set_tcp_settings(settings.clone()).set_redis_settings(login);
        match deadpool_redis::Manager::new_with_config(info, config)?.create().await {
            Err(error) => Err(socket::why_dropped(error, &of_tcp, &settings, self.timeout / 4).await),
            connected => connected,
        }
    }

    /// The same over a socket of our own, and the address of that on this side. A Unix socket has none, nor has one that a client of
    /// the redis crate secures by itself.
    async fn open_known(
        &self,
        info: ConnectionInfo,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> Result<(MultiplexedConnection, Option<SocketAddr>), RedisError> {
        let (settings, login, made) = self.terms(&info, config, protocol);
        #[cfg(feature = "tls")]
        if let Some(host) = secured(&info) {
            // In a box: a handshake is large.
            return Box::pin(async {
                let socket = socket::reach(host, &settings).await?;
                let local = socket.local_addr().ok();
                let stream = transport::secure(host.0, socket, &self.certificates).await?;
                Ok((greeted(stream, &login, made).await?, local))
            })
            .await;
        }
        if let ConnectionAddr::Tcp(host, port) = info.addr() {
            let socket = socket::reach((host, *port), &settings).await?;
            let local = socket.local_addr().ok();
            return match greeted(socket, &login, made).await {
                Ok(connection) => Ok((connection, local)),
                Err(error) => Err(socket::why_dropped(error, &info, &settings, self.timeout / 4).await),
            };
        }
        let info = info.set_tcp_settings(settings).set_redis_settings(login);
        Ok((deadpool_redis::Manager::new_with_config(info, made)?.create().await?, None))
    }

    /// On which terms a connection is made.
    fn terms(
        &self,
        info: &ConnectionInfo,
        config: AsyncConnectionConfig,
        protocol: Option<ProtocolVersion>,
    ) -> (TcpSettings, RedisConnectionInfo, AsyncConnectionConfig) {
        let login = match protocol {
            Some(protocol) => info.redis_settings().clone().set_protocol(protocol),
            None => info.redis_settings().clone(),
        };
        // The whole is bounded by `in_time`: a name may have several addresses.
        let config = config.set_connection_timeout(None).set_response_timeout(Some(self.timeout));
        (self.tcp_settings(info.tcp_settings().clone()), login, config)
    }

    pub(super) async fn name(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(&self.client_name).query_async::<()>(connection).await;
        match named {
            // A convenience for the operator: a user that may not set names coordinates as well, and so does one whose server
            // knows no CLIENT.
            Err(error) if error.code() == Some("NOPERM") || is_unknown_command(&error) => Ok(()),
            other => other,
        }
    }

    /// Looks after the certificates, while no connection is made: they are read again, and warned about before they end.
    pub(super) async fn look_after_certificates(&self, closed: CancellationToken) {
        #[cfg(feature = "tls")]
        while closed.run_until_cancelled(tokio::time::sleep(HOUR)).await.is_some() {
            if !self.certificates.ends().is_empty() {
                self.certificates.look_after().await;
            }
        }
        closed.cancelled().await;
    }

    /// When the certificates of the way end, those that are known.
    pub(super) fn certificate_ends(&self) -> Vec<(&'static str, SystemTime)> {
        #[cfg(feature = "tls")]
        return self.certificates.ends();
        #[cfg(not(feature = "tls"))]
        Vec::new()
    }

    /// What comes behind an unanswered call is sent at once, not after a round trip. What Redis' machine does not
    /// acknowledge within `store_timeout` the kernel gives up (RFC 5482), else a `begin` could arrive minutes after a
    /// network has healed, when the mark that its attempt was given up is no longer kept. Where nothing is said the kernel
    /// asks (RFC 9293, section 3.8.4), so that a way that forgets idle connections keeps this one. The rest is as the
    /// client's maker wants it.
    fn tcp_settings(&self, theirs: TcpSettings) -> TcpSettings {
        let mut settings = theirs.set_nodelay(true);
        if settings.keepalive().is_none() {
            settings = settings.set_keepalive(TcpKeepalive::new().with_time(self.idle));
        }
        #[cfg(target_os = "linux")]
        let settings = settings.set_user_timeout(self.timeout);
        settings
    }
}

/// Logs in over a stream.
async fn greeted(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    // It ends when nobody holds the connection any more and all that was sent is answered, or the socket ends.
    tokio::spawn(driver);
    Ok(connection)
}

/// The host to verify, where TLS is ours to make. A client of the redis crate that brings its own settings of TLS uses them.
#[cfg(feature = "tls")]
pub(super) fn secured(info: &ConnectionInfo) -> Option<(&str, u16)> {
    match info.addr() {
        redis::ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None } => Some((host, *port)),
        _ => None,
    }
}

/// Whether a server does not know a command at all: an older one, a proxy, or one that has it renamed.
pub(super) fn is_unknown_command(error: &RedisError) -> bool {
    error.code() == Some("ERR") && error.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}

#[cfg(test)]
mod tests {
    use redis::Client;

    use super::*;

    #[test]
    fn connections_wait_for_no_acknowledgement_and_keep_what_their_client_sets() {
        let client = Client::open("redis://127.0.0.1:1").expect("a URL");
        let (timeout, idle) = (Duration::from_secs(1), Duration::from_secs(5));
        let node = Node::new(&Whereabouts::Fixed(client.get_connection_info().clone()));
        let connector = Connector::new(Target::from(client), Access::default(), node, String::new(), timeout, idle);

        let settings = connector.tcp_settings(TcpSettings::default().set_linger_time(Duration::from_secs(7)));

        assert!(settings.nodelay());
        #[cfg(target_os = "linux")]
        assert_eq!(settings.user_timeout(), Some(Duration::from_secs(1)));
        let text = format!("{settings:?}");
        assert!(text.contains("linger_time: Some(7s)") && text.contains("time: Some(5s)"), "{text}");
        let theirs = TcpKeepalive::new().with_time(Duration::from_secs(60));
        let settings = connector.tcp_settings(TcpSettings::default().set_keepalive(theirs));
        assert!(format!("{settings:?}").contains("time: Some(60s)"), "{settings:?}");
    }
}
