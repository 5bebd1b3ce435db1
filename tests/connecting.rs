//! A pod that cannot take part is refused at start, in one clear line that names the setting or the right and the
//! remedy, and leaves nothing behind.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, ConnectError, Refresh, RefreshCoordinator, Secret};
use support::fleet::{connect, quick};
use support::provider::Provider;
use support::redis::RedisServer;
use support::stopwatch::Stopwatch;
use support::wait::until;

const PASSWORD: &str = "hush-password";

/// The one line that an operator reads when a pod does not start.
async fn refused(url: &str, config: &Config) -> (ConnectError, String) {
    let started = Stopwatch::start();
    let error = match RefreshCoordinator::connect(url, config.clone()).await {
        Ok(_) => panic!("{url} was accepted"),
        Err(error) => error,
    };
    // Connecting is one call to the store, checking what is needed another.
    let waited = started.elapsed();
    assert!(waited < 3 * config.store_timeout + Duration::from_secs(1), "{error} took {waited:?}");
    let line = error.to_string();
    assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
    assert!(!line.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD), "{line}");
    (error, line)
}

fn brief() -> Config {
    Config { store_timeout: Duration::from_millis(500), ..quick() }
}

async fn leaves_nothing(redis: &RedisServer, config: &Config) {
    // What the check at start tries ends by itself within a second, where the right to delete it is missing.
    let keys = format!("rc:{{{}}}:*", config.namespace);
    redis.wait(Duration::from_millis(1100)).await;
    assert_eq!(redis.keys(&keys).await, [""; 0], "keys are left behind");
    leaves_no_connection(redis, config, 0).await;
}

async fn leaves_no_connection(redis: &RedisServer, config: &Config, expected: usize) {
    let name = format!("name=refresh-coordinator:{}:", config.namespace);
    until("its connections are closed", async || {
        redis.cli(&["CLIENT", "LIST"]).await.matches(&name).count() == expected
    })
    .await;
}

async fn server_with_user(rules: &[&str]) -> (RedisServer, String) {
    let redis = RedisServer::start_own(&[]).await;
    let password = format!(">{PASSWORD}");
    redis.cli(&[&["ACL", "SETUSER", "pod", "on", &password], rules].concat()).await;
    let url = redis.url().replace("redis://", &format!("redis://pod:{PASSWORD}@"));
    (redis, url)
}

#[tokio::test]
async fn redis_that_is_not_there_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();

    let (error, line) = refused(&format!("redis://127.0.0.1:{port}"), &brief()).await;

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
}

#[tokio::test]
async fn redis_that_does_not_answer_is_waited_for_no_longer_than_store_timeout() {
    // The kernel accepts, and nobody reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let config = brief();
    let started = Stopwatch::start();

    let (error, line) = refused(&format!("redis://{address}"), &config).await;

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(started.elapsed() < 2 * config.store_timeout, "{:?}", started.elapsed());
}

#[tokio::test]
async fn host_without_an_address_is_named() {
    let (error, line) = refused(&format!("redis://:{PASSWORD}@no-such-host.invalid:6379"), &brief()).await;

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(line.contains("no-such-host.invalid:6379"), "{line}");
}

#[tokio::test]
async fn wrong_or_missing_login_is_named() {
    let (redis, url) = server_with_user(&["~*", "&*", "+@all"]).await;
    redis.cli(&["ACL", "SETUSER", "default", "resetpass", ">another"]).await;
    let config = brief();
    let wrong_password = url.replace(PASSWORD, "wrong");
    let wrong_user = url.replace("pod:", "nobody:");
    let no_login = redis.url().to_owned();

    for url in [wrong_password, wrong_user, no_login] {
        let (error, line) = refused(&url, &config).await;

        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
        let says_why = ["WRONGPASS", "NOAUTH", "password", "uthentication"].iter().any(|word| line.contains(word));
        assert!(says_why, "{line}");
        assert!(!line.contains("wrong@"), "{line}");
    }
    leaves_nothing(&redis, &config).await;
}

