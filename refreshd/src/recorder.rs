//! Where measurements go: to the one recorder of the process, under one prefix, and under the name of the provider that they
//! belong to.
//!
//! The library measures for any process, and knows nothing of this one's providers. What it registers while a provider is opened is
//! given that provider's label here, so nothing is measured a second time.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::OnceLock;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use metrics_exporter_prometheus::PrometheusRecorder;

static PROMETHEUS: OnceLock<PrometheusRecorder> = OnceLock::new();

/// Begins to record.
///
/// # Panics
///
/// When it has begun already.
pub(crate) fn install(prometheus: PrometheusRecorder) {
    let prometheus = PROMETHEUS.get_or_init(|| prometheus);
    metrics::set_global_recorder(Named { prometheus, provider: None }).expect("BUG: metrics are started once");
}

/// What is registered within belongs to this provider, if it has a name.
pub(crate) fn of_provider<T>(provider: Option<&str>, within: impl FnOnce() -> T) -> T {
    match (PROMETHEUS.get(), provider) {
        (Some(prometheus), Some(provider)) => {
            let provider = Some(Label::new("provider", SharedString::from(provider.to_owned())));
            with_local_recorder(&Named { prometheus, provider }, within)
        }
        _ => within(),
    }
}

/// The same, of what is awaited.
pub(crate) async fn awaited_of_provider<F: Future>(provider: Option<&str>, within: F) -> F::Output {
    let mut within = pin!(within);
    poll_fn(|context| of_provider(provider, || within.as_mut().poll(context))).await
}

struct Named {
    prometheus: &'static PrometheusRecorder,
    provider: Option<Label>,
}

impl Named {
    /// As it is recorded here. What each request registers anew is so already.
    fn key<'a>(&self, key: &'a Key) -> Cow<'a, Key> {
        if self.provider.is_none() && !key.name().starts_with(OF_THE_LIBRARY) {
            return Cow::Borrowed(key);
        }
        let labels = self.provider.iter().chain(key.labels()).cloned();
        Cow::Owned(Key::from_parts(own_name(key.name()), labels.collect::<Vec<_>>()))
    }

    fn name(name: &KeyName) -> KeyName {
        KeyName::from(own_name(name.as_str()))
    }
}

const OF_THE_LIBRARY: &str = "refresh_coordinator_";

/// What the library measures is called here as what refreshd measures itself.
fn own_name(name: &str) -> String {
    match name.strip_prefix(OF_THE_LIBRARY) {
        Some("in_flight") => "refreshd_flights".to_owned(),
        Some(rest) => format!("refreshd_{rest}"),
        None => name.to_owned(),
    }
}

impl Recorder for Named {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_counter(Self::name(&name), unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_gauge(Self::name(&name), unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_histogram(Self::name(&name), unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.prometheus.register_counter(&self.key(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.prometheus.register_gauge(&self.key(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.prometheus.register_histogram(&self.key(key), metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_measured_has_one_prefix() {
        assert_eq!(own_name("refresh_coordinator_led_total"), "refreshd_led_total");
        assert_eq!(own_name("refresh_coordinator_in_flight"), "refreshd_flights");
        assert_eq!(own_name("refreshd_connections"), "refreshd_connections");
    }
}
