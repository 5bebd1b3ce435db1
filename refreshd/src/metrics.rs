//! Metrics in the text format of Prometheus. No label holds a token, a hash, a client or a session.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use metrics::{Gauge, Label, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use refresh_coordinator::RefreshCoordinator;

use crate::{logs, recorder};

/// From an outcome that is there already to a provider that takes as long as it may.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Beyond these: a call to the provider may run for longer than its callers wait.
const PROVIDER_SECONDS: [f64; 2] = [60.0, 120.0];

/// What one round trip takes, up to what a call to the store may.
const REDIS_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

pub(crate) const CUT: &str = "refreshd_connections_cut_total";
pub(crate) const NO_TLS: &str = "refreshd_tls_handshakes_failed_total";
pub(crate) const REFUSED: &str = "refreshd_connections_refused_total";
const LINES_LEFT_OUT: &str = "refreshd_log_lines_left_out_total";
const PROVIDER_CONNECTIONS: &str = "refreshd_provider_connections";
pub(crate) const TLS_CERTIFICATE_END: &str = "refreshd_tls_certificate_end_timestamp_seconds";
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
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full("refreshd_redis_seconds".to_owned()), &REDIS_SECONDS)
            })
            .and_then(|builder| {
                let seconds = [&SECONDS[..], &PROVIDER_SECONDS].concat();
                builder.set_buckets_for_metric(Matcher::Full("refreshd_provider_seconds".to_owned()), &seconds)
            })
            .expect("BUG: there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        recorder::install(recorder);
        metrics::describe_counter!(
            "refreshd_requests_total",
            "Token and revocation requests answered, by how, and by status class."
        );
        metrics::describe_histogram!(
            "refreshd_request_seconds",
            "Time from a token or revocation request to its answer."
        );
        metrics::describe_gauge!("refreshd_connections", "Connections of callers that are open.");
        metrics::describe_counter!(
            CUT,
            "Connections that waited for their callers and were cut, to make way or at the end."
        );
        metrics::describe_counter!(
            REFUSED,
            "Connections that got no place, from addresses with too many or at the end."
        );
        metrics::describe_counter!(LINES_LEFT_OUT, "Lines of the log that were left out because stderr took none.");
        metrics::describe_counter!(
            NO_TLS,
            "Connections that did not come to speak TLS (--tls-cert), or showed no certificate that counts."
        );
        metrics::counter!(CUT).absolute(0);
        metrics::counter!(NO_TLS).absolute(0);
        metrics::counter!(REFUSED).absolute(0);
        metrics::describe_gauge!(PROVIDER_CONNECTIONS, "Connections to the provider that are open, idle ones too.");
        metrics::describe_gauge!(
            CERTIFICATE_ENDS,
            "When a certificate of the way to Redis ends, in seconds since 1970; the label tells of which party it is."
        );
        metrics::describe_gauge!(
            TLS_CERTIFICATE_END,
            "When the certificate that callers are shown ends (--tls-cert), in seconds since 1970."
        );
        metrics::describe_gauge!("refreshd_build_info", "Always 1; the label tells the version.");
        metrics::gauge!("refreshd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self { recorder: handle }
    }

    /// Folds away what was measured, so that memory does not grow where nobody scrapes. Never ends.
    pub(crate) async fn keep_small(&self) {
        let mut often = tokio::time::interval(Duration::from_secs(5));
        loop {
            often.tick().await;
            self.recorder.run_upkeep();
        }
    }

    /// All metrics of the process, those of its coordinators included, and what was read for this scrape. In the same order at
    /// each.
    pub(crate) fn render<'a>(
        &self,
        coordinators: impl Iterator<Item = &'a RefreshCoordinator>,
        read_now: &str,
    ) -> String {
        for coordinator in coordinators {
            // The same for all: they share the way to Redis.
            for (party, end) in coordinator.redis_certificate_ends() {
                let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                metrics::gauge!(CERTIFICATE_ENDS, "of" => party).set(end.as_secs_f64());
            }
        }
        metrics::counter!(LINES_LEFT_OUT).absolute(logs::left_out());
        in_order(&(self.recorder.render() + read_now))
    }
}

/// Metrics by their names, and of each the lines by their labels; those of a histogram stay as they are. The recorder has them in
/// another order in each process.
fn in_order(text: &str) -> String {
    let mut metrics: Vec<String> = text.split("\n\n").filter(|metric| !metric.trim().is_empty()).map(sorted).collect();
    metrics.sort_unstable();
    metrics.join("\n") + "\n"
}

/// One metric, its comments first.
fn sorted(metric: &str) -> String {
    let (comments, mut lines): (Vec<_>, Vec<_>) = metric.lines().partition(|line| line.starts_with('#'));
    if !comments.iter().any(|line| line.starts_with("# TYPE ") && line.ends_with(" histogram")) {
        lines.sort_unstable();
    }
    comments.into_iter().chain(lines).flat_map(|line| [line, "\n"]).collect()
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

/// The connections to a provider.
#[derive(Debug)]
pub(crate) struct ProviderConnections(Gauge);

impl ProviderConnections {
    pub(crate) fn none_yet() -> Self {
        let gauge = metrics::gauge!(PROVIDER_CONNECTIONS);
        // Seen before one is opened.
        gauge.increment(0.0);
        Self(gauge)
    }

    /// One more, until what this answers is dropped.
    pub(crate) fn opened(&self) -> OpenToProvider {
        self.0.increment(1.0);
        OpenToProvider(self.0.clone())
    }
}

/// An open connection to a provider.
#[derive(Debug)]
pub(crate) struct OpenToProvider(Gauge);

impl Drop for OpenToProvider {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stand_by_their_names_and_buckets_in_the_order_of_their_bounds() {
        let one = "# HELP b B.\n# TYPE b counter\nb{p=\"2\"} 1\nb{p=\"1\"} 2\n\n";
        let other =
            "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"5\"} 1\na_bucket{le=\"10\"} 1\na_sum 4\na_count 1\n\n";

        let ordered = in_order(&(one.to_owned() + other));

        let b = "# HELP b B.\n# TYPE b counter\nb{p=\"1\"} 2\nb{p=\"2\"} 1\n";
        assert_eq!(ordered, format!("{}\n{b}\n", &other[..other.len() - 1]));
    }
}
