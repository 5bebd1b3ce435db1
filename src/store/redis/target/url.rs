//! The URL of a target, read by hand: a list of hosts is no authority to a parser of URLs, and a mistake is to be named
//! without the password that may stand beside it.

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use super::whereabouts::Whereabouts;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What a scheme says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Server,
    Socket,
    Sentinel,
    Cluster,
}

impl Form {
    fn expected(self) -> &'static str {
        match self {
            Self::Server => "redis://[user:password@]host[:port][/db], or rediss:// for TLS",
            Self::Socket => "redis+unix:///path[?db=N]",
            Self::Sentinel => {
                "redis+sentinel://[user:password@]host[:port],host[:port]/MASTER[/db], or rediss+sentinel:// for TLS"
            }
            Self::Cluster => "redis+cluster://[user:password@]host[:port],host[:port], or rediss+cluster:// for TLS",
        }
    }

    /// Parameters that mean something, beside `protocol`, which everybody may give.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Server | Self::Cluster => &[],
            Self::Socket => &["db", "user", "pass"],
            Self::Sentinel => &["sentinel_username", "sentinel_password"],
        }
    }
}

/// Reads a URL: `redis|rediss://[user[:password]@]host[:port][/db]`, `redis+unix:///path`,
/// `redis|rediss+sentinel://[user[:password]@]host[:port],host[:port]/MASTER[/db]`,
/// `redis|rediss+cluster://[user[:password]@]host[:port],host[:port]`.
///
/// # Errors
///
/// In one line what is wrong, and what would be right. Without what may be a password.
pub(super) fn read(url: &str) -> Result<Whereabouts, String> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(format!("it has no scheme; expected {}", any_form()));
    };
    let (form, is_tls) = read_scheme(scheme)?;
    let read = match (form, rest.strip_prefix("//")) {
        (Form::Socket, rest_of_it) => socket(rest_of_it.unwrap_or(rest)),
        (_, None) => Err(format!("`//` is missing behind `{scheme}:`")),
        (_, Some(rest)) => Parts::read(rest, url.len() - rest.len()).and_then(|parts| parts.whereabouts(form, is_tls)),
    };
    read.map_err(|wrong| format!("{wrong}; expected {}", form.expected()))
}

fn any_form() -> String {
    let forms = [Form::Server, Form::Socket, Form::Sentinel, Form::Cluster];
    forms.map(|form| form.expected().split(", or").next().unwrap_or_default()).join(", ")
}

/// `redis` or `valkey`, with an `s` for TLS, and behind `+` or `-` what is there.
fn read_scheme(scheme: &str) -> Result<(Form, bool), String> {
    let lower = scheme.to_ascii_lowercase();
    let (base, form) = lower.split_once(['+', '-']).unwrap_or((&lower, ""));
    let is_tls = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        "unix" if form.is_empty() => return Ok((Form::Socket, false)),
        // Not named: without a scheme it may be a user.
        _ => return Err(format!("its scheme is none of Redis; expected {}", any_form())),
    };
    let form = match form {
        "" => Form::Server,
        "unix" | "socket" => Form::Socket,
        "sentinel" => Form::Sentinel,
        "cluster" => Form::Cluster,
        _ => return Err(format!("its scheme is none of Redis; expected {}", any_form())),
    };
    if is_tls && form == Form::Socket {
        return Err(format!("a socket has no TLS; expected {}", form.expected()));
    }
    Ok((form, is_tls))
}

/// What stands behind the scheme. None of it is decoded.
struct Parts<'a> {
    user: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    parameters: &'a str,
}

