//! Each script alone: its head tells the truth, the same call again changes nothing, whatever it writes ends, and it
//! runs where it must.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;

use super::super::keys::Keys;
use super::*;
use crate::store::contract::stage::RedisServer;

/// A script as it stands in `lua/`, and what its head says.
struct Text {
    name: &'static str,
    lua: &'static str,
}

const TEXTS: [Text; 9] = [
    Text { name: "begin", lua: include_str!("../../../../lua/begin.lua") },
    Text { name: "renew", lua: include_str!("../../../../lua/renew.lua") },
    Text { name: "complete", lua: include_str!("../../../../lua/complete.lua") },
    Text { name: "abandon", lua: include_str!("../../../../lua/abandon.lua") },
    Text { name: "look", lua: include_str!("../../../../lua/look.lua") },
    Text { name: "reap", lua: include_str!("../../../../lua/reap.lua") },
    Text { name: "circuit", lua: include_str!("../../../../lua/circuit.lua") },
    Text { name: "meta", lua: include_str!("../../../../lua/meta.lua") },
    Text { name: "check", lua: include_str!("../../../../lua/check.lua") },
];

impl Text {
    fn of(name: &str) -> &'static Self {
        TEXTS.iter().find(|text| text.name == name).expect("a script")
    }

    fn head(&self) -> impl Iterator<Item = &'static str> {
        self.lua.lines().take_while(|line| line.starts_with("--"))
    }

    /// The names in the head of `KEYS` or `ARGV`, in the order of their numbers, which leave nothing out.
    fn names(&self, what: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        for line in self.head() {
            for (at, _) in line.match_indices(&format!("{what}[")) {
                let (number, rest) = line[at + what.len() + 1..].split_once("] ").expect("KEYS[1] name");
                names.push(rest.split([' ', ',']).next().expect("a name"));
                assert!(number == names.len().to_string() || number == "i", "{}: {what}[{number}]", self.name);
            }
        }
        names
    }

    /// The words in the head that a reply begins with.
    fn replies(&self) -> BTreeSet<String> {
        let told = self.head().skip_while(|line| !line.starts_with("-- Replies"));
        told.filter_map(|line| line.strip_prefix("--   {'")?.split('\'').next().map(str::to_owned)).collect()
    }

    fn script(&self, scripts: &'static Scripts) -> &'static Script {
        let Scripts { begin, renew, complete, abandon, look, reap, circuit, meta, check } = scripts;
        match self.name {
            "begin" => begin,
            "renew" => renew,
            "complete" => complete,
            "abandon" => abandon,
            "look" => look,
            "reap" => reap,
            "circuit" => circuit,
            "meta" => meta,
            "check" => check,
            other => panic!("no script {other}"),
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";
const THREE: &str = "00000000-0000-4000-8000-000000000003";
const HOUR_MS: u64 = 3_600_000;

/// What the scripts are told where a test says nothing else, by the names in their heads.
const USUAL: [(&str, &str); 54] = [
    ("pod", "a"),
    ("attempt", ONE),
    ("claim", "claim"),
    ("joined", "0"),
    ("seen", "0"),
    ("lease_ms", "60000"),
    ("retry_ms", "0"),
    ("uncertain", "retry"),
    ("memory_ms", "120000"),
    ("wait_ms", "35000"),
    ("may_lead", "yes"),
    ("queued_us", ""),
    ("patience", "none"),
    ("max_attempts", "5"),
    ("window_ms", "300000"),
    ("cooldown_ms", "600000"),
    ("limit", "10"),
    ("called_ms", "1000"),
    ("budget_wait_ms", "5000"),
    ("half_open", "1"),
    ("quiet_ms", "90000"),
    ("owner", "a/1"),
    ("led", "1"),
    ("class", "success"),
    ("token", "rotated"),
    ("held_ms", "0"),
    ("took_ms", "0"),
    ("late_ms", "1000"),
    ("fresh_ms", "30000"),
    ("lives_ms", ""),
    ("keep_ms", "65000"),
    ("session", "session"),
    ("charge", "charged"),
    ("verdict", "healthy"),
    ("stay_away_ms", ""),
    ("max_failures", "3"),
    ("open_ms", "30000"),
    ("sealed", "sealed"),
    ("flying_ms", "0"),
    ("before", "nothing"),
    ("protocol", "1"),
    ("pepper", "none"),
    ("upstream", ""),
    ("name", NAME),
    ("channels", "rc:{alone}:pod:"),
    ("channel", "rc:{alone}:pod:a"),
    ("lock", NAME),
    ("flight", NAME),
    ("attempts", "session"),
    ("permits", ""),
    ("budget", ""),
    ("queue", ""),
    ("circuit", ""),
    ("meta", ""),
];
const NAME: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";

/// A Redis with one namespace, and what the scripts were heard to say.
struct Alone {
    redis: RedisServer,
    connection: MultiplexedConnection,
    said: RefCell<BTreeMap<&'static str, BTreeSet<String>>>,
}

type With<'a> = &'a [(&'a str, &'a str)];

impl Alone {
    async fn new() -> Self {
        let redis = RedisServer::start_own(&[]).await;
        let client = redis::Client::open(redis.url()).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("redis is there");
        Self { redis, connection, said: RefCell::default() }
    }

    /// Calls a script and sees that whatever stands afterwards has an end.
    async fn call(&self, name: &str, with: With<'_>) -> Vec<String> {
        match self.try_call(name, with).await {
            Ok(reply) => reply,
            Err(error) => panic!("{name} {with:?}: {error}"),
        }
    }

    async fn try_call(&self, name: &str, with: With<'_>) -> Result<Vec<String>, redis::RedisError> {
        let text = Text::of(name);
        let value = |name: &str| -> String {
            let given = with.iter().chain(&USUAL).find(|(given, _)| *given == name);
            given.unwrap_or_else(|| panic!("{}: what is {name}?", text.name)).1.to_owned()
        };
        let keys: Vec<String> = text.names("KEYS").iter().map(|key| self.key(key, &value)).collect();
        let arguments: Vec<String> = text.names("ARGV").iter().map(|argument| value(argument)).collect();
        let reply = self.invoke(text, &keys, &arguments).await?;
        self.said.borrow_mut().entry(text.name).or_default().insert(reply[0].clone());
        for key in self.redis.keys("*").await {
            let lasting = ["fence", "meta"].iter().any(|name| key == format!("rc:{{alone}}:{name}"));
            let ends = self.redis.cli(&["PTTL", &key]).await;
            assert!(lasting || ends != "-1", "{key} never ends after {name} {with:?}");
        }
        Ok(reply)
    }

    fn key(&self, name: &str, value: &dyn Fn(&str) -> String) -> String {
        let keys = Keys::new("alone");
        let of = |name: &str| format!("rc:{{alone}}:{name}:{}", value(name));
        match name {
            "fence" => keys.fence(),
            "recovering" => keys.recovering(),
            "permits" => keys.permits(),
            "budget" => keys.budget(),
            "queue" => keys.queue(),
            "circuit" => keys.circuit(),
            "meta" => keys.meta(),
            "lock" | "flight" | "attempts" => of(name),
            other => panic!("no key {other}"),
        }
    }

    async fn invoke(&self, text: &Text, keys: &[String], arguments: &[String]) -> redis::RedisResult<Vec<String>> {
        static SCRIPTS: LazyLock<Scripts> = LazyLock::new(Scripts::default);
        let mut call = text.script(&SCRIPTS).prepare_invoke();
        keys.iter().for_each(|key| {
            call.key(key);
        });
        arguments.iter().for_each(|argument| {
            call.arg(argument);
        });
        call.invoke_async(&mut self.connection.clone()).await
    }

    /// Calls twice: the second time changes nothing.
    async fn twice(&self, name: &str, with: With<'_>) -> [Vec<String>; 2] {
        let first = self.call(name, with).await;
        let before = self.redis.dump("alone").await;
        let second = self.call(name, with).await;
        assert_eq!(self.redis.dump("alone").await, before, "{name} {with:?} again");
        [first, second]
    }

    /// Calls twice and is answered the same.
    async fn same_twice(&self, name: &str, with: With<'_>) -> Vec<String> {
        let [first, second] = self.twice(name, with).await;
        // What remains of a time is less the second time.
        let steady = |reply: &[String]| match reply[0].as_str() {
            "join" => reply[..4].to_vec(),
            "landed" => [&reply[..3], &reply[4..]].concat(),
            "stands" => reply[..3].to_vec(),
            "rejected" => reply[..2].to_vec(),
            "queued" | "reaped" => reply[..1].to_vec(),
            _ => reply.to_vec(),
        };
        if name == "complete" {
            assert_eq!(first[0], second[0])
        } else {
            assert_eq!(steady(&first), steady(&second))
        }
        first
    }

    async fn now_ms(&self) -> u64 {
        let time = self.redis.cli(&["TIME"]).await;
        let (seconds, micros) = time.split_once('\n').expect("two numbers");
        seconds.parse::<u64>().expect("s") * 1000 + micros.parse::<u64>().expect("us") / 1000
    }

    /// A stamp as it stands when the clock was set back by an hour.
    async fn far(&self) -> String {
        (self.now_ms().await + HOUR_MS).to_string()
    }

    async fn set(&self, key: &str, field: &str, value: &str) {
        self.redis.cli(&["HSET", &format!("rc:{{alone}}:{key}"), field, value]).await;
    }
}

fn of_other<'a>(more: With<'a>) -> Vec<(&'a str, &'a str)> {
    let mut with = vec![("attempt", TWO), ("lock", OTHER), ("flight", OTHER), ("name", OTHER), ("pod", "b")];
    with.splice(0..0, more.iter().copied());
    with
}

fn ms_in(reply: &str) -> u64 {
    reply.parse().expect("ms")
}

#[test]
fn heads_agree_with_what_their_scripts_assert() {
    for text in TEXTS {
        let (keys, arguments) = (text.names("KEYS").len(), text.names("ARGV").len());
        let asserted = format!(
            "assert(#KEYS == {keys} and #ARGV == {arguments}, '{}: {}, {}')",
            text.name,
            plural(keys, "key"),
            plural(arguments, "argument")
        );
        let any_number = "assert(#KEYS > 0 and #KEYS == #ARGV, 'look: as many arguments as keys')";
        assert!(text.lua.contains(if text.name == "look" { any_number } else { &asserted }), "{asserted}");
        assert!(text.name == "look" || !text.replies().is_empty(), "{} replies nothing", text.name);
    }
}

#[tokio::test]
async fn wrong_counts_are_refused() {
    let alone = Alone::new().await;
    let words = |count: usize| vec!["1".to_owned(); count];
    for text in TEXTS {
        let (keys, arguments) = (text.names("KEYS").len(), text.names("ARGV").len());
        let wrong = [(keys - 1, arguments), (keys + 1, arguments), (keys, arguments - 1), (keys, arguments + 1)];
        for (keys, arguments) in wrong {
            let error = alone.invoke(&text, &words(keys), &words(arguments)).await.expect_err("a wrong count");
            assert!(error.to_string().contains(&format!("{}: ", text.name)), "{error}");
        }
    }
    assert_eq!(alone.redis.keys("*").await, Vec::<String>::new());
}

#[tokio::test]
async fn every_reply_that_a_head_names_is_given_and_no_other() {
    let alone = Alone::new().await;
    let because = async |with: With<'_>, why: &str| {
        let reply = alone.call("begin", with).await;
        assert_eq!(reply[..2], ["rejected".to_owned(), why.to_owned()]);
    };
    alone.call("check", &[]).await;
    alone.call("meta", &[]).await;
    alone.call("meta", &[("pepper", "another")]).await;
    alone.call("circuit", &[]).await;

    because(&[("may_lead", "no")], "pod").await;
    alone.call("begin", &[]).await;
    alone.call("renew", &[]).await;
    alone.call("begin", &[("attempt", TWO)]).await;
    because(&of_other(&[("limit", "1")]), "budget").await;
    alone.call("begin", &of_other(&[("limit", "1"), ("patience", "queue")])).await;
    alone.call("reap", &[]).await;
    alone.call("abandon", &of_other(&[("led", "0")])).await;
    alone.call("begin", &of_other(&[])).await;
    because(&of_other(&[("attempt", THREE), ("max_attempts", "1")]), "cooling_down").await;
    alone.call("complete", &[]).await;
    alone.call("renew", &[]).await;
    alone.call("begin", &[("attempt", TWO)]).await;
    because(&[("attempt", TWO), ("claim", "another")], "another_claim").await;
    alone.call("complete", &[("attempt", TWO), ("owner", "b/2"), ("led", "2")]).await;
    alone.call("complete", &[("attempt", TWO), ("claim", "another"), ("owner", "b/2"), ("led", "2")]).await;
    alone.call("abandon", &[]).await;

    // A session of its own each, from here on.
    let unknown = [("attempts", "u"), ("class", "unknown"), ("token", "unknown"), ("verdict", "failing"), ("led", "2")];
    let mut reset = of_other(&[("attempts", "u"), ("attempt", THREE)]);
    alone.call("begin", &reset).await;
    reset.splice(0..0, unknown);
    reset.push(("owner", "b/2"));
    reset.splice(0..0, [("max_failures", "1"), ("open_ms", "1")]);
    alone.call("complete", &reset).await;
    alone.redis.wait(Duration::from_millis(2)).await;
    assert_eq!(
        alone.call("begin", &of_other(&[("uncertain", "never"), ("attempt", "x"), ("fresh_ms", "0")])).await[0],
        "landed"
    );
    let fresh = ["HSET", &format!("rc:{{alone}}:flight:{OTHER}"), "fresh_until", "0"];
    alone.redis.cli(&fresh).await;
    assert_eq!(alone.call("begin", &of_other(&[("uncertain", "never"), ("attempt", "x")])).await[0], "lost");
    alone.call("circuit", &[]).await;
    alone.set("circuit", "open_until", &alone.far().await).await;
    alone.set("circuit", "open_ms", "30000").await;
    alone.call("circuit", &[]).await;
    because(&of_other(&[("attempt", "x")]), "circuit_open").await;
    alone.redis.cli(&["DEL", "rc:{alone}:circuit"]).await;
    alone.set("attempts:held", "held_until", &alone.far().await).await;
    alone.redis.cli(&["PEXPIRE", "rc:{alone}:attempts:held", "60000"]).await;
    because(&of_other(&[("attempt", "x"), ("attempts", "held")]), "limited").await;
    let lead = alone.call("begin", &of_other(&[("attempt", "x"), ("attempts", "y")])).await;
    assert_eq!(lead[0], "lead", "{lead:?}");
    alone.call("abandon", &of_other(&[("attempt", "x"), ("led", "3")])).await;
    because(&of_other(&[("attempt", "z"), ("seen", "9")]), "recovering").await;

    let said = alone.said.borrow();
    for text in TEXTS.iter().filter(|text| !["look", "check"].contains(&text.name)) {
        assert_eq!(said[text.name], text.replies(), "{}", text.name);
    }
    // 'old' and 'refused' need another server, or a user with fewer rights: tests/connecting.rs.
    assert_eq!(said["check"], ["ready".to_owned()].into());
}

#[tokio::test]
async fn look_tells_living_leaders_from_changed_ones() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;

    let lock = format!("rc:{{alone}}:lock:{NAME}");
    let keys = [lock.clone(), lock, format!("rc:{{alone}}:lock:{OTHER}")];
    let reply = alone.invoke(Text::of("look"), &keys, &["1".into(), "2".into(), "1".into()]).await.expect("a reply");

    assert!((50_000..=60_000).contains(&ms_in(&reply[0])), "{reply:?}");
    assert_eq!(reply[1..], ["changed", "changed"]);
}

