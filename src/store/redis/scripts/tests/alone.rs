//! A Redis of one's own on which a script is called by the names in its head.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use redis::Script;
use redis::aio::MultiplexedConnection;

use super::super::super::calls::words::double;
use super::super::super::keys::Keys;
use super::super::super::pubsub::PubSub;
use super::super::Scripts;
use super::super::settings::{self, Settings};
use crate::store::suite::stage::RedisServer;

/// A script as it stands in `lua/`, and what its head says.
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) lua: &'static str,
}

pub(super) const TEXTS: [Text; 14] = [
    Text { name: "follow", lua: include_str!("../../../../../lua/follow.lua") },
    Text { name: "tip", lua: include_str!("../../../../../lua/tip.lua") },
    Text { name: "tell", lua: include_str!("../../../../../lua/tell.lua") },
    Text { name: "end", lua: include_str!("../../../../../lua/end.lua") },
    Text { name: "begin", lua: include_str!("../../../../../lua/begin.lua") },
    Text { name: "renew", lua: include_str!("../../../../../lua/renew.lua") },
    Text { name: "complete", lua: include_str!("../../../../../lua/complete.lua") },
    Text { name: "abandon", lua: include_str!("../../../../../lua/abandon.lua") },
    Text { name: "look", lua: include_str!("../../../../../lua/look.lua") },
    Text { name: "reap", lua: include_str!("../../../../../lua/reap.lua") },
    Text { name: "circuit", lua: include_str!("../../../../../lua/circuit.lua") },
    Text { name: "meta", lua: include_str!("../../../../../lua/meta.lua") },
    Text { name: "preflight", lua: include_str!("../../../../../lua/preflight.lua") },
    Text { name: "ready", lua: include_str!("../../../../../lua/ready.lua") },
];

impl Text {
    pub(super) fn of(name: &str) -> &'static Self {
        TEXTS.iter().find(|text| text.name == name).expect("a script")
    }

    pub(super) fn head(&self) -> impl Iterator<Item = &'static str> {
        self.lua.lines().take_while(|line| line.starts_with("--"))
    }

    /// The names in the head of `KEYS` or `ARGV`, or of the numbers of a packed argument, in the order of their numbers,
    /// which leave nothing out.
    pub(super) fn names(&self, what: &str) -> Vec<&'static str> {
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
    pub(super) fn replies(&self) -> BTreeSet<String> {
        let told = self.head().skip_while(|line| !line.starts_with("-- Replies"));
        told.filter_map(|line| line.strip_prefix("--   {'")?.split('\'').next().map(str::to_owned)).collect()
    }

    /// Those at the end that are only there where there is a chain.
    pub(super) fn optional(&self) -> Option<Optional> {
        match self.name {
            "begin" => Some(Optional { keys: 1, arguments: 1 }),
            "complete" => Some(Optional { keys: 2, arguments: 1 }),
            _ => None,
        }
    }

    pub(super) fn settings(&self) -> Option<&'static Settings> {
        match self.name {
            "begin" => Some(&settings::BEGIN),
            "complete" => Some(&settings::COMPLETE),
            _ => None,
        }
    }

    pub(super) fn script(&self, scripts: &'static Scripts) -> &'static Script {
        let Scripts {
            begin,
            renew,
            complete,
            abandon,
            look,
            reap,
            circuit,
            meta,
            preflight,
            ready,
            tip,
            tell,
            end,
            follow,
        } = scripts;
        match self.name {
            "begin" => begin,
            "renew" => renew,
            "complete" => complete,
            "abandon" => abandon,
            "look" => look,
            "reap" => reap,
            "circuit" => circuit,
            "meta" => meta,
            "preflight" => preflight,
            "ready" => ready,
            "tip" => tip,
            "tell" => tell,
            "end" => end,
            "follow" => follow,
            other => panic!("no script {other}"),
        }
    }
}

/// How many keys and arguments may be left out.
pub(super) struct Optional {
    pub(super) keys: usize,
    pub(super) arguments: usize,
}

/// A number as it is packed: some have words in these tests.
fn number(value: &str) -> u64 {
    match value {
        "" => 1 << 53,
        "no" | "none" | "free" | "retry" => 0,
        "known" | "queue" | "charged" | "never" => 1,
        "yes" => 2,
        number => number.parse().expect("a number"),
    }
}

