//! `lua/inspect.lua` where no real pod brings it: long lists, keys that are missing or typed wrong, a clock that was set
//! back. What it says of real situations is judged by docs/redis-cli.md.

mod support;

use support::redis::{RedisServer, patient};

/// In the order in which the script takes them.
const NAMES: [&str; 10] =
    ["lock:f", "flight:f", "fence", "incarnation", "attempts:s", "permits", "budget", "queue", "circuit", "meta"];

/// A Redis with a namespace of the test's own.
struct Stage {
    redis: RedisServer,
    tag: String,
}

impl Stage {
    async fn new() -> Self {
        let tag = format!("rc:{{test-{}}}:", uuid::Uuid::new_v4().simple());
        Self { redis: RedisServer::start().await, tag }
    }

    fn keys(&self) -> Vec<String> {
        NAMES.map(|name| format!("{}{name}", self.tag)).to_vec()
    }

    /// Runs a command on a key of the namespace.
    async fn on(&self, command: &str, key: &str, words: &[&str]) {
        let key = format!("{}{key}", self.tag);
        let mut all = vec![command, &key];
        all.extend(words);
        self.redis.cli(&all).await;
    }

    /// What the script tells, given these keys.
    async fn told(&self, keys: &[String], arguments: &[&str]) -> Result<String, redis::RedisError> {
        self.told_at(self.redis.url(), keys, arguments).await
    }

    async fn told_at(&self, url: &str, keys: &[String], arguments: &[&str]) -> Result<String, redis::RedisError> {
        let client = redis::Client::open(url).expect("a URL");
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&patient()).await.expect("redis is there");
        let script = include_str!("../lua/inspect.lua");
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        let lines: Vec<String> = eval.query_async(&mut connection).await?;
        Ok(lines.join("\n"))
    }

    async fn inspect(&self) -> String {
        self.told(&self.keys(), &[]).await.expect("lines")
    }

    /// Redis' time in ms, moved by so much.
    async fn stamp(&self, moved_ms: i64) -> String {
        let time = self.redis.cli(&["TIME"]).await;
        let (seconds, micros) = time.split_once('\n').expect("two numbers");
        let ms = seconds.parse::<i64>().expect("s") * 1000 + micros.parse::<i64>().expect("us") / 1000;
        (ms + moved_ms).to_string()
    }
}

#[track_caller]
fn says(told: &str, lines: &[&str]) {
    for line in lines {
        assert!(told.lines().any(|there| there.trim() == *line), "no line {line:?} in\n{told}");
    }
}

const HOUR: i64 = 60 * 60 * 1000;

#[tokio::test]
async fn namespace_in_which_nothing_happens_is_told_in_full() {
    let stage = Stage::new().await;

    let told = stage.inspect().await;

    says(
        &told,
        &[
            "flight f",
            "nobody leads it, and nothing is known of one before",
            "no other pod waits",
            "session s",
            "not refused: it led nothing lately",
            "circuit closed: 0 failed flights in a row",
            "permits: none is out",
            "queue: nobody waits for a permit",
            "not recovering: no pod has started here since Redis was empty",
            "fence: none was given yet",
            "meta: no pod lives here",
        ],
    );
}

#[tokio::test]
async fn long_lists_are_cut_and_counted() {
    let stage = Stage::new().await;
    let (stamp, later) = (stage.stamp(0).await, stage.stamp(HOUR).await);
    stage.on("HSET", "circuit", &["state", "half_open", "opened_because", "failures"]).await;
    stage.on("SET", "budget", &["13"]).await;
    stage.on("ZADD", "queue", &["1", "c11e"]).await;
    for i in 0..13 {
        stage.on("HSET", "waits:f", &[&format!("pod{i}"), "attempt"]).await;
        stage.on("ZADD", "permits", &[&later, &format!("pod{i}/{i}")]).await;
        stage.on("ZADD", "queue:c11e", &[&format!("{stamp}000"), &format!("pod{i} attempt flight{i}")]).await;
        stage.on("HSET", "circuit", &[&format!("probe:{i}"), &format!("{later} 10000")]).await;
        stage.on("HSET", "circuit", &[&format!("limited:s{i}"), &stamp]).await;
    }
    let lists = 5;

    let told = stage.inspect().await;
    let all = stage.told(&stage.keys(), &["13"]).await.expect("lines");
    let none = stage.told(&stage.keys(), &["0"]).await.expect("lines");

    says(&told, &["13 other pods wait:", "permits: 13 are out", "queue: 13 flights wait for a permit"]);
    assert_eq!(told.matches("and 3 more").count(), lists, "{told}");
    assert_eq!(told.lines().count() - none.lines().count(), 10 * lists, "{told}");
    assert!(!all.contains("  and "), "{all}");
    assert_eq!(none.matches("and 13 more").count(), lists, "{none}");
}

