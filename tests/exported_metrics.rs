//! With the feature `metrics` what coordinators count reaches the recorder of the process, as Prometheus would read it.

mod support;

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use refresh_coordinator::{Config, Metrics, ProviderFailure, Refresh, RefreshCoordinator, TokenResponse};
use support::fleet::connect_to;
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use tokio::time::sleep;

const S: Duration = Duration::from_secs(1);

fn lines(name: &str, help: &str, value: u64) -> String {
    let name = format!("refresh_coordinator_{name}_total");
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
}

/// A process has one recorder, so no other test here installs one: theirs are those of a thread.
#[tokio::test]
async fn every_counter_reaches_the_recorder_of_the_process_added_up_over_its_coordinators() {
    let recorder = PrometheusBuilder::new().install_recorder().expect("nobody else installs one");
    let pods = [(); 2].map(|()| RefreshCoordinator::in_memory(Config::default()).expect("the defaults"));
    let none = recorder.render();
    for (name, _, help) in Metrics::default().iter() {
        assert!(none.contains(&lines(name, help, 0)), "{name} is not there before it is counted: {none}");
    }

    for pod in &pods {
        let tokens = r#"{"access_token":"a2","token_type":"Bearer","refresh_token":"r2"}"#;
        let call = move |_| async move { Ok(TokenResponse::from_json(tokens).expect("a token response")) };
        pod.refresh(Refresh::new("r1"), call).await.expect("tokens");
    }
    let refused = pods[0].refresh(Refresh::new("dead"), |_| async { Err(ProviderFailure::denied("invalid_grant")) });
    refused.await.expect_err("a dead token");

    let (one, other) = (pods[0].metrics(), pods[1].metrics());
    assert_eq!((one.successes, one.denied, other.led), (1, 1, 1));
    let rendered = recorder.render();
    for ((name, of_one, help), (_, of_other, _)) in one.iter().zip(other.iter()) {
        assert!(rendered.contains(&lines(name, help, of_one + of_other)), "{name}: {rendered}");
    }
}

/// What a histogram has: how often, and how many seconds in all.
fn timed(handle: &PrometheusHandle, name: &str, label: &str) -> (u64, f64) {
    let rendered = handle.render();
    let value = |part: &str| {
        let start = format!("refresh_coordinator_{name}_seconds_{part}{{{label}}} ");
        rendered.lines().find_map(|line| line.strip_prefix(&start)).map_or("0", str::trim).to_owned()
    };
    (value("count").parse().expect("a count"), value("sum").parse().expect("a sum"))
}

fn gauge(handle: &PrometheusHandle, name: &str) -> Option<String> {
    let rendered = handle.render();
    let start = format!("refresh_coordinator_{name} ");
    rendered.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
}

fn in_flight(handle: &PrometheusHandle) -> Option<String> {
    gauge(handle, "in_flight")
}

fn recorder_of_this_thread() -> (&'static PrometheusRecorder, PrometheusHandle) {
    // Leaked, because the guard of a thread's recorder borrows it across the whole test.
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let handle = recorder.handle();
    (recorder, handle)
}

#[tokio::test(start_paused = true)]
async fn what_callers_waited_and_the_provider_took_is_exported_in_seconds_by_role_and_class() {
    let (recorder, handle) = recorder_of_this_thread();
    let _of_this_thread = metrics::set_default_local_recorder(recorder);
    let config = Config::default().with_refresh_timeout(10 * S);
    let pod = RefreshCoordinator::in_memory(config).expect("possible settings");
    assert_eq!(in_flight(&handle).as_deref(), Some("0"), "it is there before anything flies");
    let ask = |token: &str, takes: Duration, answer: Result<TokenResponse, ProviderFailure>| {
        let (pod, refresh) = (pod.clone(), Refresh::new(token));
        tokio::spawn(async move {
            let call = move |_| async move {
                sleep(takes).await;
                answer
            };
            pod.refresh(refresh, call).await
        })
    };

    let leader = ask("r1", 3 * S, Ok(rotated("r1")));
    sleep(S).await;
    let joiner = ask("r1", S, Err(ProviderFailure::not_sent("it joins")));
    sleep(S).await;
    assert_eq!(in_flight(&handle).as_deref(), Some("1"));
    leader.await.expect("no panic").expect("tokens");
    joiner.await.expect("no panic").expect("tokens");
    ask("r1", S, Err(ProviderFailure::not_sent("it is late"))).await.expect("no panic").expect("the same tokens");
    let denied = ask("dead", 4 * S, Err(ProviderFailure::denied("invalid_grant")));
    denied.await.expect("no panic").expect_err("a dead token");
    ask("slow", 12 * S, Ok(rotated("slow"))).await.expect("no panic").expect_err("it takes too long");
    pod.close(60 * S).await;

    let waits = ["led", "joined_here", "latecomer", "refused", "joined_fleet"];
    let waited = waits.map(|role| timed(&handle, "wait", &format!("role=\"{role}\"")));
    assert_eq!(waited, [(2, 7.0), (1, 2.0), (1, 0.0), (1, 10.0), (0, 0.0)], "{}", handle.render());
    let classes = ["success", "denied", "not_sent"];
    let took = classes.map(|class| timed(&handle, "provider", &format!("class=\"{class}\"")));
    assert_eq!(took, [(2, 15.0), (1, 4.0), (0, 0.0)], "{}", handle.render());
    assert_eq!(in_flight(&handle).as_deref(), Some("0"));
}

#[tokio::test]
async fn what_redis_took_is_exported_by_call_and_a_pod_that_joins_completes_nothing() {
    let (recorder, handle) = recorder_of_this_thread();
    let _of_this_thread = metrics::set_default_local_recorder(recorder);
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let mut pods = Vec::new();
    for _ in 0..2 {
        pods.push(connect_to(redis.url(), &Config::default()).await);
    }
    let provider = Provider::held();

    let mut callers = Vec::new();
    for pod in pods.clone() {
        let call = provider.refresh("r1");
        callers.push(tokio::spawn(async move { pod.refresh(Refresh::new("r1"), call).await }));
        provider.asked(1).await;
    }
    support::wait::until("the other pod has joined", async || pods[1].metrics().joined_fleet == 1).await;
    provider.release(1);
    for caller in callers {
        caller.await.expect("no panic").expect("tokens");
    }

    let (begun, began_for) = timed(&handle, "redis", "call=\"begin\"");
    assert!(begun >= 2 && began_for > 0.0, "{}", handle.render());
    let (completed, completed_for) = timed(&handle, "redis", "call=\"complete\"");
    assert!(completed == 1 && completed_for > 0.0, "{}", handle.render());
    assert_eq!(timed(&handle, "wait", "role=\"joined_fleet\"").0, 1);
    for pod in pods {
        pod.close(10 * S).await;
    }
}

#[tokio::test]
async fn connections_to_redis_are_counted_as_long_as_they_stand() {
    let (recorder, handle) = recorder_of_this_thread();
    let _of_this_thread = metrics::set_default_local_recorder(recorder);
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let connections = || gauge(&handle, "redis_connections");
    assert_eq!(connections(), None);

    let pod = connect_to(redis.url(), &Config::default()).await;
    // Four for commands, and the subscription.
    support::wait::until("all of them stand", async || connections().as_deref() == Some("5")).await;
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    support::wait::until("the subscription is made again", async || pod.metrics().subscription_gaps > 0).await;
    support::wait::until("all of them stand again", async || connections().as_deref() == Some("5")).await;

    pod.close(10 * S).await;
    drop(pod);
    support::wait::until("none stands", async || connections().as_deref() == Some("0")).await;
}