/// What a pod needs, as the documentation would say it.
fn all_rights(config: &Config) -> [String; 3] {
    let namespace = &config.namespace;
    [format!("~rc:{{{namespace}}}:*"), format!("&rc:{{{namespace}}}:pod:*"), "+@all".to_owned()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_the_namespace_alone_are_enough() {
    let config = brief();
    let rights = all_rights(&config);
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    let (_redis, url) = server_with_user(&rights).await;

    let pod = RefreshCoordinator::connect(&url, config).await.expect("all rights are there");

    let provider = Provider::open();
    pod.refresh(Refresh::new("t"), provider.refresh("t")).await.expect("tokens");
}

/// A pod without this right is refused, is told the rule, and connects once the rule was added.
async fn is_named(rules: &[&str], config: &Config, expected: &str) {
    let (redis, url) = server_with_user(rules).await;

    let (error, line) = refused(&url, config).await;

    let ConnectError::Right { rule, .. } = &error else { panic!("{rules:?}: {error:?}") };
    assert_eq!(rule, expected, "{line}");
    assert!(line.contains(expected), "{line}");
    leaves_nothing(&redis, config).await;
    redis.cli(&["ACL", "SETUSER", "pod", rule]).await;
    let pod = RefreshCoordinator::connect(&url, config.clone()).await;
    let pod = pod.unwrap_or_else(|error| panic!("{rule} was added, and still: {error}"));
    let provider = Provider::open();
    pod.refresh(Refresh::new("t"), provider.refresh("t")).await.expect("tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_right_to_keys_is_named_by_its_rule() {
    let config = brief();
    let [keys, channels, commands] = all_rights(&config);

    is_named(&[&channels, &commands], &config, &keys).await;
    is_named(&["~rc:{another}:*", &channels, &commands], &config, &keys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_right_to_channels_is_named_by_its_rule() {
    let config = brief();
    let [keys, channels, commands] = all_rights(&config);

    is_named(&[&keys, "resetchannels", &commands], &config, &channels).await;
    is_named(&[&keys, "resetchannels", "&rc:{another}:*", &commands], &config, &channels).await;
}

#[tokio::test]
async fn missing_right_to_a_command_is_named_by_its_rule() {
    // All at once, each with a server of its own.
    let config = Config { lease: Duration::from_secs(5), store_timeout: Duration::from_secs(5), ..quick() };
    let [keys, channels, commands] = all_rights(&config);
    // Of the pod itself, then of the scripts.
    let pods = ["evalsha", "script|load", "subscribe"];
    let scripts =
        ["time", "set", "get", "mget", "pttl", "del", "hset", "pexpire", "hmget", "hgetall", "hdel", "publish"];
    let (local, mut each) = (tokio::task::LocalSet::new(), tokio::task::JoinSet::new());
    for command in pods.into_iter().chain(scripts) {
        let (keys, channels, commands) = (keys.clone(), channels.clone(), commands.clone());
        let config = config.clone();
        each.spawn_local_on(
            async move {
                let (right, rule) = (format!("-{command}"), format!("+{command}"));
                is_named(&[&keys, &channels, &commands, &right], &config, &rule).await;
            },
            &local,
        );
    }
    // Panics where one of them did, after all have been tried.
    let mut failed = 0;
    let all = async {
        while let Some(named) = each.join_next().await {
            failed += usize::from(named.is_err());
        }
    };
    local.run_until(all).await;
    assert_eq!(failed, 0, "of {} commands", pods.len() + scripts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_are_named_one_after_the_other_lead_to_a_pod_that_works() {
    let (redis, url) = server_with_user(&["resetchannels"]).await;
    let config = brief();
    let mut rules = Vec::new();

    let pod = loop {
        match RefreshCoordinator::connect(&url, config.clone()).await {
            Ok(pod) => break pod,
            Err(ConnectError::Right { rule, reason }) => {
                assert!(!rules.contains(&rule), "{rule} was added, and still: {reason}");
                assert_eq!(redis.cli(&["ACL", "SETUSER", "pod", &rule]).await, "OK", "{rule}");
                rules.push(rule);
            }
            Err(error) => panic!("after {rules:?}: {error}"),
        }
    };

    let provider = Provider::held();
    let (other, call) = (connect(&redis, &config).await, provider.refresh("t"));
    let flies = tokio::spawn(async move { other.refresh(Refresh::new("t"), call).await });
    provider.asked(1).await;
    let joins = {
        let (pod, call) = (pod.clone(), provider.refresh("t"));
        tokio::spawn(async move { pod.refresh(Refresh::new("t"), call).await })
    };
    until("it is joined", async || pod.metrics().joined_fleet == 1).await;
    until("it has looked", async || pod.metrics().looks > 0).await;
    provider.release(2);
    flies.await.expect("no panic").expect("tokens");
    joins.await.expect("no panic").expect("tokens");
    let call = Provider::open().refresh("t2");
    pod.refresh(Refresh::new("t2"), call).await.expect("tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conveniences_are_not_needed() {
    let config = brief();
    let [keys, channels, commands] = all_rights(&config);
    // Names of connections, and the warning about eviction.
    let rules: [&str; 6] = [&keys, &channels, &commands, "-client", "-info", "-config"];
    let (_redis, url) = server_with_user(&rules).await;

    let pod = RefreshCoordinator::connect(&url, config).await;

    pod.unwrap_or_else(|error| panic!("what is not needed is not asked for: {error}"));
}

fn meta(config: &Config) -> String {
    format!("rc:{{{}}}:meta", config.namespace)
}

/// A namespace that holds a pod's settings, and what its meta looks like.
async fn used_by(redis: &RedisServer, config: &Config) -> String {
    let pod = connect(redis, config).await;
    pod.close(Duration::ZERO).await;
    drop(pod);
    leaves_no_connection(redis, config, 0).await;
    redis.dump(&config.namespace).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_pepper_or_upstream_is_named() {
    let redis = RedisServer::start().await;
    let theirs = Config {
        pepper: Some(Secret::from("p".repeat(32))),
        upstream: Some("https://one.example/token".to_owned()),
        ..brief()
    };
    let there = used_by(&redis, &theirs).await;
    assert!(there.starts_with(&meta(&theirs)) && there.lines().count() == 1, "{there}");
    let ours = [
        ("pepper", Config { pepper: None, ..theirs.clone() }),
        ("pepper", Config { pepper: Some(Secret::from("q".repeat(32))), ..theirs.clone() }),
        ("upstream", Config { upstream: Some("https://two.example/token".to_owned()), ..theirs.clone() }),
    ];

    for (what, config) in ours {
        let (error, line) = refused(redis.url(), &config).await;

        assert!(matches!(&error, ConnectError::Mismatch { what: named, .. } if *named == what), "{error:?}");
        assert!(line.contains(&config.namespace) && line.contains(what), "{line}");
        assert!(!line.contains("pppp") && !line.contains("qqqq"), "{line}");
        assert_eq!(redis.dump(&theirs.namespace).await, there, "{what}");
        leaves_no_connection(&redis, &theirs, 0).await;
    }
    redis.cli(&["HSET", &meta(&theirs), "protocol", "4711"]).await;
    let there = redis.dump(&theirs.namespace).await;

    let (error, line) = refused(redis.url(), &theirs).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "protocol", .. }), "{error:?}");
    assert!(line.contains("4711") && line.contains(&theirs.namespace), "{line}");
    assert_eq!(redis.dump(&theirs.namespace).await, there);
    leaves_no_connection(&redis, &theirs, 0).await;
}

/// A refused pod that had written its upstream would lock out the pods that belong there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_pod_leaves_no_trace_of_its_settings() {
    let redis = RedisServer::start().await;
    // A pod that says nothing of its upstream.
    let theirs = brief();
    let there = used_by(&redis, &theirs).await;
    let ours = Config {
        pepper: Some(Secret::from("p".repeat(32))),
        upstream: Some("https://misdirected.example/token".to_owned()),
        ..theirs.clone()
    };

    let (error, _) = refused(redis.url(), &ours).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "pepper", .. }), "{error:?}");
    assert_eq!(redis.dump(&theirs.namespace).await, there);
    let upstream = Some("https://right.example/token".to_owned());
    let right = Config { upstream, ..theirs.clone() };
    let pod = RefreshCoordinator::connect(redis.url(), right).await;
    pod.unwrap_or_else(|error| panic!("the refused pod's upstream stands there: {error}"));
}

/// A later protocol may know other fields: nothing of ours belongs into its meta.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_of_another_protocol_writes_nothing_into_meta() {
    let redis = RedisServer::start().await;
    let config = Config { upstream: Some("https://one.example/token".to_owned()), ..brief() };
    redis.cli(&["HSET", &meta(&config), "protocol", "4711", "something", "else"]).await;
    let there = redis.dump(&config.namespace).await;

    let (error, line) = refused(redis.url(), &config).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "protocol", .. }), "{error:?}: {line}");
    assert_eq!(redis.dump(&config.namespace).await, there);
}

