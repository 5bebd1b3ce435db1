//! Metrics in the text format of Prometheus. No label holds a token, a hash, a client or a session.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use metrics::{Label, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use refresh_coordinator::RefreshCoordinator;

use crate::logs;

/// From an outcome that is there already to a provider that takes as long as it may.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

pub(crate) const CUT: &str = "refreshd_connections_cut_total";
pub(crate) const REFUSED: &str = "refreshd_connections_refused_total";
const LINES_LEFT_OUT: &str = "refreshd_log_lines_left_out_total";
const CERTIFICATE_ENDS: &str = "refreshd_redis_certificate_end_timestamp_seconds";

/// Counts in this process, and writes down what was counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    recorder: PrometheusHandle,
}

impl Metrics {
    /// Counts from now on, for the whole process.
    pub(crate) fn start() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .expect("BUG: there are buckets")
            .install_recorder()
            .expect("BUG: metrics are started once");
        metrics::describe_counter!("refreshd_requests_total", "Token requests answered, by how, and by status class.");
        metrics::describe_histogram!("refreshd_request_seconds", "Time from a token request to its answer.");
        metrics::describe_gauge!("refreshd_connections", "Connections of callers that are open.");
        metrics::describe_counter!(
            CUT,
            "Connections that waited for their callers and were cut, to make way or at the end."
        );
        metrics::describe_counter!(REFUSED, "Connections closed at once, from addresses with too many.");
        metrics::describe_counter!(LINES_LEFT_OUT, "Lines of the log that were left out because stderr took none.");
        metrics::counter!(CUT).absolute(0);
        metrics::counter!(REFUSED).absolute(0);
        metrics::describe_gauge!("refreshd_flights", "Flights this pod has under way, leading or waiting.");
        metrics::describe_gauge!(
            CERTIFICATE_ENDS,
            "When a certificate of the way to Redis ends, in seconds since 1970; the label tells of which party it is."
        );
        metrics::describe_gauge!("refreshd_build_info", "Always 1; the label tells the version.");
        metrics::gauge!("refreshd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self { recorder }
    }

    /// Folds away what was measured, so that memory does not grow where nobody scrapes. Never ends.
    pub(crate) async fn keep_small(&self) {
        let mut often = tokio::time::interval(Duration::from_secs(5));
        loop {
            often.tick().await;
            self.recorder.run_upkeep();
        }
    }

    /// All metrics of the process, those of each coordinator included, under the name of its provider where it has one.
    pub(crate) fn render<'a>(
        &self,
        coordinators: impl Iterator<Item = (Option<&'a SharedString>, &'a RefreshCoordinator)>,
    ) -> String {
        for (provider, coordinator) in coordinators {
            for (name, count, help) in coordinator.metrics().iter() {
                let name = format!("refresh_coordinator_{name}_total");
                metrics::describe_counter!(name.clone(), help);
                metrics::counter!(name, labels_of(provider)).absolute(count);
            }
            metrics::gauge!("refreshd_flights", labels_of(provider)).set(coordinator.in_flight() as f64);
            // The same for all: they share the way to Redis.
            for (party, end) in coordinator.redis_certificate_ends() {
                let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                metrics::gauge!(CERTIFICATE_ENDS, "of" => party).set(end.as_secs_f64());
            }
        }
        metrics::counter!(LINES_LEFT_OUT).absolute(logs::left_out());
        self.recorder.render()
    }
}

/// None without a file: there is one provider, and it has no name.
fn labels_of(provider: Option<&SharedString>) -> Vec<Label> {
    provider.map(|name| Label::new("provider", name.clone())).into_iter().collect()
}

/// Counts a token request that was answered, for this provider where it has a name.
pub(crate) fn answered(provider: Option<&SharedString>, served: &'static str, status: StatusCode, time: Duration) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let mut labels = labels_of(provider);
    labels.extend([Label::from_static_parts("served", served), Label::from_static_parts("status", class)]);
    metrics::counter!("refreshd_requests_total", labels.clone()).increment(1);
    metrics::histogram!("refreshd_request_seconds", labels).record(time);
}

/// An open connection, counted until it is dropped.
pub(crate) struct Connection(());

impl Connection {
    pub(crate) fn open() -> Self {
        metrics::gauge!("refreshd_connections").increment(1.0);
        Self(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        metrics::gauge!("refreshd_connections").decrement(1.0);
    }
}