impl<'a> Parts<'a> {
    /// `before` is how many characters stand before the rest.
    fn read(rest: &'a str, before: usize) -> Result<Self, String> {
        if let Some(at) = rest.find(|it: char| it.is_whitespace() || it.is_control()) {
            return Err(format!("character {} is white space", before + at + 1));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let path = behind.split(['?', '#']).next().unwrap_or_default();
        if let Some(first) = behind.chars().next()
            && if path.is_empty() { behind } else { path }.contains('@')
        {
            return Err(format!(
                "percent-encode the password: character {} is `{first}`, which ends user, password and hosts; in a password it \
                 is written %{:02X}",
                before + end + 1,
                u32::from(first),
            ));
        }
        if behind.contains('#') {
            return Err("behind # nothing is understood: a certificate is verified always".to_owned());
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        if let Some(at) = user.and_then(wrong_percent) {
            return Err(format!(
                "percent-encode the password: character {} is a `%` without two hexadecimal digits behind it; a `%` itself is \
                 written %25",
                before + at + 1
            ));
        }
        let (path, parameters) = behind.split_once('?').unwrap_or((behind, ""));
        Ok(Self { user, hosts, path, parameters })
    }

    fn whereabouts(&self, form: Form, is_tls: bool) -> Result<Whereabouts, String> {
        let parameters = Parameters::read(self.parameters, form)?;
        let words: Vec<&str> = self.path.split('/').filter(|word| !word.is_empty()).collect();
        let login = self.login(parameters.protocol()?)?;
        let nodes = |default_port, login: &RedisConnectionInfo| -> Result<Vec<ConnectionInfo>, String> {
            self.hosts.split(',').map(|host| Ok(info(host_and_port(host, default_port)?, is_tls, login))).collect()
        };
        match (form, words.as_slice()) {
            (Form::Server | Form::Socket, [] | [_]) => {
                let login = login.set_db(database(words.first())?);
                match <[_; 1]>::try_from(nodes(REDIS_PORT, &login)?) {
                    Ok([node]) => Ok(Whereabouts::Fixed(node)),
                    Err(_) => {
                        Err("several hosts: those of a group begin with redis+sentinel://, those of a cluster with \
                                   redis+cluster://"
                            .to_owned())
                    }
                }
            }
            (Form::Sentinel, []) => Err("the name of the master is missing behind the hosts".to_owned()),
            (Form::Sentinel, [master] | [master, _]) => {
                let mut of_sentinels = RedisConnectionInfo::default().set_protocol(login.protocol());
                if let Some(user) = parameters.get("sentinel_username") {
                    of_sentinels = of_sentinels.set_username(user).set_password("");
                }
                if let Some(password) = parameters.get("sentinel_password") {
                    of_sentinels = of_sentinels.set_password(password);
                }
                let login = login.set_db(database(words.get(1))?);
                Ok(Whereabouts::Sentinel {
                    sentinels: nodes(SENTINEL_PORT, &of_sentinels)?,
                    master: decoded(master, "the name of the master")?,
                    node: info((String::new(), 0), is_tls, &login),
                })
            }
            (Form::Cluster, [] | ["0"]) => Ok(Whereabouts::Cluster { seeds: nodes(REDIS_PORT, &login)? }),
            (Form::Cluster, [_]) => Err("a cluster has database 0 only".to_owned()),
            _ => Err("too much stands behind the hosts".to_owned()),
        }
    }

    fn login(&self, protocol: ProtocolVersion) -> Result<RedisConnectionInfo, String> {
        let login = RedisConnectionInfo::default().set_protocol(protocol);
        let Some(user) = self.user else { return Ok(login) };
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let (name, password) = (decoded(name, "the user")?, decoded(password, "the password")?);
        Ok(log_in(login, &name, &password))
    }
}

/// A user without a password logs in with an empty one: it may be one that needs none.
fn log_in(login: RedisConnectionInfo, name: &str, password: &str) -> RedisConnectionInfo {
    match (name, password) {
        ("", "") => login,
        ("", password) => login.set_password(password),
        (name, password) => login.set_username(name).set_password(password),
    }
}

/// A socket's URL has no hosts; user, password and database are parameters.
fn socket(rest: &str) -> Result<Whereabouts, String> {
    if rest.contains('#') {
        return Err("behind # nothing is understood".to_owned());
    }
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.len() == 1 {
        return Err("the path of the socket is missing, or does not begin with /".to_owned());
    }
    let parameters = Parameters::read(parameters, Form::Socket)?;
    let word = |name| parameters.get(name).unwrap_or_default();
    let login = RedisConnectionInfo::default()
        .set_protocol(parameters.protocol()?)
        .set_db(database(parameters.get("db").as_ref())?);
    let login = log_in(login, word("user"), word("pass"));
    let address = ConnectionAddr::Unix(decoded(path, "the path")?.into());
    let info = address.into_connection_info().map_err(|error| error.to_string())?;
    Ok(Whereabouts::Fixed(info.set_redis_settings(login)))
}

fn info((host, port): (String, u16), is_tls: bool, login: &RedisConnectionInfo) -> ConnectionInfo {
    let address = if is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let info = address.into_connection_info().expect("BUG: an address is one");
    info.set_redis_settings(login.clone())
}

/// `host`, `host:port`, `[IPv6]`, `[IPv6]:port`. Nothing of it is told: it may be a password whose host is missing.
fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or("a `[` is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("in [] stands no IPv6 address".to_owned());
            }
            let port = match behind {
                "" => None,
                behind => Some(behind.strip_prefix(':').ok_or("behind a `]` stands no port")?),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in []".to_owned()),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    if ["0.0.0.0", "::"].contains(&host) {
        return Err("the wildcard address is none to connect to".to_owned());
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("a port is no number from 1 to 65535, or `@host` is missing behind a password".to_owned()),
        },
    };
    Ok((decoded(host, "a host")?, port))
}

