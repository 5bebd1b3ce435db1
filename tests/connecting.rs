//! A pod that cannot take part is refused at start, in one clear line that names the setting or the right and the
//! remedy, and leaves nothing behind.

mod support;

use std::time::Duration;

use refresh_coordinator::{Config, ConnectError, RedisTarget, Refresh, RefreshCoordinator, RefreshTokens, Secret};
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
    quick().with_store_timeout(Duration::from_millis(500))
}

async fn leaves_nothing(redis: &RedisServer, config: &Config) {
    // What the check at start tries ends by itself within a second, where the right to delete it is missing.
    let keys = format!("rc:{{{}}}:*", config.namespace);
    redis.wait(Duration::from_millis(1100)).await;
    let mut left = redis.keys(&keys).await;
    // Which server decided last is noted by the first that connects, whatever becomes of it.
    left.retain(|key| !key.ends_with(":incarnation"));
    assert_eq!(left, [""; 0], "keys are left behind");
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
    // A port that no test is given.
    let (error, line) = refused("redis://127.0.0.1:1", &brief()).await;

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(line.contains("127.0.0.1:1"), "{line}");
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
    [format!("~rc:{{{namespace}}}:*"), format!("&rc:{{{namespace}}}:*"), "+@all".to_owned()]
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
    let config = quick().with_lease(Duration::from_secs(5)).with_store_timeout(Duration::from_secs(5));
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
async fn rules_are_named_all_at_once_and_lead_to_a_pod_that_works() {
    let (redis, url) = server_with_user(&["resetchannels"]).await;
    let config = brief();

    let (error, line) = refused(&url, &config).await;
    let ConnectError::Right { rule, .. } = error else { panic!("{error:?}") };
    assert!(line.ends_with(&format!("add by ACL SETUSER: {rule}")), "{line}");
    leaves_nothing(&redis, &config).await;
    let rules: Vec<&str> = rule.split(' ').collect();
    assert_eq!(redis.cli(&[&["ACL", "SETUSER", "pod"], &rules[..]].concat()).await, "OK", "{rule}");
    let pod = RefreshCoordinator::connect(&url, config.clone()).await;
    let pod = pod.unwrap_or_else(|error| panic!("{rule} was added, and still: {error}"));

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_knows_no_client_command_and_a_user_without_password_are_fine() {
    let redis = RedisServer::start_own(&["--rename-command", "CLIENT", ""]).await;
    redis.cli(&["ACL", "SETUSER", "pod", "on", "nopass", "~*", "&*", "+@all"]).await;
    redis.cli(&["ACL", "SETUSER", "default", "resetpass", ">another"]).await;
    let url = redis.url().replace("redis://", "redis://pod@");
    let beside = RedisTarget::new(redis.url()).username("pod");

    let config = quick().with_lease(Duration::from_secs(20)).with_store_timeout(Duration::from_secs(5));
    redis.in_use(&config.namespace).await;

    let by_url = RefreshCoordinator::connect(&url, config.clone()).await.unwrap_or_else(|error| panic!("{error}"));
    let beside = RefreshCoordinator::connect_with(beside, config).await.unwrap_or_else(|error| panic!("{error}"));

    for pod in [by_url, beside] {
        let provider = Provider::open();
        pod.refresh(Refresh::new("t"), provider.refresh("t")).await.expect("tokens");
    }
}

#[tokio::test]
async fn server_without_a_command_that_is_needed_is_named() {
    let redis = RedisServer::start_own(&["--rename-command", "SCRIPT", "", "--rename-command", "EVALSHA", ""]).await;

    let (error, line) = refused(redis.url(), &brief()).await;

    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(line.contains("it does not know evalsha, script|load"), "{line}");
}

#[tokio::test]
async fn wrong_password_is_told_how_it_is_written_in_a_url() {
    let (_redis, url) = server_with_user(&["~*", "&*", "+@all"]).await;

    let (_, line) = refused(&url.replace(PASSWORD, "wrong"), &brief()).await;

    assert!(line.contains("% as %25"), "{line}");
}

#[tokio::test]
async fn another_kind_of_server_is_named_with_the_url_to_write() {
    let master = RedisServer::start_own(&[]).await;
    let replica = master.start_replica().await;
    // Else its bus is 10,000 ports higher, where there may be none.
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", "of its own"];
    let (node, _) = RedisServer::start_with_port("--cluster-port", &cluster).await;
    let watched = format!("sentinel monitor the-group 127.0.0.1 {} 1", master.port());
    let sentinel = RedisServer::start_sentinel(&watched).await;
    let at = |redis: &RedisServer| redis.url().trim_end_matches('/').to_owned();

    for (url, kind, remedy) in [
        (at(&replica), "a replica", format!("is {}", at(&master))),
        (at(&node), "a node of a cluster", at(&node).replace("redis://", "redis+cluster://")),
        (at(&sentinel), "a sentinel", format!("{}/the-group,", at(&sentinel).replace("redis://", "redis+sentinel://"))),
    ] {
        let (error, line) = refused(&url, &brief()).await;

        assert!(matches!(&error, ConnectError::Kind { kind: named, .. } if *named == kind), "{error:?}");
        assert!(line.contains(&format!("{} is {kind}: ", url.trim_start_matches("redis://"))), "{line}");
        assert!(line.contains(&remedy), "{remedy}: {line}");
    }
}

fn meta(config: &Config) -> String {
    format!("rc:{{{}}}:meta", config.namespace)
}

/// How many connections the pods of a namespace have.
async fn connections(redis: &RedisServer, config: &Config) -> usize {
    redis.cli(&["CLIENT", "LIST"]).await.matches(&format!("name=refresh-coordinator:{}:", config.namespace)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_pepper_or_provider_of_a_living_pod_is_named() {
    let redis = RedisServer::start().await;
    let theirs = brief().with_pepper(Secret::from("p".repeat(32))).with_upstream("one.example");
    let living = connect(&redis, &theirs).await;
    let there = redis.dump(&theirs.namespace).await;
    assert!(there.contains(&meta(&theirs)) && there.lines().count() == 2, "{there}");
    let open = connections(&redis, &theirs).await;
    let ours = [
        ("pepper", brief().with_upstream("one.example").with_namespace(theirs.namespace.clone())),
        ("pepper", theirs.clone().with_pepper(Secret::from("q".repeat(32)))),
        ("provider", theirs.clone().with_upstream("two.example")),
        ("refresh_tokens", theirs.clone().with_refresh_tokens(RefreshTokens::Reusable)),
    ];

    for (what, config) in ours {
        let (error, line) = refused(redis.url(), &config).await;

        assert!(matches!(&error, ConnectError::Mismatch { what: named, .. } if *named == what), "{error:?}");
        for part in [config.namespace.as_str(), what, &format!("by pod {}", living.pod())] {
            assert!(line.contains(part), "no {part}: {line}");
        }
        assert!(!line.contains("pppp") && !line.contains("qqqq"), "{line}");
        assert_eq!(redis.dump(&theirs.namespace).await, there, "{what}");
        leaves_no_connection(&redis, &theirs, open).await;
    }
    let later = "ends=9999999999999 protocols=4711-4712 what=else";
    redis.cli(&["HSET", &meta(&theirs), "pod:later", later]).await;

    let (error, line) = refused(redis.url(), &theirs).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "protocol", .. }), "{error:?}");
    for part in ["4711-4712", "by pod later", &theirs.namespace] {
        assert!(line.contains(part), "no {part}: {line}");
    }
    leaves_no_connection(&redis, &theirs, open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pepper_and_provider_are_changed_once_all_pods_are_closed() {
    let redis = RedisServer::start().await;
    let old = brief().with_pepper(Secret::from("p".repeat(32))).with_upstream("one");
    let new = brief().with_upstream("two").with_namespace(old.namespace.clone());
    let pods = [connect(&redis, &old).await, connect(&redis, &old).await];
    pods[0].close(Duration::ZERO).await;
    refused(redis.url(), &new).await;

    pods[1].close(Duration::ZERO).await;

    connect(&redis, &new).await;
}

/// The provider's URL may move, and a provider goes by one name for all pods that name it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_that_names_no_provider_agrees_with_all() {
    let redis = RedisServer::start().await;
    let unnamed = brief();
    let _unnamed = connect(&redis, &unnamed).await;
    let _named = connect(&redis, &unnamed.clone().with_upstream("idp")).await;

    let (error, _) = refused(redis.url(), &unnamed.clone().with_upstream("other")).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "provider", .. }), "{error:?}");
    connect(&redis, &unnamed).await;
}