#[tokio::test]
async fn same_call_again_gets_the_same_answer_and_changes_nothing() {
    let alone = Alone::new().await;
    alone.same_twice("meta", &[]).await;
    alone.same_twice("meta", &[("protocol", "2")]).await;
    assert_eq!(alone.same_twice("begin", &[]).await[0], "lead");
    assert_eq!(alone.same_twice("renew", &[]).await[0], "renewed");
    assert_eq!(alone.same_twice("begin", &[("attempt", TWO)]).await[0], "join");
    let queues = of_other(&[("limit", "1"), ("patience", "queue")]);
    assert_eq!(alone.same_twice("begin", &queues).await[0], "queued");
    assert_eq!(alone.same_twice("reap", &[]).await[0], "reaped");
    assert_eq!(alone.same_twice("circuit", &[]).await[0], "closed");
    assert_eq!(alone.same_twice("abandon", &of_other(&[("led", "0")])).await[0], "marked");
    assert_eq!(alone.same_twice("begin", &of_other(&[])).await[0], "abandoned");
    let third = of_other(&[("attempt", "3"), ("max_attempts", "1")]);
    assert_eq!(alone.same_twice("begin", &third).await[..2], ["rejected", "cooling_down"]);
    assert_eq!(alone.same_twice("complete", &[("verdict", "failing")]).await[0], "landed");
    assert_eq!(alone.same_twice("begin", &[("attempt", TWO)]).await[0], "landed");
    let second = [("attempt", TWO), ("owner", "b/2"), ("led", "2")];
    assert_eq!(alone.same_twice("complete", &second).await[0], "stands");
    assert_eq!(alone.same_twice("renew", &[]).await[0], "lost");
    assert_eq!(alone.same_twice("abandon", &[]).await[0], "stale");

    // Given back, a lead is somebody else's to give back: 'stale', and for a pod that never learned of it, marked.
    let given_back = of_other(&[("attempt", "4"), ("attempts", "s")]);
    assert_eq!(alone.call("begin", &given_back).await[0], "lead");
    let [first, second] = alone.twice("abandon", &of_other(&[("attempt", "4"), ("led", "2")])).await;
    assert_eq!([&first[0], &second[0]], ["abandoned", "stale"]);
    let unknown = of_other(&[("attempt", "5"), ("attempts", "s")]);
    assert_eq!(alone.call("begin", &unknown).await[0], "lead");
    let [first, second] = alone.twice("abandon", &of_other(&[("attempt", "5"), ("led", "0")])).await;
    assert_eq!([&first[0], &second[0]], ["abandoned", "marked"]);
}

