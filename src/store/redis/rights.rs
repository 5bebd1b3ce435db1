//! The rights that a pod needs, all tried at start in one go, so that all that are missing are named at once.
//!
//! Each command is sent as it is, and not from a script: without the right to run scripts nothing would be known of the others.
//! Each is sent so that it changes nothing, whatever the user may do: on a key of this pod's own that is not there, or with an
//! argument that Redis refuses after it has looked at the rights.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};

use super::connector::is_unknown_command;
use super::keys::Keys;
use super::pubsub::PubSub;
use crate::identity::Hash;

/// What a user lacks, or a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Rules to add by ACL SETUSER: those without which nothing works.
    pub(super) needed: Vec<String>,
    /// Rules for what a pod can do without.
    pub(super) wanted: Vec<String>,
    /// Commands that the server does not know.
    pub(super) unknown: Vec<&'static str>,
    /// What Redis said first.
    pub(super) reason: String,
}

impl Missing {
    /// All rules, as they stand behind the user's name.
    pub(super) fn rules(&self) -> String {
        [self.needed.as_slice(), self.wanted.as_slice()].concat().join(" ")
    }
}

/// A command that is tried, by the name that a rule gives it.
struct Tried {
    name: &'static str,
    command: Cmd,
    names_keys: bool,
    names_channels: bool,
    is_needed: bool,
}

/// What an answer says of the rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Command,
    Keys,
    Channels,
    Unknown,
    /// The server was not in a state to say.
    Unclear,
}

/// Tries them all. The connection is used up: it subscribes last.
///
/// # Errors
///
/// The connection ended.
pub(super) async fn missing(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    pod: &str,
    pubsub: PubSub,
    waits_for_replicas: bool,
) -> Result<Missing, RedisError> {
    let mut tried = commands(keys, pod, pubsub);
    if waits_for_replicas {
        // For none, which is answered at once.
        tried.push(Tried::plain("wait", words(&["WAIT", "0", "1"]), true));
    }
    let mut pipeline = redis::pipe();
    for tried in &tried {
        pipeline.add_command(tried.command.clone());
    }
    let mut answers: Vec<Result<Value, RedisError>> = pipeline.ignore_errors().query_async(connection).await?;
    // What counts down makes the key that is not there: so only where one of the commands beside it ends that.
    let ends = ["set", "pexpire", "del"];
    let may_end = tried.iter().zip(&answers).any(|(tried, answer)| ends.contains(&tried.name) && !is_refused(answer));
    if may_end {
        let lock = keys.lock(&Hash::of_probe(pod)).to_string();
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(&lock).arg(1).arg("PX").arg(1000).cmd("DECR").arg(&lock);
        pipeline.cmd("PEXPIRE").arg(&lock).arg(1000).cmd("DEL").arg(&lock);
        let counted: Vec<Result<Value, RedisError>> = pipeline.ignore_errors().query_async(connection).await?;
        let counted = counted.into_iter().nth(1).expect("BUG: as many commands have as many answers");
        tried.push(Tried::keyed("decr", redis::cmd("DECR")));
        answers.push(counted);
    }
    let [_, (name, command), _] = names_of(pubsub);
    let subscribe = Tried::channelled(name, words(&[command, &keys.channel(pod)]));
    let subscribed = subscribe.command.query_async(connection).await;
    tried.push(subscribe);
    answers.push(subscribed);
    Ok(judge(&tried, &answers, keys, may_end))
}

fn judge(tried: &[Tried], answers: &[Result<Value, RedisError>], keys: &Keys, may_end: bool) -> Missing {
    let said: Vec<_> = answers.iter().map(read).collect();
    let (key_rule, channel_rule) = keys.acl_rules();
    let mut missing = Missing::default();
    let all = || tried.iter().zip(&said);
    // Of a command that may not be sent at all it is not said whether its keys are allowed: where that goes for all of them,
    // the rule is named, too. To be given twice does no harm.
    let is_known = |of: fn(&Tried) -> bool| all().any(|(tried, answer)| of(tried) && *answer == Answer::Allowed);
    let are_refused = |kind| said.contains(&kind);
    let refuses_commands = are_refused(Answer::Command);
    if are_refused(Answer::Keys) || (refuses_commands && !is_known(|tried| tried.names_keys)) {
        missing.needed.push(key_rule);
    }
    if are_refused(Answer::Channels) || (refuses_commands && !is_known(|tried| tried.names_channels)) {
        missing.needed.push(channel_rule);
    }
    for (tried, answer) in all() {
        match answer {
            Answer::Command if tried.is_needed => missing.needed.push(format!("+{}", tried.name)),
            Answer::Command => missing.wanted.push(format!("+{}", tried.name)),
            Answer::Unknown if tried.is_needed => missing.unknown.push(tried.name),
            Answer::Allowed | Answer::Keys | Answer::Channels | Answer::Unknown | Answer::Unclear => {}
        }
    }
    // Published is to two channels.
    missing.needed.dedup();
    missing.unknown.dedup();
    if refuses_commands && !may_end {
        missing.needed.push("+decr".to_owned());
    }
    let first = answers.iter().zip(tried).find(|(answer, tried)| tried.is_needed && is_refused(answer));
    missing.reason = first.and_then(|(answer, _)| answer.as_ref().err()).map(ToString::to_string).unwrap_or_default();
    missing
}