/// A refused pod that had written its provider would lock out the pods that belong there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_pod_leaves_no_trace_of_its_settings() {
    let redis = RedisServer::start().await;
    // A pod that does not name its provider.
    let theirs = brief();
    let _living = connect(&redis, &theirs).await;
    let there = redis.dump(&theirs.namespace).await;
    let ours = theirs.clone().with_pepper(Secret::from("p".repeat(32))).with_upstream("misdirected");

    let (error, _) = refused(redis.url(), &ours).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "pepper", .. }), "{error:?}");
    assert_eq!(redis.dump(&theirs.namespace).await, there);
    connect(&redis, &theirs.with_upstream("right")).await;
}

/// Pods of protocol 1 do not say when they end: only the operator knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_of_protocol_1_is_left_alone_and_what_to_do_is_told() {
    let redis = RedisServer::start().await;
    let config = brief();
    redis.cli(&["HSET", &meta(&config), "protocol", "1", "pepper", "none", "upstream", "f"]).await;
    let there = redis.dump(&config.namespace).await;

    let (error, line) = refused(redis.url(), &config).await;

    assert!(matches!(&error, ConnectError::Mismatch { what: "protocol", .. }), "{error:?}: {line}");
    let remedy = format!("scale those pods to zero, then: redis-cli DEL '{}'", meta(&config));
    assert!(line.ends_with(&remedy) && line.contains("pods of protocol 1"), "{line}");
    assert_eq!(redis.dump(&config.namespace).await, there);
    redis.cli(&["DEL", &meta(&config)]).await;
    connect(&redis, &config).await;
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
        let config = brief().with_namespace(namespace.to_owned());

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
        keys.iter().all(|key| *key == meta(&config) || key.ends_with(":incarnation"))
    })
    .await;
}