fn database(text: Option<&impl AsRef<str>>) -> Result<i64, String> {
    let Some(text) = text else { return Ok(0) };
    let number: Result<u32, _> = text.as_ref().parse();
    number.map(i64::from).map_err(|_| "the database is no number".to_owned())
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    if wrong_percent(text).is_some() {
        return Err(format!("{what} has a `%` without two hexadecimal digits behind it; a `%` itself is written %25"));
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(String::from).map_err(|_| format!("{what} is not UTF-8"))
}

/// Where a `%` stands that encodes nothing.
fn wrong_percent(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let encodes = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    (0..bytes.len()).find(|at| bytes[*at] == b'%' && !encodes(*at))
}

/// What stands behind the `?`.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(text: &str, form: Form) -> Result<Self, String> {
        let mut read = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name != "protocol" && !form.parameters().contains(&name) {
                let known = [&["protocol"], form.parameters()].concat().join(", ");
                return Err(format!("the parameter {name:?} means nothing here (known: {known})"));
            }
            if read.iter().any(|(other, _)| other == name) {
                return Err(format!("the parameter {name} is given twice"));
            }
            read.push((name.to_owned(), decoded(value, &format!("the parameter {name}"))?));
        }
        Ok(Self(read))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn protocol(&self) -> Result<ProtocolVersion, String> {
        match self.get("protocol") {
            None | Some("2" | "resp2") => Ok(ProtocolVersion::RESP2),
            Some("3" | "resp3") => Ok(ProtocolVersion::RESP3),
            Some(_) => Err("the protocol is none of resp2 and resp3".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, in short: form, addresses with `s` before them for TLS, the database, the login.
    fn said(url: &str) -> String {
        let short = |info: &ConnectionInfo| {
            let login = info.redis_settings();
            let tls = if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) { "s " } else { "" };
            let user = login.username().unwrap_or_default();
            let password = login.password().map(|password| format!(":{password}")).unwrap_or_default();
            format!("{tls}{user}{password}@{}/{}", info.addr(), login.db())
        };
        match read(url) {
            Ok(Whereabouts::Fixed(info)) => short(&info),
            Ok(Whereabouts::Sentinel { sentinels, master, node }) => {
                let sentinels: Vec<_> = sentinels.iter().map(short).collect();
                format!("{} -> {master} {}", sentinels.join(" "), short(&node))
            }
            Ok(Whereabouts::Cluster { seeds }) => seeds.iter().map(short).collect::<Vec<_>>().join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn every_form_is_read_with_its_aliases_and_defaults() {
        for (url, expected) in [
            ("redis://h", "@h:6379/0"),
            ("REDIS://h:7000/", "@h:7000/0"),
            ("valkey://u:p@h/3", "u:p@h:6379/3"),
            ("redis://:p%40%2F%25@h", ":p@/%@h:6379/0"),
            // Without a doubt the last @ ends the password.
            ("redis://:p@ss@h", ":p@ss@h:6379/0"),
            ("redis://nopass@h", "nopass:@h:6379/0"),
            ("redis://h?protocol=resp3", "@h:6379/0"),
            ("redis://[::1]:7000/1", "@::1:7000/1"),
            ("rediss://u:p@h:7000/3", "s u:p@h:7000/3"),
            ("valkeys://h", "s @h:6379/0"),
            ("redis+unix:///run/r.sock?db=2", "@/run/r.sock/2"),
            ("redis+unix:///run/a%20b.sock?user=u&pass=p%26", "u:p&@/run/a b.sock/0"),
            ("valkey+unix:///r.sock", "@/r.sock/0"),
            ("redis-socket:///r.sock", "@/r.sock/0"),
            ("unix:///r.sock", "@/r.sock/0"),
            ("unix:/r.sock", "@/r.sock/0"),
            ("redis+sentinel://u:p@a:1,b,[::1]:5/mymaster/2", "@a:1/0 @b:26379/0 @::1:5/0 -> mymaster u:p@:0/2"),
            ("redis-sentinel://u:p%2Cx@a/m%2F1", "@a:26379/0 -> m/1 u:p,x@:0/0"),
            ("rediss+sentinel://a/m?sentinel_password=s", "s :s@a:26379/0 -> m s @:0/0"),
            ("valkeys+sentinel://a/m?sentinel_username=n&sentinel_password=s", "s n:s@a:26379/0 -> m s @:0/0"),
            ("redis+cluster://u:p@a:1,b:2,c", "u:p@a:1/0 u:p@b:2/0 u:p@c:6379/0"),
            ("rediss-cluster://a/0", "s @a:6379/0"),
        ] {
            assert_eq!(said(url), expected, "{url}");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right_and_without_what_may_be_a_password() {
        for (url, expected) in [
            ("", "it has no scheme; expected redis://"),
            ("hush@h", "it has no scheme"),
            ("http://h", "its scheme is none of Redis; expected redis://"),
            ("hush:6379", "its scheme is none of Redis"),
            ("redis+srv://h", "its scheme is none of Redis"),
            ("redis:h", "`//` is missing behind `redis:`"),
            ("redis://", "a host is missing"),
            ("redis://u:hush@", "a host is missing"),
            ("redis://:6379", "a host is missing"),
            ("redis://h/hush", "the database is no number"),
            ("redis://h/-1", "the database is no number"),
            ("redis://h/1/2", "too much stands behind the hosts"),
            ("redis://h:hush", "a port is no number from 1 to 65535, or `@host` is missing behind a password"),
            ("redis://h:65536", "a port is no number"),
            ("redis://0.0.0.0", "the wildcard address is none to connect to"),
            ("redis://::1", "an IPv6 address stands in []"),
            ("redis://[::1", "a `[` is not closed"),
            ("redis://[hush]", "in [] stands no IPv6 address"),
            ("redis://a,b", "several hosts: those of a group begin with redis+sentinel://"),
            ("redis://u:hu/sh@h", "percent-encode the password: character 13 is `/`"),
            ("redis://u:hush#@h", "percent-encode the password: character 15 is `#`"),
            ("redis://u:hush?@h", "in a password it is written %3F"),
            ("redis://u:hush%zz@h", "percent-encode the password: character 15 is a `%` without"),
            ("redis://u:hush%@h", "a `%` itself is written %25"),
            ("redis://u:hu sh@h", "character 13 is white space"),
            ("rediss://h#insecure", "a certificate is verified always"),
            ("redis://h?db=1", "the parameter \"db\" means nothing here (known: protocol)"),
            ("redis://h?protocol=resp9", "the protocol is none of resp2 and resp3"),
            ("redis+unix://run/r.sock", "the path of the socket is missing, or does not begin with /"),
            (
                "redis+unix:///r.sock?database=1",
                "(known: protocol, db, user, pass); expected redis+unix:///path[?db=N]",
            ),
            ("rediss+unix:///r.sock", "a socket has no TLS"),
            ("redis+sentinel://a,b", "the name of the master is missing behind the hosts; expected redis+sentinel://"),
            ("redis+sentinel://a,,b/m", "a host is missing"),
            ("redis+sentinel://a/m/hush", "the database is no number"),
            ("redis+sentinel://a/m?sentinel_password=a&sentinel_password=b", "sentinel_password is given twice"),
            ("redis+cluster://a/3", "a cluster has database 0 only; expected redis+cluster://"),
            ("redis+cluster://a?x=hush", "the parameter \"x\" means nothing here"),
        ] {
            let error = said(url);
            assert!(error.contains(expected), "{url}: {error}");
            assert!(error.contains("; expected redis") && !error.contains("hush"), "{url}: {error}");
        }
    }
}
