//! With the feature `metrics` what coordinators count reaches the recorder of the process, as Prometheus would read it.

use metrics_exporter_prometheus::PrometheusBuilder;
use refresh_coordinator::{Config, Metrics, ProviderFailure, Refresh, RefreshCoordinator, TokenResponse};

fn lines(name: &str, help: &str, value: u64) -> String {
    let name = format!("refresh_coordinator_{name}_total");
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
}

/// A process has one recorder, so this file has one test.
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