#[tokio::test]
async fn scripts_that_a_server_has_forgotten_are_sent_again() {
    let alone = Alone::new().await;
    let calls = ["check", "meta", "begin", "renew", "reap", "circuit", "look", "complete", "abandon"];
    for name in calls {
        alone.redis.cli(&["SCRIPT", "FLUSH"]).await;
        if name == "look" {
            let keys = [format!("rc:{{alone}}:lock:{NAME}")];
            alone.invoke(Text::of(name), &keys, &["1".to_owned()]).await.expect("a reply");
        } else {
            alone.call(name, &[]).await;
        }
    }
}

#[tokio::test]
async fn above_maxmemory_nothing_is_begun_and_everything_is_ended() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    alone.call("begin", &of_other(&[])).await;
    let queues = [("limit", "2"), ("patience", "queue"), ("flight", "third"), ("lock", "third"), ("attempt", "3")];
    assert_eq!(alone.call("begin", &queues).await[0], "queued");
    alone.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = alone.redis.dump("alone").await;

    for more in [&[("attempt", "4"), ("flight", "4th"), ("lock", "4th")][..], &queues[..], &[("attempt", TWO)][..]] {
        let refused = alone.try_call("begin", more).await.expect_err("begun above maxmemory");
        assert!(refused.to_string().contains("maxmemory"), "{refused}");
        assert_eq!(alone.redis.dump("alone").await, before);
    }

    assert_eq!(alone.call("circuit", &[]).await[0], "closed");
    let keys = [format!("rc:{{alone}}:lock:{NAME}")];
    alone.invoke(Text::of("look"), &keys, &["1".to_owned()]).await.expect("a reply");
    assert_eq!(alone.call("reap", &[("limit", "2")]).await[0], "reaped");
    assert_eq!(alone.call("renew", &[]).await[0], "renewed");
    assert_eq!(alone.call("complete", &[("stay_away_ms", "500"), ("verdict", "session_limited")]).await[0], "landed");
    assert_eq!(alone.call("abandon", &of_other(&[("led", "2")])).await[0], "abandoned");
    assert_eq!(alone.call("abandon", &of_other(&[("led", "0"), ("attempt", "late")])).await[0], "marked");
}

