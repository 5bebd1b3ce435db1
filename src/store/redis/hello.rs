//! What a server is, asked at start: so that one that cannot coordinate is named together with the URL that would be right.
//!
//! `HELLO` without arguments tells it from 6.0 on, on a node of a cluster and on a sentinel, too, and to a user without any
//! right. A proxy may not know it: then the scripts find out what there is to know.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisError, Value};

use super::connector::Connector;
use super::not_enrolled::NotEnrolled;
use super::target::Whereabouts;
use super::verdict::Verdict;
use crate::error::ConnectError;

/// What a server says of itself.
#[derive(Debug)]
struct Hello {
    version: String,
    mode: String,
    role: String,
}

impl Hello {
    async fn ask(connection: &mut MultiplexedConnection) -> Option<Self> {
        let said: HashMap<String, Value> = redis::cmd("HELLO").query_async(connection).await.ok()?;
        let text = |name: &str| match said.get(name) {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Value::SimpleString(text)) => text.clone(),
            _ => String::new(),
        };
        Some(Self { version: text("version"), mode: text("mode"), role: text("role") })
    }

    /// Whether it is older than the scripts need. Servers that count otherwise say of which Redis they are to the scripts.
    fn is_old(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < 7)
    }
}

/// Where a server is.
struct Place<'a> {
    info: &'a ConnectionInfo,
}

impl Place<'_> {
    fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    fn host_and_port(&self) -> Option<String> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some(at(host, *port)),
            _ => None,
        }
    }

    /// A URL to write instead: of this kind, over TLS as it is now, of this server where no other is named.
    fn url(&self, kind: &str, elsewhere: Option<String>) -> String {
        let scheme = if self.is_tls() { "rediss" } else { "redis" };
        let host = elsewhere.or_else(|| self.host_and_port()).unwrap_or_else(|| "HOST:PORT".to_owned());
        format!("{scheme}{kind}://{host}")
    }
}

fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Refuses a single server that cannot coordinate: a node of a cluster, a sentinel, a replica, one that is too old.
pub(super) async fn check_single(
    connection: &mut MultiplexedConnection,
    info: &ConnectionInfo,
) -> Result<(), NotEnrolled> {
    let Some(hello) = Hello::ask(connection).await else { return Ok(()) };
    let (place, address) = (Place { info }, info.addr().to_string());
    let (kind, remedy, is_away) = match (hello.mode.as_str(), hello.role.as_str()) {
        ("sentinel", _) => {
            let name = masters(connection).await;
            let url = place.url("+sentinel", None);
            let others = "further sentinels behind a comma";
            ("a sentinel", format!("it knows where Redis is; the URL is {url}/{name}, with {others}"), false)
        }
        ("cluster", _) => {
            let url = place.url("+cluster", None);
            ("a node of a cluster", format!("the URL is {url}, with further nodes behind a comma"), false)
        }
        (_, "replica" | "slave") => {
            let remedy = match master(connection).await {
                Some(master) => format!("it takes no writes; that of its master is {}", place.url("", Some(master))),
                None => "it takes no writes; give the URL of its master".to_owned(),
            };
            // It may be promoted: in a failover the endpoint can be there first.
            ("a replica", remedy, true)
        }
        _ if hello.is_old() => {
            let error = ConnectError::Version { address, version: hello.version };
            return Err(NotEnrolled { error, is_away: false });
        }
        _ => return Ok(()),
    };
    Err(NotEnrolled { error: ConnectError::Kind { address, kind, remedy }, is_away })
}

/// What sentinels call the groups that they watch.
async fn masters(connection: &mut MultiplexedConnection) -> String {
    let mut ask = redis::cmd("SENTINEL");
    let masters: Vec<HashMap<String, String>> = ask.arg("MASTERS").query_async(connection).await.unwrap_or_default();
    let names: Vec<_> = masters.iter().filter_map(|master| master.get("name").map(String::as_str)).collect();
    match names.as_slice() {
        [] => "MASTER".to_owned(),
        [only] => (*only).to_owned(),
        several => format!("MASTER, which is one of {}", several.join(" ")),
    }
}

/// Where a replica's master is, where the user may ask.
async fn master(connection: &mut MultiplexedConnection) -> Option<String> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await.ok()?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(at(field("master_host:")?, field("master_port:")?.parse().ok()?))
}

/// What else an operator may want to know of a connection that could not be made.
#[derive(Default)]
struct Hint {
    /// Goes on from what was said. Empty: nothing.
    text: String,
    /// It was tried, and does not pass by itself.
    is_sure: bool,
}

/// Why no connection was made, with what was found out about it.
pub(super) async fn not_connected(
    connector: &Connector,
    whereabouts: &Whereabouts,
    address: &str,
    error: &RedisError,
) -> NotEnrolled {
    if is_without_tls(error) {
        let reason = "this build has none: switch the cargo feature tls on".to_owned();
        return NotEnrolled { error: ConnectError::Tls { reason }, is_away: false };
    }
    let is_mistake = matches!(Verdict::of(error), Verdict::Denied | Verdict::Wrong) || is_distrust(error);
    let hint = hint(connector, whereabouts, error).await;
    let error = unreachable(address, &format!("{error}{}", hint.text));
    NotEnrolled { error, is_away: !is_mistake && !hint.is_sure }
}

pub(super) fn unreachable(address: &str, reason: &str) -> ConnectError {
    // What cannot be read as Redis is told with line breaks.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    ConnectError::Unreachable { address: address.to_owned(), reason }
}

