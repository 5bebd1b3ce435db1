//! `refreshd ready`: the health check of an image that holds nothing else.

use crate::daemon::{Daemon, refreshd};
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::within;

/// Runs it; its exit code, and what it printed.
async fn ready(command: &mut tokio::process::Command) -> (Option<i32>, String) {
    let output = within(command.stdout(std::process::Stdio::piped()).output()).await.expect("refreshd runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[tokio::test]
async fn ready_follows_the_daemon_from_its_start_to_the_loss_of_its_store() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, Provider::start(|_| async { json(200, "{}") }).await);
    let daemon = Daemon::start(&provider, &["--redis", redis.url(), "--store-timeout", "500ms"]).await;
    let (url, listen) = (daemon.url("/readyz"), format!("0.0.0.0:{}", daemon.address.port()));

    assert_eq!(ready(&mut refreshd(&["ready", "--url", &url])).await, (Some(0), "ready\n".to_owned()));
    let mut by_listen = refreshd(&["ready"]);
    assert_eq!(ready(by_listen.env("REFRESHD_LISTEN", &listen)).await.0, Some(0));

    drop(redis);
    let (code, said) = ready(&mut refreshd(&["ready", "--url", &url])).await;
    assert_eq!((code, &said[..]), (Some(1), "refreshd: not ready: the store is out of reach\n"));

    drop(daemon);
    let (code, said) = ready(&mut refreshd(&["ready", "--url", &url])).await;
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("refreshd: not ready: http://127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn a_daemon_that_hangs_is_not_ready_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = silent.local_addr().expect("its address").to_string();

    let (code, said) = ready(&mut refreshd(&["ready", "--listen", &listen, "--timeout", "100ms"])).await;

    assert_eq!(code, Some(1), "{said}");
    assert!(said.ends_with("did not answer within 100ms\n"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_wrong_setting() {
    for arguments in [&["--url", "https://x/readyz"][..], &["--url", "http://u:hush@x/"], &["--listen", "a b"]] {
        let (code, said) = ready(&mut refreshd(&[&["ready"], arguments].concat())).await;

        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(arguments[0]) && !said.contains("hush"), "{said}");
    }
}

/// Anybody who reaches the port may ask.
#[tokio::test]
async fn many_who_ask_whether_it_is_ready_do_not_ask_redis_each() {
    let (redis, provider) = (RedisServer::start_own(&[]).await, Provider::start(|_| async { json(200, "{}") }).await);
    let daemon = Daemon::start(&provider, &["--redis", redis.url()]).await;
    let scripts = async || {
        let stats = redis.cli(&["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().expect("a number"))
    };
    assert_eq!(daemon.get("/readyz").await.0, 200);
    let before = scripts().await;

    let asked = futures_util::future::join_all((0..200).map(|_| daemon.get("/readyz"))).await;

    assert!(asked.iter().all(|(status, _)| *status == 200), "{asked:?}");
    let asked_of_redis = scripts().await - before;
    assert!(asked_of_redis < 50, "{asked_of_redis} scripts for 200 callers");
}