fn is_refused(answer: &Result<Value, RedisError>) -> bool {
    matches!(read(answer), Answer::Command | Answer::Keys | Answer::Channels | Answer::Unknown)
}

fn read(answer: &Result<Value, RedisError>) -> Answer {
    let Err(error) = answer else { return Answer::Allowed };
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        // By the text that no name of a user can be mistaken for.
        Some("NOPERM") if detail.contains("permissions to run the '") => Answer::Command,
        Some("NOPERM") if detail.contains("channel") => Answer::Channels,
        Some("NOPERM") => Answer::Keys,
        _ if is_unknown_command(error) => Answer::Unknown,
        // What Redis says of an argument it says after it has looked at the rights.
        Some("ERR" | "NOSCRIPT" | "WRONGTYPE") => Answer::Allowed,
        _ => Answer::Unclear,
    }
}

/// All that pods and their scripts send, but for what counts down and what subscribes.
fn commands(keys: &Keys, pod: &str, pubsub: PubSub) -> Vec<Tried> {
    // A flight that no token has: its name is no hash of one.
    let probe = Hash::of_probe(pod);
    let (lock, flight) = (keys.lock(&probe).to_string(), keys.flight(&probe).to_string());
    // A client that has no flights.
    let queue = keys.line(probe);
    let (lock, flight, queue) = (lock.as_str(), flight.as_str(), queue.as_str());
    let (attempts, held) = (keys.attempts(&probe).to_string(), keys.held(&probe).to_string());
    let waits = keys.waits_beside(flight).expect("BUG: the record of a flight has a name");
    let mut all_keys = vec![lock, flight, queue, &attempts, &held, &waits];
    all_keys.extend(keys.of_namespace());
    let of_login = [keys.family(&probe).to_string(), keys.answers(&probe).to_string(), keys.order(probe)];
    all_keys.extend(of_login.iter().map(String::as_str));
    let count = all_keys.len().to_string();
    let no_script = "0".repeat(40);
    let with_all_keys = |head: &[&str]| words(&[head, &all_keys].concat());

    let keyed = [
        ("evalsha", with_all_keys(&["EVALSHA", &no_script, &count])),
        ("exists", with_all_keys(&["EXISTS"])),
        ("get", words(&["GET", lock])),
        ("mget", words(&["MGET", lock])),
        ("set", words(&["SET", lock, "1", "PX", "0"])),
        ("del", words(&["DEL", lock])),
        ("pttl", words(&["PTTL", lock])),
        ("pexpire", words(&["PEXPIRE", lock, "1000"])),
        ("pexpireat", words(&["PEXPIREAT", lock, "1"])),
        ("hget", words(&["HGET", flight, "state"])),
        ("hmget", words(&["HMGET", flight, "state"])),
        ("hgetall", words(&["HGETALL", flight])),
        // A field without a value, and numbers that are none.
        ("hset", words(&["HSET", flight, "state", "check", "state"])),
        ("hincrby", words(&["HINCRBY", flight, "failures", "none"])),
        ("hdel", words(&["HDEL", flight, "state"])),
        ("hexists", words(&["HEXISTS", flight, "state"])),
        ("hkeys", words(&["HKEYS", flight])),
        ("hlen", words(&["HLEN", flight])),
        ("getbit", words(&["GETBIT", lock, "0"])),
        ("setbit", words(&["SETBIT", lock, "0", "none"])),
        ("zadd", words(&["ZADD", queue, "none", "check"])),
        ("zrem", words(&["ZREM", queue, "check"])),
        ("zrange", words(&["ZRANGE", queue, "0", "0"])),
        ("zrangebyscore", words(&["ZRANGEBYSCORE", queue, "0", "0"])),
        ("zremrangebyscore", words(&["ZREMRANGEBYSCORE", queue, "0", "0"])),
        ("zscore", words(&["ZSCORE", queue, "check"])),
        ("zcard", words(&["ZCARD", queue])),
        // Nobody waits there.
        ("zpopmin", words(&["ZPOPMIN", queue])),
    ];
    let mut all: Vec<_> = keyed.into_iter().map(|(name, command)| Tried::keyed(name, command)).collect();
    all.push(Tried::plain("script|load", words(&["SCRIPT", "LOAD", "return 0"]), true));
    all.push(Tried::plain("time", words(&["TIME"]), true));
    for channel in [&keys.channel(pod), keys.fleet()] {
        let [(name, command), ..] = names_of(pubsub);
        all.push(Tried::channelled(name, words(&[command, channel, "anybody"])));
    }
    // The channels of a namespace that is closed, where others go on listening.
    let [.., (name, command)] = names_of(pubsub);
    all.push(Tried::plain(name, words(&[command, &keys.channel(pod)]), false));
    // Signs of life of a connection that nobody uses, and which server this is.
    all.push(Tried::plain("ping", words(&["PING"]), false));
    all.push(Tried::plain("info", words(&["INFO", "server"]), false));
    // Whether this pod's connection ends there, and whether a pod listens at this server, as begin.lua knows that it is the same.
    all.push(Tried::plain("client|info", words(&["CLIENT", "INFO"]), false));
    let (name, command) = listeners_of(pubsub);
    all.push(Tried::plain(name, words(&["PUBSUB", command, &keys.server("none")]), false));
    all
}

