//! How the namespaces of all providers stand, in the text format of Prometheus: read at the scrape, and left out where the store
//! does not answer in time. An old value would look like one of now.

use std::fmt::{Display, Write};
use std::time::Duration;

use refresh_coordinator::{CircuitState, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};

use crate::survey::Surveyed;

/// A metric with what was read of it, a line for each provider.
struct Gauge {
    name: &'static str,
    help: &'static str,
    lines: String,
}

impl Gauge {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, lines: String::new() }
    }

    fn set(&mut self, labels: &Labels, value: impl Display) {
        let (name, labels) = (self.name, &labels.0);
        let _ = if labels.is_empty() {
            writeln!(self.lines, "{name} {value}")
        } else {
            writeln!(self.lines, "{name}{{{labels}}} {value}")
        };
    }
}

/// As they stand between the braces.
#[derive(Clone, Default)]
struct Labels(String);

impl Labels {
    /// None without a file: there is one provider, and it has no name.
    fn of(one: &Surveyed) -> Self {
        one.provider.name.as_deref().map_or_else(Self::default, |name| Self::default().with("provider", name))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = write!(self.0, "{comma}{name}=\"{value}\"");
        self
    }
}

/// All of them. A metric of which nothing is known is not there.
pub(crate) fn text(surveyed: &[Surveyed]) -> String {
    let mut reached = Gauge::new("refreshd_store_reached", "Whether the store answered within the time of a scrape.");
    let mut circuit = Gauge::new(
        "refreshd_circuit_state",
        "1 for the state that the circuit of the fleet is in, 0 for the others: closed, open, half_open. Open and half_open may be of \
         one client alone, which the log names.",
    );
    let mut opens = Gauge::new(
        "refreshd_circuit_open_seconds",
        "For how long an open circuit lets nobody lead yet, of one client or of all; 0 where it is not open.",
    );
    let mut out = Gauge::new("refreshd_permits_out", "Permits that are out in the fleet.");
    let mut limit = Gauge::new("refreshd_permits_limit", "How many permits there are (max_concurrent_refreshes).");
    let mut queued = Gauge::new("refreshd_queue_flights", "Flights of the fleet that wait for a permit.");
    let mut oldest = Gauge::new(
        "refreshd_queue_oldest_seconds",
        "How long the flight has waited that waits longest; 0 where none does.",
    );
    let mut recovering = Gauge::new(
        "refreshd_store_recovering_seconds",
        "For how long nobody is given a lead yet, because Redis may have lost writes; 0 where it has not.",
    );
    let mut pods = Gauge::new("refreshd_pods", "Pods that count as living in the namespace.");
    let mut info = Gauge::new("refreshd_config_info", "Always 1; the labels tell the settings that decide most.");
    for one in surveyed {
        let labels = Labels::of(one);
        let config = &one.provider.config;
        limit.set(&labels, config.max_concurrent_refreshes);
        reached.set(&labels, u8::from(one.overview.is_ok()));
        info.set(&config_labels(&labels, config), 1);
        let Ok(overview) = &one.overview else { continue };
        let (state, open_for) = match overview.circuit {
            CircuitState::Closed { .. } => ("closed", Duration::ZERO),
            CircuitState::Open { retry_after, .. } => ("open", retry_after),
            CircuitState::HalfOpen { .. } => ("half_open", Duration::ZERO),
            _ => ("unknown", Duration::ZERO),
        };
        for word in ["closed", "half_open", "open"] {
            circuit.set(&labels.clone().with("state", word), u8::from(state == word));
        }
        opens.set(&labels, open_for.as_secs_f64());
        out.set(&labels, overview.permits_out);
        queued.set(&labels, overview.queued);
        oldest.set(&labels, overview.oldest_queued.unwrap_or_default().as_secs_f64());
        recovering.set(&labels, overview.recovering_for.unwrap_or_default().as_secs_f64());
        if let Some(living) = &overview.pods {
            pods.set(&labels, living.len());
        }
    }
    let mut text = String::new();
    for Gauge { name, help, lines } in [reached, circuit, opens, out, limit, queued, oldest, recovering, pods, info] {
        if !lines.is_empty() {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{lines}\n");
        }
    }
    text
}

/// Settings that pods of a namespace should have in common; times in ms.
fn config_labels(labels: &Labels, config: &refresh_coordinator::Config) -> Labels {
    let ms = |span: Duration| span.as_millis().to_string();
    let outage = match config.on_store_outage {
        OnStoreOutage::Reject => "reject",
        OnStoreOutage::Local => "local",
        _ => "another",
    };
    let uncertain = match config.uncertain {
        Uncertain::Retry => "retry",
        Uncertain::Never => "never",
        _ => "another",
    };
    let tokens = match config.refresh_tokens {
        RefreshTokens::SingleUse => "single_use",
        RefreshTokens::Reusable => "reusable",
        _ => "another",
    };
    let other_claims = match config.other_claims {
        OtherClaims::Follow => "follow",
        OtherClaims::Refuse => "refuse",
        _ => "another",
    };
    let labels = labels.clone().with("namespace", &config.namespace).with("lease_ms", &ms(config.lease));
    let labels = labels.with("keep_outcome_ms", &ms(config.keep_outcome));
    labels
        .with("on_store_outage", outage)
        .with("uncertain", uncertain)
        .with("refresh_tokens", tokens)
        .with("other_claims", other_claims)
}
