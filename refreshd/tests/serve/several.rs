//! Several providers by one file: who is asked for what, how they share Redis, and what is told of each.

use std::time::{Duration, Instant};

use crate::daemon::{Daemon, FORM, client, refresh, refreshd};
use crate::provider::{Provider, Seen, json};
use crate::redis::RedisServer;
use crate::within;

/// A file of `--config`, which a test may write anew.
pub(crate) struct ConfigFile(tempfile::TempDir);

impl ConfigFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a folder"));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("written");
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().join("refreshd.toml").to_str().expect("UTF-8").to_owned()
    }

    pub(crate) async fn serve(&self, more: &[&str]) -> Daemon {
        Daemon::spawn(self.command(more)).await
    }

    fn command(&self, more: &[&str]) -> tokio::process::Command {
        let common = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--config", &self.path()];
        refreshd(&[&common, more].concat())
    }
}

/// Answers every refresh with tokens that tell whose they are.
pub(crate) async fn provider(name: &str) -> Provider {
    let name = name.to_owned();
    Provider::start(move |seen: Seen| {
        let token = seen.body.rsplit('=').next().unwrap_or_default();
        let answer = json(200, &format!(r#"{{"access_token":"{name} for {token}","refresh_token":"next"}}"#));
        async move { answer }
    })
    .await
}

/// A name that no other test has on a Redis that is shared.
fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) async fn text(answer: reqwest::Response) -> (u16, String) {
    (answer.status().as_u16(), within(answer.text()).await.expect("text"))
}

/// As it is sent to one of several hosts.
async fn post_to_host(daemon: &Daemon, host: &str, path: &str, body: String) -> (u16, String) {
    let request = client().post(daemon.url(path)).header("host", host).header("content-type", FORM).body(body);
    text(within(request.send()).await.expect("an answer")).await
}

fn connections(list: &str) -> usize {
    list.matches("name=refresh-coordinator:").count()
}

/// Its resident memory, in KiB.
#[cfg(target_os = "linux")]
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn two_providers_of_one_file_are_served_over_one_redis() {
    let (redis, okta, entra) = (RedisServer::start().await, provider("okta").await, provider("entra").await);
    let (first, second) = (unique("okta"), unique("entra"));
    redis.in_use(&first).await;
    redis.in_use(&second).await;
    let file = ConfigFile::new(&format!(
        r#"
        redis = "{}"
        [provider.okta]
        upstream = "{}"
        namespace = "{first}"
        [provider.entra]
        upstream = "{}"
        namespace = "{second}"
        "#,
        redis.url(),
        okta.url(),
        entra.url()
    ));
    let pods = [file.serve(&[]).await, file.serve(&[]).await];

    for (place, name, provider) in [("/okta", "okta", &okta), ("/entra", "entra", &entra)] {
        for path in ["/token", "/oauth2/token"] {
            let token = format!("r{path}").replace('/', "-");
            for pod in &pods {
                // The token is the same for both providers, and they know nothing of each other.
                let (status, body) = text(pod.post_to(&format!("{place}{path}"), &refresh(&token)).await).await;

                assert_eq!(status, 200, "{body}");
                assert!(body.contains(&format!("\"{name} for {token}\"")), "{body}");
            }
        }
        assert_eq!(provider.seen().len(), 2, "each token is presented once by both pods");
    }
}

#[tokio::test]
async fn request_goes_to_the_provider_of_its_host_and_path_and_others_get_one_answer() {
    let (okta, entra, bank) = (provider("okta").await, provider("entra").await, provider("bank").await);
    let file = ConfigFile::new(&format!(
        r#"
        [provider.okta]
        upstream = "{}"
        [provider.entra]
        upstream = "{}"
        host = "entra.internal"
        [provider.bank]
        upstream = "{}"
        host = "Bank.internal"
        path = "/partners/bank"
        "#,
        okta.url(),
        entra.url(),
        bank.url()
    ));
    let daemon = file.serve(&[]).await;

    for (host, path, name) in [
        ("anything:8400", "/okta/token", "okta"),
        ("bank.internal", "/okta/oauth2/token", "okta"),
        ("entra.internal:8400", "/token", "entra"),
        ("ENTRA.internal", "/oauth2/token?x=/okta/token", "entra"),
        ("bank.internal:1", "/partners/bank/token", "bank"),
    ] {
        let (status, body) = post_to_host(&daemon, host, path, refresh(&unique("r"))).await;
        assert_eq!(status, 200, "{host}{path}: {body}");
        assert!(body.contains(&format!("\"{name} for r-")), "{host}{path}: {body}");
    }
    for (host, path) in [
        ("x", "/token"),
        ("x", "/okta"),
        ("x", "/okta/revoke"),
        ("x", "/oktatoken"),
        ("entra.internal.x", "/token"),
        ("entra.internal", "/partners/bank/token"),
        ("bank.internal", "/token"),
    ] {
        let told = post_to_host(&daemon, host, path, refresh("r")).await;
        let expected = "not found: no provider is served at this host and path\n";
        assert_eq!(told, (404, expected.to_owned()), "{host}{path}");
    }
    assert_eq!(daemon.get("/okta/token").await.0, 405);
    assert_eq!(daemon.get("/healthz").await, (200, "alive\n".to_owned()));
    assert_eq!([okta.seen().len(), entra.seen().len(), bank.seen().len()], [2, 2, 1]);
}

/// Every key is a flag: the one provider of a process without a file has its place by them.
#[tokio::test]
async fn the_only_provider_is_served_below_a_path_and_at_a_host_by_flags() {
    let provider = provider("okta").await;
    let daemon = Daemon::start(&provider, &["--path", "/okta", "--host", "okta.internal"]).await;

    let (status, body) = post_to_host(&daemon, "okta.internal:1", "/okta/token", refresh("r1")).await;
    let elsewhere = [
        post_to_host(&daemon, "okta.internal", "/token", refresh("r2")).await,
        post_to_host(&daemon, "x", "/okta/token", refresh("r2")).await,
    ];

    assert!(status == 200 && body.contains("\"okta for r1\""), "{status} {body}");
    assert!(elsewhere.iter().all(|told| *told == (404, "not found\n".to_owned())), "{elsewhere:?}");
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn metrics_tell_providers_of_a_file_apart_and_name_none_without() {
    let (okta, entra) = (provider("okta").await, provider("entra").await);
    let (first, second) = (okta.url(), entra.url());
    let file = format!("[provider.okta]\nupstream = \"{first}\"\n[provider.entra]\nupstream = \"{second}\"\n");
    let file = ConfigFile::new(&file);
    let (several, alone) = (file.serve(&[]).await, Daemon::start(&okta, &[]).await);

    for path in ["/okta/token", "/entra/token", "/entra/token"] {
        assert_eq!(several.post_to(path, &refresh(&unique("r"))).await.status(), 200);
    }
    assert_eq!(alone.post(&refresh("r")).await.status(), 200);
    let (of_several, of_alone) = (several.get("/metrics").await.1, alone.get("/metrics").await.1);

    for line in [
        r#"refreshd_led_total{provider="okta"} 1"#,
        r#"refreshd_led_total{provider="entra"} 2"#,
        r#"refreshd_flights{provider="okta"} 0"#,
        r#"refreshd_permits_out{provider="entra"} 0"#,
        r#"refreshd_circuit_state{provider="okta",state="closed"} 1"#,
        r#"refreshd_requests_total{provider="entra",served="led",status="2xx"} 2"#,
        r#"refreshd_request_seconds_count{provider="okta",served="led",status="2xx"} 1"#,
    ] {
        assert!(of_several.lines().any(|told| told == line), "{line}: {of_several}");
    }
    assert!(of_alone.contains("\nrefreshd_led_total 1\n"), "{of_alone}");
    assert!(of_alone.contains(r#"refreshd_requests_total{served="led",status="2xx"} 1"#), "{of_alone}");
    assert!(!of_alone.contains("provider="), "{of_alone}");
}

#[tokio::test]
async fn readiness_is_that_of_all_providers_and_names_the_one_that_is_not() {
    let (redis, okta, entra) = (RedisServer::start_own(&[]).await, provider("okta").await, provider("entra").await);
    redis.cli(&["ACL", "SETUSER", "app", "on", "nopass", "~*", "&*", "+@all"]).await;
    let file = ConfigFile::new(&format!(
        "redis = \"redis://app@127.0.0.1:{}\"\n[provider.okta]\nupstream = \"{}\"\n[provider.entra]\nupstream = \"{}\"\n",
        redis.port(),
        okta.url(),
        entra.url()
    ));
    let daemon = file.serve(&["--store-timeout", "5s"]).await;
    assert_eq!(daemon.get("/readyz").await, (200, "ready\n".to_owned()));

    redis.cli(&["ACL", "SETUSER", "app", "resetkeys", "~rc:{okta}:*"]).await;
    let one = daemon.get("/readyz").await;
    redis.cli(&["ACL", "SETUSER", "app", "resetkeys"]).await;
    let none = daemon.get("/readyz").await;

    assert_eq!(one, (503, "not ready: the store is out of reach for entra\n".to_owned()));
    assert_eq!(none, (503, "not ready: the store is out of reach\n".to_owned()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn fifty_providers_take_no_more_connections_to_redis_than_one() {
    const PROVIDERS: usize = 50;
    /// Four for commands, one for the subscription.
    const CONNECTIONS: usize = 5;
    let redis = RedisServer::start_own(&[]).await;
    let (mut text, mut providers) = (format!("redis = \"{}\"\nstore-timeout = \"5s\"\n", redis.url()), Vec::new());
    for number in 0..PROVIDERS {
        let (name, provider) = (format!("p{number}"), provider(&format!("p{number}")).await);
        redis.in_use(&name).await;
        text += &format!("[provider.{name}]\nupstream = \"{}\"\n", provider.url());
        providers.push(provider);
    }
    redis.in_use("default").await;
    let one = ["--redis", redis.url(), "--store-timeout", "5s"];
    let began = Instant::now();
    let one = Daemon::start(&providers[0], &one).await;
    let started_one = began.elapsed();
    assert_eq!(one.post(&refresh("one")).await.status(), 200);
    redis.until_so(&["CLIENT", "LIST"], |list| connections(list) == CONNECTIONS).await;
    let memory_of_one = memory(&one);
    drop(one);
    redis.until_so(&["CLIENT", "LIST"], |list| connections(list) == 0).await;

    let file = ConfigFile::new(&text);
    let began = Instant::now();
    let fifty = Daemon::spawn_within(Duration::from_secs(300), file.command(&[])).await;
    let started_fifty = began.elapsed();
    for number in 0..PROVIDERS {
        assert_eq!(fifty.post_to(&format!("/p{number}/token"), &refresh("r")).await.status(), 200, "p{number}");
    }

    redis.until_so(&["CLIENT", "LIST"], |list| connections(list) == CONNECTIONS).await;
    assert!(providers[1..].iter().all(|provider| provider.seen().len() == 1));
    println!("one provider: listening after {started_one:?}, {memory_of_one} KiB");
    println!("{PROVIDERS} providers: listening after {started_fifty:?}, {} KiB", memory(&fifty));
}