#[tokio::test]
async fn living_pods_are_told_by_what_they_go_by() {
    let stage = Stage::new().await;
    let (over, later, last) = (stage.stamp(-1000).await, stage.stamp(60_000).await, stage.stamp(90_000).await);
    for (pod, ends, lease) in [("a", &later, 10), ("b", &last, 10), ("slow", &later, 20), ("gone", &over, 30)] {
        let entry = format!("ends={ends} protocols=2-2 lease={lease}");
        stage.on("HSET", "meta", &[&format!("pod:{pod}"), &entry]).await;
    }

    let told = stage.inspect().await;

    says(&told, &["meta: 3 pods live here", "protocols=2-2 lease=10", "protocols=2-2 lease=20", "pod slow"]);
    for part in ["2 go by these settings; the last is gone in 9", "1 goes by these settings; the last is gone in 6"] {
        assert!(told.contains(part) || told.contains(&part.replace("in 9", "in 8").replace("in 6", "in 5")), "{told}");
    }
    assert!(!told.contains("gone\n") && !told.contains("lease=30"), "{told}");
    stage.on("HSET", "meta", &["protocol", "1"]).await;
    says(&stage.inspect().await, &["meta: written by pods of protocol 1; DEL it when none of them lives any more"]);
}

#[tokio::test]
async fn sealed_outcomes_are_never_printed() {
    let stage = Stage::new().await;
    let stamp = stage.stamp(0).await;
    for state in ["leading", "lost", "landed", "nothing known"] {
        let record = [
            ["state", state],
            ["owner", "pod/1/10000"],
            ["lead", "attempt"],
            ["class", "success"],
            ["token_state", "rotated"],
            ["landed_at", &stamp],
            ["fresh_until", &stamp],
            ["fresh_ms", "1000"],
            ["sealed", "SEALED"],
            ["last_fence", "1"],
            ["last_landed_at", &stamp],
            ["last_sealed", "SEALED"],
        ];
        stage.on("HSET", "flight:f", record.as_flattened()).await;
        for lock in ["SET", "DEL"] {
            stage.on(lock, "lock:f", if lock == "SET" { &["pod/1/10000"] } else { &[] }).await;

            let told = stage.inspect().await;

            assert!(!told.contains("SEALED"), "{told}");
        }
    }
}