async fn hint(connector: &Connector, whereabouts: &Whereabouts, error: &RedisError) -> Hint {
    let info = whereabouts.first();
    let (place, kind) = (Place { info }, whereabouts.kind());
    let url = |scheme: &str| format!("{scheme}{kind}://{}", place.host_and_port().unwrap_or_default());
    if !kind.is_empty() && is_of_another_kind(error) {
        let text = format!("; it is a single server: the URL is {}", place.url("", None));
        return Hint { text, is_sure: true };
    }
    if is_refused_login(error) {
        return match info.redis_settings().password() {
            None | Some("") => Hint::default(),
            // It stands as it is there.
            Some(_) if connector.access.has_password() => Hint::default(),
            Some(_) => Hint {
                text: "; in a URL a password is percent-encoded: % as %25, / as %2F, # as %23, ? as %3F".to_owned(),
                is_sure: false,
            },
        };
    }
    if error.kind() == redis::ErrorKind::Parse {
        return Hint { text: "; what answers there is no Redis".to_owned(), is_sure: false };
    }
    if error.code() == Some("NOAUTH") {
        return Hint { text: "; it wants a password, and none is given".to_owned(), is_sure: false };
    }
    if !(error.is_io_error() || error.is_timeout()) || error.is_connection_refusal() {
        return Hint::default();
    }
    match info.addr() {
        ConnectionAddr::Tcp(..) if error.is_connection_dropped() => {
            Hint { text: format!("; is this a TLS port? then the URL is {}", url("rediss")), is_sure: false }
        }
        ConnectionAddr::TcpTls { .. } if answers_in_clear(connector, info).await => {
            Hint { text: format!("; this is no TLS port: the URL is {}", url("redis")), is_sure: true }
        }
        _ => Hint::default(),
    }
}

/// Whether one side does not trust the other's certificate. Neither changes by itself.
fn is_distrust(error: &RedisError) -> bool {
    type Shared = std::sync::Arc<dyn std::error::Error + Send + Sync>;
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Shared>());
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

/// Whether the URL asks for TLS, and this build has none.
fn is_without_tls(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::InvalidClientConfig && error.to_string().contains("without the tls feature")
}

/// What a single server says where it is asked as a sentinel or as a node of a cluster.
fn is_of_another_kind(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("cluster support disabled") || text.to_ascii_lowercase().contains("unknown command 'sentinel'")
}

fn is_refused_login(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS")
}

/// Whether a Redis answers there without TLS.
async fn answers_in_clear(connector: &Connector, info: &ConnectionInfo) -> bool {
    let ConnectionAddr::TcpTls { host, port, .. } = info.addr() else { return false };
    let clear = info.clone().set_addr(ConnectionAddr::Tcp(host.clone(), *port));
    // Nothing secret crosses a network in clear, only to find out whether it would.
    let clear = clear.set_redis_settings(redis::RedisConnectionInfo::default());
    let ask = Box::pin(async {
        let mut connection = connector.open_at(clear, AsyncConnectionConfig::new(), None).await?;
        redis::cmd("PING").query_async::<Value>(&mut connection).await
    });
    match connector.in_time(ask).await {
        Ok(_) => true,
        // Also where it wants a login first.
        Err(error) => error.code().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::access::RedisTarget;
    use crate::store::redis::node::Node;
    use crate::store::redis::target::Target;

    #[test]
    fn urls_to_write_instead_keep_tls_and_the_brackets_of_an_address() {
        let info =
            |address: ConnectionAddr| redis::IntoConnectionInfo::into_connection_info(address).expect("an address");
        let clear = info(ConnectionAddr::Tcp("::1".to_owned(), 7000));
        let tls = ConnectionAddr::TcpTls { host: "h".to_owned(), port: 7000, insecure: false, tls_params: None };
        let tls = info(tls);

        assert_eq!(Place { info: &clear }.url("+cluster", None), "redis+cluster://[::1]:7000");
        assert_eq!(Place { info: &tls }.url("+sentinel", None), "rediss+sentinel://h:7000");
        assert_eq!(Place { info: &tls }.url("", Some("m:1".to_owned())), "rediss://m:1");
    }

    #[tokio::test]
    async fn only_a_password_in_the_url_is_said_to_be_percent_encoded() {
        let info = |url| redis::IntoConnectionInfo::into_connection_info(url).expect("a URL");
        let refused = RedisError::from((redis::ErrorKind::AuthenticationFailed, "WRONGPASS"));
        let hint = async |target: RedisTarget| {
            let whereabouts = Whereabouts::Fixed(info("redis://:of-either@127.0.0.1:1"));
            let (node, target_of) = (Node::new(&whereabouts), Target::fixed("redis://127.0.0.1:1").expect("a URL"));
            let second = std::time::Duration::from_secs(1);
            let connector = Connector::new(target_of, target.access, node, String::new(), second, second);
            hint(&connector, &whereabouts, &refused).await.text
        };

        assert!(hint(RedisTarget::new("redis://:of-either@h")).await.contains("percent-encoded"));
        assert_eq!(hint(RedisTarget::new("redis://h").password("of-either")).await, "");
    }

    #[test]
    fn build_without_tls_is_told_from_a_server_out_of_reach() {
        let config = |text| RedisError::from((redis::ErrorKind::InvalidClientConfig, text));

        assert!(is_without_tls(&config("Cannot connect to TCP with TLS without the tls feature")));
        assert!(!is_without_tls(&config("another mistake")));
    }
}