/// How messages are sent and heard: what a rule calls it, and the command.
fn names_of(pubsub: PubSub) -> [(&'static str, &'static str); 3] {
    match pubsub {
        PubSub::Plain => [("publish", "PUBLISH"), ("subscribe", "SUBSCRIBE"), ("unsubscribe", "UNSUBSCRIBE")],
        PubSub::Sharded => [("spublish", "SPUBLISH"), ("ssubscribe", "SSUBSCRIBE"), ("sunsubscribe", "SUNSUBSCRIBE")],
    }
}

/// How it is asked how many listen.
fn listeners_of(pubsub: PubSub) -> (&'static str, &'static str) {
    match pubsub {
        PubSub::Plain => ("pubsub|numsub", "NUMSUB"),
        PubSub::Sharded => ("pubsub|shardnumsub", "SHARDNUMSUB"),
    }
}

fn words(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

impl Tried {
    fn keyed(name: &'static str, command: Cmd) -> Self {
        Self { name, command, names_keys: true, names_channels: false, is_needed: true }
    }

    fn channelled(name: &'static str, command: Cmd) -> Self {
        Self { name, command, names_keys: false, names_channels: true, is_needed: true }
    }

    fn plain(name: &'static str, command: Cmd, is_needed: bool) -> Self {
        Self { name, command, names_keys: false, names_channels: false, is_needed }
    }
}

/// The line of the documentation that makes a user with the rights of a pod.
#[cfg(test)]
pub(crate) fn documented_user(pubsub: PubSub) -> &'static str {
    let page = include_str!("../../../docs/redis.md");
    let is_so = |line: &&str| line.contains("+spublish") == (pubsub == PubSub::Sharded);
    page.lines().filter(|line| line.starts_with("ACL SETUSER refreshd ")).find(is_so).expect("a line for it")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::test_redis::{RedisServer, patient};

    fn names(pod: &str, pubsub: PubSub) -> BTreeSet<&'static str> {
        let mut names: BTreeSet<_> = commands(&Keys::new("n"), pod, pubsub).iter().map(|tried| tried.name).collect();
        names.extend(["decr", names_of(pubsub)[1].0]);
        names
    }

    /// Commands that stand between quotes behind a call.
    fn called(lua: &str) -> BTreeSet<String> {
        let calls = lua.split("redis.call(").skip(1).chain(lua.split("redis.pcall(").skip(1));
        calls.filter_map(|rest| Some(rest.strip_prefix('\'')?.split('\'').next()?.to_lowercase())).collect()
    }

    #[test]
    fn every_command_that_a_script_calls_is_tried_and_documented_and_no_other() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("lua");
        let mut needed: BTreeSet<String> =
            ["evalsha", "script|load", "subscribe", "unsubscribe", "ping", "client|info"].map(str::to_owned).into();
        for folder in [folder.join("lib"), folder] {
            for file in std::fs::read_dir(folder).expect("a folder") {
                let path = file.expect("a file").path();
                // They are the operator's, and stand alone.
                let is_of_operator = path.ends_with("inspect.lua") || path.ends_with("forget.lua");
                if path.extension().is_some_and(|end| end == "lua") && !is_of_operator {
                    needed.extend(called(&std::fs::read_to_string(path).expect("a script")));
                }
            }
        }

        for pubsub in [PubSub::Plain, PubSub::Sharded] {
            let [(publish, _), (subscribe, _), (unsubscribe, _)] = names_of(pubsub);
            let mut tried: BTreeSet<String> = names("p", pubsub).into_iter().map(str::to_owned).collect();
            let line = documented_user(pubsub);
            let allowed = line.split(' ').filter_map(|word| word.strip_prefix('+').map(str::to_owned)).collect();
            let replaced = |name: &String| match name.as_str() {
                "publish" => publish.to_owned(),
                "subscribe" => subscribe.to_owned(),
                "unsubscribe" => unsubscribe.to_owned(),
                "pubsub" => listeners_of(pubsub).0.to_owned(),
                other => other.to_owned(),
            };

            assert_eq!(tried, needed.iter().map(replaced).collect());
            if pubsub == PubSub::Sharded {
                // By them the node is found that these are tried at.
                tried.extend(["cluster|info", "cluster|slots"].map(str::to_owned));
            }
            assert_eq!(tried, allowed, "{line}");
        }
    }

    async fn missing_of(redis: &RedisServer, rules: &[&str]) -> Missing {
        missing_of_waiting(redis, rules, false).await
    }

    async fn missing_of_waiting(redis: &RedisServer, rules: &[&str], waits_for_replicas: bool) -> Missing {
        let user = ["ACL", "SETUSER", "pod", "reset", "on", ">pw"];
        assert_eq!(redis.cli(&[&user, rules].concat()).await, "OK", "{rules:?}");
        let client = redis::Client::open(redis.url().replace("redis://", "redis://pod:pw@")).expect("a URL");
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&patient()).await.expect("redis is there");
        missing(&mut connection, &Keys::new("n"), "p", PubSub::Plain, waits_for_replicas).await.expect("an answer")
    }

    #[tokio::test]
    async fn all_that_is_missing_is_named_at_once_and_nothing_is_left_behind() {
        let redis = RedisServer::start_own(&[]).await;
        let line = documented_user(PubSub::Plain);
        let all: Vec<&str> = line.split(' ').filter(|word| word.starts_with(['+', '~', '&'])).collect();

        assert_eq!(missing_of(&redis, &all).await, Missing::default());
        assert_eq!(missing_of(&redis, &["~*", "&*", "+@all"]).await, Missing::default());

        let nothing = missing_of(&redis, &[]).await;
        let named: BTreeSet<_> = nothing.rules().split(' ').map(str::to_owned).collect();
        let mut expected: BTreeSet<_> = names("p", PubSub::Plain).into_iter().map(|name| format!("+{name}")).collect();
        expected.extend(["~rc:{n}:*".to_owned(), "&rc:{n}:*".to_owned()]);
        assert_eq!(named, expected);

        let some = missing_of(&redis, &["~rc:{n}:*", "&rc:{n}:*", "+@all", "-get", "-evalsha", "-hset", "-ping"]).await;
        assert_eq!((some.rules().as_str(), some.unknown), ("+evalsha +get +hset +ping", vec![]));
        assert!(some.reason.contains("evalsha"), "{}", some.reason);
        let waits = missing_of_waiting(&redis, &all, true).await;
        assert_eq!((waits.rules().as_str(), waits.unknown), ("+wait", vec![]));
        let keys = missing_of(&redis, &["~rc:{m}:*", "&rc:{n}:*", "+@all"]).await;
        assert_eq!(keys.rules(), "~rc:{n}:*");
        // Not even where it may make a key and not end it.
        missing_of(&redis, &["~*", "&*", "+@all", "-pexpire", "-del"]).await;
        redis.until(&["DBSIZE"], "0").await;
    }

    #[tokio::test]
    async fn commands_that_the_server_does_not_know_are_named() {
        let redis = RedisServer::start_own(&["--rename-command", "HINCRBY", ""]).await;

        let missing = missing_of(&redis, &["~*", "&*", "+@all"]).await;

        assert_eq!((missing.rules().as_str(), missing.unknown), ("", vec!["hincrby"]));
    }
}
