//! What `/metrics` tells of the time that providers and Redis take, and of the connections to both.

use std::collections::BTreeSet;

use crate::daemon::{Daemon, refresh};
use crate::promtool;
use crate::provider::{Provider, json};
use crate::redis::RedisServer;
use crate::several::{ConfigFile, provider, text};

/// The value of a line.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().expect("a number")
}

#[tokio::test]
async fn what_providers_and_redis_took_is_told_for_each_provider_under_one_prefix() {
    let redis = RedisServer::start_own(&[]).await;
    for namespace in ["okta", "entra"] {
        redis.in_use(namespace).await;
    }
    let okta = provider("okta").await;
    let entra = Provider::start(|_| async { json(400, r#"{"error":"invalid_grant"}"#) }).await;
    let file = ConfigFile::new(&format!(
        "redis = \"{}\"\n[provider.okta]\nupstream = \"{}\"\n[provider.entra]\nupstream = \"{}\"\n",
        redis.url(),
        okta.url(),
        entra.url()
    ));
    let daemon = file.serve(&[]).await;
    let untouched = daemon.get("/metrics").await.1;
    assert_eq!(value(&untouched, r#"refreshd_provider_connections{provider="okta"}"#), 0.0);
    promtool::check(&untouched);

    let (served, _) = text(daemon.post_to("/okta/token", &refresh("r1")).await).await;
    let (refused, _) = text(daemon.post_to("/entra/token", &refresh("r2")).await).await;
    let metrics = daemon.get("/metrics").await.1;

    assert_eq!((served, refused), (200, 400));
    for (line, expected) in [
        (r#"refreshd_provider_seconds_count{provider="okta",class="success"}"#, 1.0),
        (r#"refreshd_provider_seconds_count{provider="okta",class="denied"}"#, 0.0),
        (r#"refreshd_provider_seconds_count{provider="entra",class="denied"}"#, 1.0),
        (r#"refreshd_redis_seconds_count{provider="okta",call="complete"}"#, 1.0),
        (r#"refreshd_wait_seconds_count{provider="okta",role="led"}"#, 1.0),
        (r#"refreshd_leases_lost_total{provider="okta"}"#, 0.0),
        (r#"refreshd_taken_over_total{provider="entra"}"#, 0.0),
        (r#"refreshd_provider_connections{provider="okta"}"#, 1.0),
    ] {
        assert_eq!(value(&metrics, line), expected, "{line}: {metrics}");
    }
    assert!(value(&metrics, r#"refreshd_provider_seconds_sum{provider="okta",class="success"}"#) > 0.0, "{metrics}");
    assert!(value(&metrics, r#"refreshd_redis_seconds_sum{provider="entra",call="begin"}"#) > 0.0, "{metrics}");
    // Finer than that of the provider: Redis mostly answers within the first of those.
    assert!(
        metrics.contains(r#"refreshd_redis_seconds_bucket{provider="okta",call="begin",le="0.00025"}"#),
        "{metrics}"
    );
    // A call may run for longer than any caller waits.
    assert!(
        metrics.contains(r#"refreshd_provider_seconds_bucket{provider="okta",class="success",le="120"}"#),
        "{metrics}"
    );
    // They are shared by all providers: four for commands, and the subscription.
    assert_eq!(value(&metrics, "refreshd_redis_connections"), 5.0, "{metrics}");
    let families: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.iter().all(|family| family.starts_with("refreshd_")), "{families:?}");
    promtool::check(&metrics);
}

#[tokio::test]
async fn alerts_and_scrape_of_the_page_are_such_as_prometheus_takes_and_of_metrics_that_are_there() {
    let page = include_str!("../../../docs/production.md");
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [scrape, rules] = blocks[..] else { panic!("{blocks:?}") };
    let provider = provider("okta").await;
    let daemon = Daemon::start(&provider, &[]).await;
    daemon.post(&refresh("r1")).await;

    let metrics = daemon.get("/metrics").await.1;

    promtool::check_file("config", scrape);
    promtool::check_file("rules", rules);
    let expressions: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let is_of_name = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let words = expressions.iter().flat_map(|expression| expression.split(|letter| !is_of_name(letter)));
    let names: BTreeSet<_> = words.filter(|word| word.starts_with("refreshd_")).collect();
    assert!(expressions.len() == 3 && names.len() == 3, "{expressions:?}");
    assert!(names.iter().all(|name| metrics.contains(&format!("# TYPE {name} "))), "{names:?}: {metrics}");
}