#[tokio::test]
async fn malformed_urls_are_named_without_their_password() {
    let urls = [
        "",
        "localhost:6379",
        "http://127.0.0.1:6379",
        "redis://",
        &format!("redis://pod:{PASSWORD}@127.0.0.1:port"),
        &format!("redis://pod:{PASSWORD}@127.0.0.1:99999"),
        &format!("redis://pod:{PASSWORD}@127.0.0.1:6379/database"),
        &format!("redis://pod:{PASSWORD}@"),
        &format!("redis//pod:{PASSWORD}@127.0.0.1"),
        &format!("redis://pod:{PASSWORD}@127.0.0.1:6379?protocol=resp9"),
        &format!("rediss//:{PASSWORD}@[::1"),
    ];
    for url in urls {
        let (error, line) = refused(url, &brief()).await;

        assert!(matches!(error, ConnectError::Url { .. }), "{url}: {error:?}");
        assert!(line.contains("redis://"), "what is expected: {line}");
    }
}

#[tokio::test]
async fn bad_namespaces_are_named_before_anything_is_sent() {
    let long = "n".repeat(65);
    for namespace in ["", "a b", "a:b", "a{b}", "caf\u{e9}", "a\nb", "*", &long] {
        let config = Config { namespace: namespace.to_owned(), ..brief() };

        // No server is there: a pod that tried to connect would be told so.
        let (error, line) = refused("redis://127.0.0.1:1", &config).await;

        assert!(matches!(&error, ConnectError::Config(error) if error.setting == "namespace"), "{error:?}");
        assert!(line.contains("namespace") && line.contains("64"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_that_is_given_up_leaves_only_meta() {
    let redis = RedisServer::start().await;
    let config = brief();
    for steps in 0..30 {
        let mut connecting = Box::pin(RefreshCoordinator::connect(redis.url(), config.clone()));
        // Given up after so many turns.
        let mut turns = 0;
        let ended = std::future::poll_fn(|context| {
            turns += 1;
            if turns > steps {
                return std::task::Poll::Ready(None);
            }
            connecting.as_mut().poll(context).map(Some)
        })
        .await;
        if let Some(pod) = ended {
            pod.expect("redis is there").close(Duration::ZERO).await;
        }
    }

    leaves_no_connection(&redis, &config, 0).await;
    // What the check at start tries ends by itself within a second.
    until("nothing is left", async || {
        let keys = redis.keys(&format!("rc:{{{}}}:*", config.namespace)).await;
        keys.iter().all(|key| *key == meta(&config))
    })
    .await;
}
