//! One caller cannot harm another: daemons over a real Redis, attacked by callers that made their requests up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::daemon::Daemon;
use crate::provider::{Provider, Seen, json};
use crate::redis::RedisServer;
use crate::rules::PATIENT;

/// 500 to a NUL, as django-oauth-toolkit has it; 401 to a wrong secret; else it rotates.
async fn fragile() -> Provider {
    Provider::start(async |seen: Seen| {
        if seen.body.contains("%00") {
            return json(500, "");
        } else if seen.body.contains("client_secret=wrong") {
            return json(401, r#"{"error":"invalid_client"}"#);
        }
        let token = seen.body.split('&').find_map(|pair| pair.strip_prefix("refresh_token=")).unwrap_or_default();
        json(200, &format!(r#"{{"access_token":"for {token}","refresh_token":"after-{token}","expires_in":300}}"#))
    })
    .await
}

fn owner(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}&client_id=app&client_secret=right")
}

async fn pair(provider: &Provider, redis: &RedisServer, more: &[&str]) -> [Arc<Daemon>; 2] {
    pair_in(&format!("strangers-{}", uuid::Uuid::new_v4()), provider, redis, more).await
}

async fn pair_in(namespace: &str, provider: &Provider, redis: &RedisServer, more: &[&str]) -> [Arc<Daemon>; 2] {
    redis.in_use(namespace).await;
    let arguments = [&["--redis", redis.url(), "--namespace", namespace, PATIENT], more].concat();
    let pods = [Daemon::start(provider, &arguments).await, Daemon::start(provider, &arguments).await];
    for (number, pod) in pods.iter().enumerate() {
        assert_eq!(pod.post(&owner(&format!("first-{number}"))).await.status(), 200);
    }
    pods.map(Arc::new)
}

/// Made-up requests that the provider fails at, 200 a second, at both daemons. A known client's sessions, as many, see
/// nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_requests_that_the_provider_fails_at_refuse_no_known_caller() {
    const EACH: usize = 1000;
    let (provider, redis) = (fragile().await, RedisServer::start().await);
    let pods = pair(&provider, &redis, &[]).await;
    let (mut honest, mut made_up) = (JoinSet::new(), JoinSet::new());

    for number in 0..EACH {
        let (pod, other) = (Arc::clone(&pods[number % 2]), Arc::clone(&pods[(number / 2) % 2]));
        made_up.spawn(async move {
            let body = format!("grant_type=refresh_token&refresh_token=x{number}&client_id=a%00{number}");
            other.post(&body).await.status().as_u16()
        });
        honest.spawn(async move { pod.post(&owner(&format!("t{number}"))).await.status().as_u16() });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = honest.join_all().await;
    let strangers = made_up.join_all().await;

    let refused = told.iter().filter(|status| **status != 200).count();
    println!(
        "{refused} of {EACH} refused; strangers: {} of {EACH} got a 500",
        strangers.iter().filter(|s| **s == 500).count()
    );
    assert_eq!(refused, 0);
}

fn owner_of(client: &str, token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}&client_id={client}&client_secret=right")
}

/// A client that has logged in, and whose requests the provider then answers with 500, as many as it likes. A hundred others see
/// nothing of it, whether they come all at once or one at a time, so that no success of theirs stands between its failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_client_whose_requests_the_provider_answers_with_500_refuses_no_other_client() {
    let provider = Provider::start(async |seen: Seen| {
        let is_hostile = seen.body.contains("client_id=hostile") && !seen.body.contains("first");
        json(if is_hostile { 500 } else { 200 }, r#"{"access_token":"a","refresh_token":"b","expires_in":300}"#)
    })
    .await;
    let redis = RedisServer::start().await;
    let pods = pair(&provider, &redis, &[]).await;
    for (number, pod) in pods.iter().enumerate() {
        assert_eq!(pod.post(&owner_of("hostile", &format!("first-of-hostile-{number}"))).await.status(), 200);
    }
    let attack = async |pod: &Daemon, wave: &str| {
        let mut told = Vec::new();
        for number in 0..5 {
            told.push(pod.post(&owner_of("hostile", &format!("{wave}-{number}"))).await.status().as_u16());
        }
        told
    };
    assert_eq!(attack(&pods[0], "before").await, [500, 500, 500, 503, 503], "it is left out itself");

    let mut honest = JoinSet::new();
    for number in 0..100 {
        let pod = Arc::clone(&pods[number % 2]);
        honest.spawn(async move {
            // Half of them are known, half come for the first time.
            let client = if number % 4 < 2 { "app".to_owned() } else { format!("client-{number}") };
            let body = owner_of(&client, &format!("t{number}"));
            pod.post(&body).await.status().as_u16()
        });
    }
    let at_once = honest.join_all().await;
    let mut rare = Vec::new();
    for number in 0..10 {
        attack(&pods[number % 2], &format!("wave-{number}")).await;
        rare.push(pods[(number + 1) % 2].post(&owner(&format!("rare-{number}"))).await.status().as_u16());
    }

    assert_eq!((at_once, rare), (vec![200; 100], vec![200; 10]));
}

/// Gives tokens to make a caller known, and fails for all others.
async fn is_down_after_the_first() -> Provider {
    Provider::start(async |seen: Seen| {
        let is_first = seen.body.contains("first");
        json(if is_first { 200 } else { 502 }, r#"{"access_token":"a","refresh_token":"b"}"#)
    })
    .await
}

/// A provider that is really down is found out by known callers, as soon as ever.
#[tokio::test]
async fn provider_that_fails_known_callers_is_left_in_peace() {
    let (provider, redis) = (is_down_after_the_first().await, RedisServer::start().await);
    let pods = pair(&provider, &redis, &[]).await;

    for number in 0..3 {
        assert_eq!(pods[0].post(&owner(&format!("t{number}"))).await.status(), 502);
    }

    assert_eq!(pods[1].post(&owner("t4")).await.status(), 503);
    assert_eq!(provider.seen().len(), 5);
}

/// The same where it is down for several clients: that one of them alone failed first costs no more than as many again.
#[tokio::test]
async fn provider_that_fails_all_clients_is_left_in_peace_by_all() {
    let (provider, redis) = (is_down_after_the_first().await, RedisServer::start().await);
    let pods = pair(&provider, &redis, &[]).await;
    for (number, pod) in pods.iter().enumerate() {
        assert_eq!(pod.post(&owner_of("other", &format!("first-of-other-{number}"))).await.status(), 200);
    }
    let before = provider.seen().len();

    let mut told = Vec::new();
    for number in 0..10 {
        let client = if number < 5 { "app" } else { "other" };
        told.push(pods[number % 2].post(&owner_of(client, &format!("t{number}"))).await.status().as_u16());
    }

    assert_eq!(told, [502, 502, 502, 503, 503, 502, 502, 502, 503, 503]);
    assert_eq!(provider.seen().len() - before, 6);
    for client in ["app", "other", "third"] {
        assert_eq!(pods[0].post(&owner_of(client, "later")).await.status(), 503, "{client}");
    }
}

/// Where nobody is known, nobody can be told from a stranger: made-up requests open the circuit as soon as ever, and the first
/// owner that gets through closes it. From then on they move nothing.
#[tokio::test]
async fn while_nobody_is_known_made_up_requests_open_the_circuit_until_the_first_owner_gets_through() {
    let (provider, redis) = (fragile().await, RedisServer::start().await);
    let namespace = format!("strangers-{}", uuid::Uuid::new_v4());
    redis.in_use(&namespace).await;
    let more = ["--redis", redis.url(), "--namespace", &namespace, "--breaker-open-duration", "300ms"];
    let daemon = Daemon::start(&provider, &more).await;
    let made_up = async |number: usize| {
        let body = format!("grant_type=refresh_token&refresh_token=x{number}&client_id=a%00");
        daemon.post(&body).await.status().as_u16()
    };
    for number in 0..3 {
        assert_eq!(made_up(number).await, 500);
    }
    assert_eq!(made_up(3).await, 503);

    crate::wait::until("the owner is the probe", async || daemon.post(&owner("t")).await.status() == 200).await;

    for number in 4..12 {
        made_up(number).await;
        assert_eq!(daemon.post(&owner(&format!("t{number}"))).await.status(), 200);
    }
}

/// Made-up requests, 200 a second, whose callers leave at once, at a provider that takes its time for them, while there are four
/// permits. A known client's sessions are all served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_requests_whose_callers_leave_at_once_take_no_permit_from_known_callers() {
    const HONEST: usize = 75;
    let provider = Provider::start(async |seen: Seen| {
        if seen.body.contains("client_secret=wrong") {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return json(401, r#"{"error":"invalid_client"}"#);
        }
        json(200, r#"{"access_token":"a","refresh_token":"b","expires_in":300}"#)
    })
    .await;
    let redis = RedisServer::start().await;
    let pods = pair(&provider, &redis, &["--max-concurrent-refreshes", "4"]).await;
    let (mut honest, mut made_up) = (JoinSet::new(), JoinSet::new());

    for number in 0..4 * HONEST {
        let pod = Arc::clone(&pods[number % 2]);
        made_up.spawn(async move {
            let body =
                format!("grant_type=refresh_token&refresh_token=x{number}&client_id=app&client_secret=wrong{number}");
            _ = tokio::time::timeout(Duration::from_millis(10), pod.post(&body)).await;
        });
        if number % 4 == 0 {
            let pod = Arc::clone(&pods[(number / 4) % 2]);
            honest.spawn(async move { pod.post(&owner(&format!("t{number}"))).await.status().as_u16() });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = honest.join_all().await;
    made_up.join_all().await;

    let presented = provider.seen().iter().filter(|seen| seen.body.contains("wrong")).count();
    println!("{presented} of {} made-up requests were presented", 4 * HONEST);
    assert_eq!(told, [200; HONEST]);
}

/// A known client always has 200 refreshes under way, at a provider that takes its time for them, while there are four permits. A
/// session of another client waits for a permit or two, not for all that came before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_floods_the_fleet_delays_nobody_else() {
    const FLOOD: usize = 200;
    const HONEST: usize = 20;
    let provider = Provider::start(async |seen: Seen| {
        if seen.body.contains("client_id=flood") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        json(200, r#"{"access_token":"a","refresh_token":"b","expires_in":300}"#)
    })
    .await;
    let redis = RedisServer::start().await;
    let namespace = format!("flood-{}", uuid::Uuid::new_v4());
    let few = ["--max-concurrent-refreshes", "4", "--budget-wait", "30s"];
    let pods = pair_in(&namespace, &provider, &redis, &few).await;
    let flood =
        |token: &str| format!("grant_type=refresh_token&refresh_token={token}&client_id=flood&client_secret=right");
    for (number, pod) in pods.iter().enumerate() {
        assert_eq!(pod.post(&flood(&format!("known-{number}"))).await.status(), 200);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let mut flooding = JoinSet::new();
    for caller in 0..FLOOD {
        let (pod, is_over) = (Arc::clone(&pods[caller % 2]), Arc::clone(&is_over));
        flooding.spawn(async move {
            let mut told = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let body = flood(&format!("x{caller}-{}", told.len()));
                told.push(pod.post(&body).await.status().as_u16());
            }
            told
        });
    }
    // Each has asked, and all that have no permit queue.
    redis.until_queued(&format!("rc:{{{namespace}}}:queue"), FLOOD - 4).await;

    let served =
        |provider: &Provider| provider.seen().iter().filter(|seen| seen.body.contains("client_id=flood")).count();
    let mut most = 0;
    for number in 0..HONEST {
        let before = served(&provider);
        assert_eq!(pods[number % 2].post(&owner(&format!("t{number}"))).await.status(), 200);
        most = most.max(served(&provider) - before);
    }
    is_over.store(true, Ordering::SeqCst);

    println!("{HONEST} sessions waited for {most} refreshes of a flood at most, of which {} queued", FLOOD - 4);
    // In the order of arrival it would be all of these.
    assert!(most < (FLOOD - 4) / 2, "{most}");
    let told = flooding.join_all().await.concat();
    assert!(told.iter().all(|status| *status == 200), "{told:?}");
}

/// Under `never` a token that ended as unknown is over. A stranger that makes it end so ends nobody's session.
#[tokio::test]
async fn stranger_with_the_token_alone_logs_nobody_out() {
    let (provider, redis) = (fragile().await, RedisServer::start().await);
    let pods = pair(&provider, &redis, &["--uncertain", "never"]).await;
    for number in 0..10 {
        let body = format!("grant_type=refresh_token&refresh_token=t&client_id=app&client_secret=wrong%00{number}");
        assert_eq!(pods[0].post(&body).await.status(), 500);
    }

    assert_eq!(pods[1].post(&owner("t")).await.status(), 200);
}

/// A hundred wait with wrong secrets. At most the one that leads is presented before the owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_wrong_secrets_delay_the_owner_by_one_presentation() {
    let provider = Provider::start(async |seen: Seen| {
        if seen.body.contains("client_secret=wrong") {
            tokio::time::sleep(Duration::from_millis(150)).await;
            return json(401, r#"{"error":"invalid_client"}"#);
        }
        json(200, r#"{"access_token":"a","refresh_token":"b","expires_in":300}"#)
    })
    .await;
    let redis = RedisServer::start().await;
    let pods = pair(&provider, &redis, &[]).await;
    let mut wrong = JoinSet::new();
    for number in 0..100 {
        let pod = Arc::clone(&pods[number % 2]);
        let body = format!("grant_type=refresh_token&refresh_token=t&client_id=app&client_secret=wrong{number}");
        wrong.spawn(async move { pod.post(&body).await.status().as_u16() });
    }
    // Two were the first of the pair.
    provider.asked(4).await;
    let before = provider.seen().len();

    assert_eq!(pods[0].post(&owner("t")).await.status(), 200);

    let seen = provider.seen();
    let owners = seen.iter().position(|seen| seen.body == owner("t")).expect("it was presented");
    println!("{} were presented when the owner came, {owners} before it", before);
    // One led when it came, and one may have begun to before it was registered.
    assert!(owners <= before + 1, "{owners} presentations before the owner's, {before} when it came");
    wrong.abort_all();
}