#[tokio::test]
async fn keys_in_another_order_are_refused_by_name() {
    let stage = Stage::new().await;
    let mut swapped = stage.keys();
    swapped.swap(5, 7);
    let mut foreign = stage.keys();
    foreign[9] = "rc:{another}:meta".to_owned();
    let few = stage.keys()[..9].to_vec();

    for (keys, complaint) in [
        (swapped, "key 6 is to be rc:{<namespace>}:permits"),
        (foreign, "key 10 is to be rc:{<namespace>}:meta"),
        (few, "10 keys, at most 1 argument"),
    ] {
        let error = stage.told(&keys, &[]).await.expect_err("refused").to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn stamps_of_a_clock_that_was_set_back_do_not_mislead() {
    let stage = Stage::new().await;
    let (ahead, far_ahead) = (stage.stamp(HOUR).await, stage.stamp(2 * HOUR).await);
    stage.on("SET", "lock:f", &["pod/1/10000", "PXAT", &ahead]).await;
    stage.on("HSET", "flight:f", &["state", "leading", "owner", "pod/1/10000", "lead", "a", "started", &ahead]).await;
    stage
        .on(
            "HSET",
            "circuit",
            &[
                "state",
                "open",
                "open_for",
                "c11e",
                "opened_because",
                "failures",
                "open_until",
                &far_ahead,
                "open_ms",
                "30000",
            ],
        )
        .await;
    stage.on("HSET", "attempts:s", &["attempts:a", "2", "window_start:a", &ahead, "last_attempt:a", &ahead]).await;
    stage.on("ZADD", "queue", &["7", "c11e"]).await;
    stage.on("ZADD", "queue:c11e", &[&format!("{ahead}000"), "pod attempt flight"]).await;

    let told = stage.inspect().await;

    says(
        &told,
        &[
            "led by pod/1/10000; the lease ends in 10.0 s unless it is renewed",
            "started 0.0 s ago, attempt a",
            "circuit open for 30.0 s more: nobody of client c11e leads (circuit_open)",
            "to others it is closed: 0 failed flights in a row",
            "2 attempts in the window that began 0.0 s ago",
            "client c11e, turn 7, 1 flight:",
            "1. pod pod, flight flight, came 0.0 s ago",
        ],
    );
}

#[tokio::test]
async fn what_is_over_or_does_not_fit_is_told_apart() {
    let stage = Stage::new().await;
    let (over, later) = (stage.stamp(-HOUR).await, stage.stamp(HOUR).await);
    stage.on("SET", "lock:f", &["new/9"]).await;
    stage.on("HSET", "flight:f", &["state", "leading", "owner", "old/8", "abandoned:a", "1"]).await;
    stage.on("ZADD", "permits", &[&over, "dead/1", &over, "dead a f2", &later, "new/9"]).await;
    stage.on("SET", "budget", &["2"]).await;
    stage
        .on(
            "HSET",
            "circuit",
            &["state", "open", "opened_because", "retry_after", "open_until", &over, "open_ms", "1000"],
        )
        .await;
    stage.on("HSET", "circuit", &["probe:3", &format!("{over} 10000")]).await;

    let told = stage.inspect().await;

    says(
        &told,
        &[
            "its record is of old/8: the lock does not belong to it",
            "1 attempt was given up",
            "circuit half-open: its time is over, the next flight is a probe",
            "it opened because the provider answered 503 with Retry-After (retry_after)",
            "probe of fence 3, lost: it makes way",
            "permits: 1 is out",
            "dead/1, lost: free for others",
            "kept for pod dead, flight f2, called from the queue: did not come, free for others",
            "BUG: budget is 2, permits has 3 members",
        ],
    );
}

#[tokio::test]
async fn every_outcome_has_its_words() {
    let stage = Stage::new().await;
    let stamp = stage.stamp(0).await;
    for (class, token, words) in [
        ("success", "rotated", "the provider took the token and gave a new one"),
        ("success", "kept", "the provider took the token and it stays valid"),
        ("denied", "dead", "the token is dead"),
        ("busy", "untouched", "the token is untouched"),
        (
            "unknown",
            "unknown",
            "nobody knows whether the token was rotated; with uncertain = never it is not presented again",
        ),
    ] {
        let record = [
            ["state", "landed"],
            ["owner", "pod/1/10000"],
            ["lead", "attempt"],
            ["class", class],
            ["token_state", token],
            ["landed_at", &stage.stamp(HOUR).await],
            ["fresh_until", &stamp],
            ["fresh_ms", "1000"],
        ];
        stage.on("HSET", "flight:f", record.as_flattened()).await;

        let told = stage.inspect().await;

        says(
            &told,
            &[&format!("landed 0.0 s ago: {class}, {words}"), "callers do not get it any more: the next one leads"],
        );
    }
}

#[tokio::test]
async fn ended_session_is_told_with_its_clients_for_as_long_as_the_mark_stands() {
    let stage = Stage::new().await;
    let (over, later) = (stage.stamp(-HOUR).await, stage.stamp(HOUR).await);
    // An attempt, a claim, a client and an account, each as wide as it always is.
    let led = format!("{:36} {:64} {:64} account", "attempt", "claim", "a");
    stage.on("HSET", "flight:f", &["lead", &led, "ended:a", &later, "ended:b", &later, "ended:c", &over]).await;

    let told = stage.inspect().await;

    for line in [
        "  the session was ended (logout) for each client below: ",
        "    client a, which this flight is of, for ",
        "    client b, for ",
    ] {
        assert!(told.lines().any(|there| there.starts_with(line)), "no line {line:?} in\n{told}");
    }
    assert!(!told.contains("client c"), "{told}");
}

#[tokio::test]
async fn user_who_may_only_read_may_inspect() {
    let stage = Stage { redis: RedisServer::start_own(&[]).await, tag: "rc:{default}:".to_owned() };
    stage.redis.cli(&["ACL", "SETUSER", "reader", "on", ">pw", "~rc:*", "+@read", "+time", "+eval"]).await;
    let url = stage.redis.url().replace("redis://", "redis://reader:pw@");

    let told = stage.told_at(&url, &stage.keys(), &[]).await;

    says(&told.expect("lines"), &["permits: none is out"]);
}

#[tokio::test]
async fn replica_answers_and_a_full_redis_too() {
    let (redis, tag) = (RedisServer::start_own(&["--repl-diskless-sync-delay", "0"]).await, "rc:{default}:".to_owned());
    let port = redis.url().trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    let stage = Stage { redis, tag };
    stage.on("SET", "lock:f", &["pod/1", "PX", "60000"]).await;
    let replica = RedisServer::start_own(&["--replicaof", &format!("127.0.0.1 {port}")]).await;
    replica.until(&["EXISTS", "rc:{default}:lock:f"], "1").await;

    stage.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;

    for url in [stage.redis.url(), replica.url()] {
        let told = stage.told_at(url, &stage.keys(), &[]).await.expect("lines");
        assert!(told.contains("led by pod/1; the lease ends in "), "{told}");
    }
}

#[tokio::test]
async fn login_that_several_claims_come_with_is_told_by_the_record_of_its_token() {
    let stage = Stage::new().await;
    stage.on("HSET", "flight:f", &["generation", "2", "before", "e", "used", "1", "family", "abc def"]).await;
    assert!(stage.inspect().await.contains("nothing is known of them any more"));

    let family = ["newest", "5 0a1b", "newest_token", "\u{1}", "e:1", "1 4 0", "e:2", "2 5 0", "is:c", "1"];
    stage.on("HSET", "family:abc", &family).await;
    stage.on("ZADD", "order:abc", &["1", "pod attempt 0a1b e"]).await;

    let told = stage.inspect().await;
    assert!(told.contains("its login: 2 claims come with tokens of it, the newest is token 5, flight 0a1b"), "{told}");
    assert!(told.contains("1 flight waits for its turn to present the newest token"), "{told}");
    stage.on("HSET", "family:abc", &["ended", &stage.stamp(60_000).await]).await;
    assert!(stage.inspect().await.contains("its session was ended for all of them"));
}