/// Names in these tests are short; scripts are told them as wide as they always are.
pub(super) fn widened(name: &str, value: &str) -> String {
    let claim_at = match name {
        "attempt" => return format!("{value:0<36}"),
        "client" | "claim" => 0,
        "owed" if !value.is_empty() => 0,
        "family" => 3,
        "chain" => 4,
        _ => return value.to_owned(),
    };
    let words = value.split(' ').enumerate();
    let words = words.map(|(at, word)| if at == claim_at { format!("{word:0<64}") } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) const ONE: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const TWO: &str = "00000000-0000-4000-8000-000000000002";
pub(super) const THREE: &str = "00000000-0000-4000-8000-000000000003";
pub(super) const HOUR_MS: u64 = 3_600_000;

/// What the scripts are told where a test says nothing else, by the names in their heads.
pub(super) const USUAL: [(&str, &str); 88] = [
    ("chain", ""),
    ("held", NAME),
    ("link", NAME),
    ("outcome_ms", "30000"),
    ("until_used_ms", "3600000"),
    ("keep_at_most", "100"),
    ("fence", "1"),
    ("age_ms", "0"),
    ("next", NAME),
    ("held_until", ""),
    ("pod", "a"),
    ("attempt", ONE),
    ("claim", "claim"),
    ("joined", "0"),
    ("seen", "0"),
    ("given", "0"),
    ("lease_ms", "60000"),
    ("retry_ms", "0"),
    ("uncertain", "retry"),
    ("memory_ms", "120000"),
    ("wait_ms", "35000"),
    ("longest_wait_ms", "105000"),
    ("may_lead", "yes"),
    ("waited_us", ""),
    ("urgency", "none"),
    ("newer_than", "0"),
    ("max_attempts", "5"),
    ("window_ms", "300000"),
    ("cooldown_ms", "600000"),
    ("limit", "10"),
    ("called_ms", "1000"),
    ("budget_wait_ms", "5000"),
    ("half_open", "1"),
    ("quiet_ms", "90000"),
    ("grace_ms", "0"),
    ("owner", "a/1"),
    ("own_fence", "1"),
    ("class", "success"),
    ("token_state", "rotated"),
    ("unanswered", "0"),
    ("untold", "0"),
    ("holder", ""),
    ("stands", "yes"),
    ("held_ms", "0"),
    ("took_ms", "0"),
    ("late_ms", "1000"),
    ("fresh_ms", "30000"),
    ("lives_ms", ""),
    ("keep_ms", "65000"),
    ("allowed", "7"),
    ("session", "session"),
    ("charge", "charged"),
    ("health", "healthy"),
    ("stay_away_ms", ""),
    ("max_failures", "3"),
    ("open_ms", "30000"),
    ("sealed", "sealed"),
    ("flying_ms", "0"),
    ("known_before", "nothing"),
    ("act", "stay"),
    ("entry_ms", "7200000"),
    ("as", "direct"),
    ("owed", ""),
    ("unproven_ms", "7200000"),
    ("span_ms", "3600000"),
    ("short_ms", "35000"),
    ("entry", ENTRY),
    ("name", NAME),
    ("channels", "rc:{alone}:pod:"),
    ("channel", "rc:{alone}:pod:a"),
    ("fleet", "rc:{alone}:fleet"),
    ("lock", NAME),
    ("flight", NAME),
    ("attempts", "session"),
    ("permits", ""),
    ("budget", ""),
    ("queue", ""),
    ("circuit", ""),
    ("meta", ""),
    ("known", ""),
    ("first", ""),
    ("second", ""),
    ("client", CLIENT),
    ("standing", ""),
    ("client_name", "c11e"),
    ("account", "acc0000000000000"),
    ("permit", "keep"),
    ("noted", "74565 2591147 913153"),
];
/// The client of the usual token, by its name.
pub(super) const CLIENT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What a pod goes by, as it says so.
pub(super) const ENTRY: &str =
    "protocols=2-2 pepper=none provider=- refresh_tokens=single-use uncertain=retry lease=60000";
pub(super) const NAME: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
pub(super) const OTHER: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";

/// A Redis with one namespace, and what the scripts were heard to say.
pub(super) struct Alone {
    pub(super) redis: RedisServer,
    connection: MultiplexedConnection,
    /// The fences that were given, first to last.
    leads: RefCell<Vec<String>>,
    pub(super) said: RefCell<BTreeMap<&'static str, BTreeSet<String>>>,
}

pub(super) type With<'a> = &'a [(&'a str, &'a str)];

impl Alone {
    pub(super) async fn new() -> Self {
        let redis = RedisServer::start_own(&[]).await;
        redis.in_use("alone").await;
        let connection = redis.connect().await;
        Self { redis, connection, leads: RefCell::default(), said: RefCell::default() }
    }

    /// Calls a script and sees that whatever stands afterwards has an end.
    pub(super) async fn call(&self, name: &str, with: With<'_>) -> Vec<String> {
        match self.try_call(name, with).await {
            Ok(reply) => reply,
            Err(error) => panic!("{name} {with:?}: {error}"),
        }
    }

    pub(super) async fn try_call(&self, name: &str, with: With<'_>) -> Result<Vec<String>, redis::RedisError> {
        let text = Text::of(name);
        let value = |name: &str| -> String {
            let given = with.iter().chain(&USUAL).find(|(given, _)| *given == name);
            let value = given.unwrap_or_else(|| panic!("{}: what is {name}?", text.name)).1;
            match name {
                "own_fence" => self.fence(value),
                "owner" => {
                    let (pod, lead) = value.split_once('/').expect("a pod and the number of a lead");
                    let lease_ms =
                        with.iter().chain(&USUAL).find(|(given, _)| *given == "lease_ms").expect("a lease").1;
                    format!("{pod}/{}/{lease_ms}", self.fence(lead))
                }
                _ => widened(name, value),
            }
        };
        let lead = || ["attempt", "claim", "client", "account"].map(value).join(" ");
        let packed = |names: Vec<&str>| -> Vec<u8> {
            let number = |name: &str| double(number(&value(name)));
            names.into_iter().flat_map(number).collect()
        };
        let argument = |name: &&str| match *name {
            "numbers" => {
                let settings = text.settings().expect("they are declared").names();
                packed(text.names("NUMBER").into_iter().chain(settings).collect())
            }
            "lead" => lead().into_bytes(),
            "caller" => format!("{} {} {}", lead(), value("client_name"), value("standing")).into_bytes(),
            name => value(name).into_bytes(),
        };
        let mut keys: Vec<String> = text.names("KEYS").iter().map(|key| self.key(key, &value)).collect();
        let mut arguments: Vec<Vec<u8>> = text.names("ARGV").iter().map(argument).collect();
        if let Some(optional) = text.optional().filter(|_| value("chain").is_empty()) {
            keys.truncate(keys.len() - optional.keys);
            arguments.truncate(arguments.len() - optional.arguments);
        }
        // Of a login that several claims come with; sealed is whatever it is.
        if let Some((_, words)) = with.iter().find(|(name, _)| text.name == "complete" && *name == "family") {
            let id = words.split(' ').next().unwrap_or_default();
            keys.extend([format!("rc:{{alone}}:family:{id}"), format!("rc:{{alone}}:answers:{id}")]);
            let before = with.iter().find(|(name, _)| *name == "before").map_or("", |(_, text)| *text);
            let sealed = ["own key", "here key", "next key", "token", "answer", before, "ownshere", ""];
            let words = widened("family", words);
            arguments.extend([&*words].into_iter().chain(sealed).map(|argument| argument.as_bytes().to_vec()));
        }
        let mut reply = self.invoke(text, &keys, &arguments).await?;
        for word in &mut reply {
            if [36, 64].contains(&word.len()) {
                word.truncate(word.trim_end_matches('0').len());
            }
        }
        if reply[0] == "lead" && !self.leads.borrow().contains(&reply[1]) {
            self.leads.borrow_mut().push(reply[1].clone());
        }
        self.said.borrow_mut().entry(text.name).or_default().insert(reply[0].clone());
        for key in self.redis.keys("*").await {
            let lasting = ["fence", "incarnation"].iter().any(|name| key == format!("rc:{{alone}}:{name}"));
            let ends = self.redis.cli(&["PTTL", &key]).await;
            assert!(lasting || ends != "-1", "{key} never ends after {name} {with:?}");
        }
        Ok(reply)
    }

    /// How many leads were given.
    pub(super) fn leads(&self) -> usize {
        self.leads.borrow().len()
    }

    /// The fence of the nth lead that was given; a number that none of them has stays.
    pub(super) fn fence(&self, lead: &str) -> String {
        let nth = lead.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        nth.and_then(|index| self.leads.borrow().get(index).cloned()).unwrap_or_else(|| lead.to_owned())
    }

    pub(super) fn key(&self, name: &str, value: &dyn Fn(&str) -> String) -> String {
        let keys = Keys::new("alone");
        let of = |name: &str| format!("rc:{{alone}}:{name}:{}", value(name));
        let fixed = match name {
            "fence" => keys.fence(),
            "incarnation" => keys.incarnation(),
            "waiting" => keys.queue(),
            "permits" => keys.permits(),
            "budget" => keys.budget(),
            "queue" => keys.queue(),
            "circuit" => keys.circuit(),
            "known" => keys.known(),
            "first" => &keys.known_tokens()[0],
            "second" => &keys.known_tokens()[1],
            "meta" => keys.meta(),
            "held_until" => keys.held_until(),
            "link" => return format!("rc:{{alone}}:flight:{}", value(name)),
            "lock" | "flight" | "attempts" | "held" => return of(name),
            other => panic!("no key {other}"),
        };
        fixed.to_owned()
    }

    pub(super) async fn invoke(
        &self,
        text: &Text,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> redis::RedisResult<Vec<String>> {
        static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts::new(PubSub::Plain));
        let mut call = text.script(&SCRIPTS).prepare_invoke();
        keys.iter().for_each(|key| {
            call.key(key);
        });
        arguments.iter().for_each(|argument| {
            call.arg(argument);
        });
        let reply: redis::Value = call.invoke_async(&mut self.connection.clone()).await?;
        match reply {
            redis::Value::BulkString(words) => {
                Ok(String::from_utf8_lossy(&words).split(' ').map(str::to_owned).collect())
            }
            reply => redis::from_redis_value(reply).map_err(Into::into),
        }
    }

    /// Calls twice: the second time changes nothing.
    pub(super) async fn twice(&self, name: &str, with: With<'_>) -> [Vec<String>; 2] {
        let first = self.call(name, with).await;
        let before = self.redis.dump("alone").await;
        let second = self.call(name, with).await;
        assert_eq!(self.redis.dump("alone").await, before, "{name} {with:?} again");
        [first, second]
    }

    /// Calls twice and is answered the same.
    pub(super) async fn same_twice(&self, name: &str, with: With<'_>) -> Vec<String> {
        let [first, second] = self.twice(name, with).await;
        // What remains of a time is less the second time.
        let steady = |reply: &[String]| match reply[0].as_str() {
            "join" if reply.len() == 3 => reply[..2].to_vec(),
            "join" => reply[..4].to_vec(),
            "landed" => [&reply[..3], &reply[4..]].concat(),
            "stands" => reply[..3].to_vec(),
            "rejected" => reply[..2].to_vec(),
            "queued" | "reaped" | "recovering" => reply[..1].to_vec(),
            _ => reply.to_vec(),
        };
        if name == "complete" {
            assert_eq!(first[0], second[0])
        } else {
            assert_eq!(steady(&first), steady(&second))
        }
        first
    }

    pub(super) async fn now_ms(&self) -> u64 {
        let time = self.redis.cli(&["TIME"]).await;
        let (seconds, micros) = time.split_once('\n').expect("two numbers");
        seconds.parse::<u64>().expect("s") * 1000 + micros.parse::<u64>().expect("us") / 1000
    }

    /// A stamp as it stands when the clock was set back by an hour.
    pub(super) async fn far(&self) -> String {
        (self.now_ms().await + HOUR_MS).to_string()
    }

    pub(super) async fn set(&self, key: &str, field: &str, value: &str) {
        self.redis.cli(&["HSET", &format!("rc:{{alone}}:{key}"), field, value]).await;
    }
}

pub(super) fn of_other<'a>(more: With<'a>) -> Vec<(&'a str, &'a str)> {
    let mut with = vec![("attempt", TWO), ("lock", OTHER), ("flight", OTHER), ("name", OTHER), ("pod", "b")];
    with.splice(0..0, more.iter().copied());
    with
}

pub(super) fn ms_in(reply: &str) -> u64 {
    reply.parse().expect("ms")
}