/// A clock that was set back by an hour leaves stamps that are an hour ahead. Whatever they end, it is over after the
/// span that was set for it, and not an hour later.
#[tokio::test]
async fn clock_that_was_set_back_makes_nothing_longer_than_its_setting() {
    const SHORT: With<'_> = &[("lease_ms", "400"), ("cooldown_ms", "400"), ("retry_ms", "400"), ("limit", "1")];
    let short = of_other(SHORT);
    let alone = Alone::new().await;
    let far = alone.far().await;
    let refused = async |with: With<'_>, why: &str, longest: u64| {
        let reply = alone.call("begin", with).await;
        assert_eq!(reply[..2], ["rejected", why], "{reply:?}");
        assert!(ms_in(&reply[2]) <= longest, "{reply:?}");
        alone.redis.wait(Duration::from_millis(longest)).await;
        let reply = alone.call("begin", with).await;
        assert!(reply[..2] != ["rejected", why], "{why} still: {reply:?}");
        alone.redis.cli(&["FLUSHALL"]).await;
    };
    let lasting = async |key: &str| {
        alone.redis.cli(&["PEXPIRE", &format!("rc:{{alone}}:{key}"), "7200000"]).await;
    };

    alone.set("attempts:session", "cooldown_until", &far).await;
    lasting("attempts:session").await;
    refused(&short, "cooling_down", 400).await;

    alone.set("circuit", "state", "open").await;
    alone.set("circuit", "open_until", &far).await;
    alone.set("circuit", "open_ms", "400").await;
    lasting("circuit").await;
    refused(&short, "circuit_open", 400).await;

    alone.set("circuit", "state", "half_open").await;
    alone.set("circuit", "probe:1", &far).await;
    lasting("circuit").await;
    refused(&short, "circuit_open", 400).await;

    alone.redis.cli(&["ZADD", "rc:{alone}:permits", &far, "b/1"]).await;
    alone.redis.cli(&["SET", "rc:{alone}:budget", "1"]).await;
    lasting("permits").await;
    lasting("budget").await;
    refused(&short, "budget", 1000).await;

    let flight = format!("flight:{OTHER}");
    for (field, value) in [("state", "landed"), ("fence", "1"), ("attempt", ONE), ("claim", "another"), ("lost", "0")] {
        alone.set(&flight, field, value).await;
    }
    for (field, value) in [("token", "rotated"), ("class", "success"), ("fresh_ms", "400"), ("fresh_until", &far)] {
        alone.set(&flight, field, value).await;
    }
    alone.set(&flight, "landed_at", &far).await;
    alone.set(&flight, "sealed", "sealed").await;
    lasting(&flight).await;
    refused(&short, "another_claim", 400).await;

    for (field, value) in [("state", "lost"), ("fence", "1"), ("attempt", ONE), ("claim", "claim"), ("lost", "1")] {
        alone.set(&flight, field, value).await;
    }
    alone.set(&flight, "started", &far).await;
    lasting(&flight).await;
    let reply = alone.call("begin", &short).await;
    assert_eq!([&reply[0], &reply[3]], ["join", "lost"]);
    assert!(ms_in(&reply[4]) <= 400, "{reply:?}");
    alone.redis.wait(Duration::from_millis(400)).await;
    assert_eq!(alone.call("begin", &short).await[0], "lead");
    alone.redis.cli(&["FLUSHALL"]).await;

    alone.set("attempts:session", "held_until", &far).await;
    lasting("attempts:session").await;
    let reply = alone.call("begin", &short).await;
    assert_eq!(reply[..2], ["rejected", "limited"]);
    assert!(ms_in(&reply[2]) <= 300_000, "{reply:?}");
    let held_until = ms_in(&alone.redis.cli(&["HGET", "rc:{alone}:attempts:session", "held_until"]).await);
    assert!(held_until <= alone.now_ms().await + 300_000);
}

#[tokio::test]
async fn place_in_the_queue_is_kept_however_long_its_begin_was_on_the_way() {
    let alone = Alone::new().await;
    alone.call("begin", &[]).await;
    let first = of_other(&[("limit", "1"), ("patience", "queue")]);
    let mut second = of_other(&[("limit", "1"), ("patience", "queue"), ("attempt", THREE)]);
    second.splice(0..0, [("flight", "third"), ("lock", "third")]);
    alone.call("begin", &first).await;
    alone.redis.wait(Duration::from_millis(20)).await;
    alone.call("begin", &second).await;

    // It says that it has queued for 1 us: it said so long ago.
    let late = [&[("queued_us", "1")][..], &first].concat();
    assert_eq!(alone.call("begin", &late).await[0], "queued");

    let order = alone.redis.cli(&["ZRANGE", "rc:{alone}:queue", "0", "-1"]).await;
    assert!(order.starts_with(&format!("b {TWO}")), "{order}");
}

#[tokio::test]
async fn begin_that_comes_again_moves_lock_permit_and_probe_together() {
    let alone = Alone::new().await;
    let past = alone.now_ms().await.to_string();
    for (field, value) in [("state", "open"), ("open_until", &past), ("open_ms", "1"), ("why", "failures")] {
        alone.set("circuit", field, value).await;
    }
    let ends = async || {
        let probe = alone.redis.cli(&["HGET", "rc:{alone}:circuit", "probe:1"]).await;
        let permit = alone.redis.cli(&["ZSCORE", "rc:{alone}:permits", "a/1"]).await;
        let lock = alone.redis.cli(&["PEXPIRETIME", &format!("rc:{{alone}}:lock:{NAME}")]).await;
        [ms_in(&probe), ms_in(&permit), ms_in(&lock)]
    };
    alone.redis.cli(&["PEXPIRE", "rc:{alone}:circuit", "60000"]).await;
    assert_eq!(alone.call("begin", &[]).await[0], "lead");
    let first = ends().await;
    alone.redis.wait(Duration::from_millis(20)).await;

    assert_eq!(alone.call("begin", &[]).await[0], "lead");

    let second = ends().await;
    assert!(first.iter().zip(second).all(|(first, second)| second >= first + 20), "{first:?} {second:?}");
}
