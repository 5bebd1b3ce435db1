//! How this pod and its fleet stand, for the person on call: one page, and the same as JSON. No token, session id or secret is in
//! it; flights have the names that logs give them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use refresh_coordinator::{CircuitState, LocalFlightSeen, Overview};
use serde::Serialize;

use crate::provider::Provider;
use crate::recent::{Recent, RecentRefusals};
use crate::survey::Surveyed;

pub(crate) mod page;

/// So many flights are shown, of all providers together, each of which has its share.
const FLIGHTS: usize = 200;
/// So many living pods are named of each namespace.
const PODS: usize = 100;

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    is_draining: bool,
    providers: Vec<ProviderStatus>,
}

/// What only the store knows is missing while that does not answer.
#[derive(Debug, Serialize)]
struct ProviderStatus {
    /// That of the file; none without one.
    name: Option<String>,
    /// Where the provider is asked, host and port.
    upstream: String,
    namespace: String,
    /// This pod's id in that namespace.
    pod: String,
    store: StoreStatus,
    circuit: Option<CircuitStatus>,
    permits: Permits,
    queue: Option<QueueStatus>,
    flights: Flights,
    refused: Refusals,
    /// The pods that count as living; none where the store is embedded.
    pods: Option<Pods>,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    kind: &'static str,
    is_reached: bool,
    /// Why it is not.
    reason: Option<String>,
    /// For how long nobody is given a lead yet.
    recovering_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CircuitStatus {
    state: &'static str,
    /// Open: until the first probe may go.
    retry_after_ms: Option<u64>,
    /// Open and half open: why it opened.
    reason: Option<&'static str>,
    /// Closed: failed flights in a row.
    failures: Option<u32>,
    /// Half open: how many probes are out.
    probes: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Permits {
    limit: u32,
    out: Option<u64>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    flights: u64,
    oldest_ms: Option<u64>,
}

/// Those of this pod, the oldest first.
#[derive(Debug, Serialize)]
struct Flights {
    count: usize,
    first: Vec<Flight>,
    more: usize,
}

#[derive(Debug, Serialize)]
struct Flight {
    name: Option<String>,
    role: &'static str,
    age_ms: u64,
}

#[derive(Debug, Serialize)]
struct Refusals {
    within_ms: u64,
    by_reason: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Pods {
    count: usize,
    first: Vec<String>,
    more: usize,
}

impl Status {
    pub(crate) fn new(surveyed: &[Surveyed], recent: &Recent, is_draining: bool) -> Self {
        let share = (FLIGHTS / surveyed.len().max(1)).max(1);
        let of = |one: &Surveyed| ProviderStatus::new(&one.provider, &one.overview, recent, share);
        Self { version: env!("CARGO_PKG_VERSION"), is_draining, providers: surveyed.iter().map(of).collect() }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("BUG: texts and numbers are JSON") + "\n"
    }
}

impl ProviderStatus {
    fn new(provider: &Arc<Provider>, overview: &Result<Overview, String>, recent: &Recent, share: usize) -> Self {
        let coordinator = &provider.coordinator;
        let (host, port) = {
            let upstream = provider.upstream.borrow();
            let (host, port) = upstream.address();
            (host.to_owned(), port)
        };
        let first = coordinator.local_flights(share);
        // A flight may end or begin between the two.
        let count = coordinator.in_flight().max(first.len());
        let known = overview.as_ref().ok();
        let RecentRefusals { within, by_reason } = recent.of(coordinator);
        Self {
            name: provider.name.as_deref().map(str::to_owned),
            upstream: format!("{host}:{port}"),
            namespace: provider.config.namespace.clone(),
            pod: coordinator.pod().to_owned(),
            store: StoreStatus {
                kind: if known.is_some_and(|known| known.pods.is_none()) { "embedded" } else { "redis" },
                is_reached: known.is_some(),
                reason: overview.as_ref().err().cloned(),
                recovering_ms: known.and_then(|known| known.recovering_for).map(ms),
            },
            circuit: known.map(|known| CircuitStatus::new(known.circuit)),
            permits: Permits {
                limit: provider.config.max_concurrent_refreshes,
                out: known.map(|known| known.permits_out),
            },
            queue: known.map(|known| QueueStatus { flights: known.queued, oldest_ms: known.oldest_queued.map(ms) }),
            flights: Flights { count, more: count - first.len(), first: first.into_iter().map(Flight::new).collect() },
            refused: Refusals { within_ms: ms(within), by_reason: by_reason.into_iter().collect() },
            pods: known.and_then(|known| known.pods.as_deref()).map(Pods::new),
        }
    }
}

impl CircuitStatus {
    fn new(circuit: CircuitState) -> Self {
        let none = Self { state: "unknown", retry_after_ms: None, reason: None, failures: None, probes: None };
        match circuit {
            CircuitState::Closed { failures } => Self { state: "closed", failures: Some(failures), ..none },
            CircuitState::Open { retry_after, reason } => {
                Self { state: "open", retry_after_ms: Some(ms(retry_after)), reason: Some(reason.word()), ..none }
            }
            CircuitState::HalfOpen { probes, reason } => {
                Self { state: "half_open", probes: Some(probes), reason: Some(reason.word()), ..none }
            }
            _ => none,
        }
    }
}

impl Flight {
    fn new(LocalFlightSeen { name, stage, age, .. }: LocalFlightSeen) -> Self {
        Self { name, role: stage.word(), age_ms: ms(age) }
    }
}

impl Pods {
    fn new(pods: &[String]) -> Self {
        let first = pods[..pods.len().min(PODS)].to_vec();
        Self { count: pods.len(), more: pods.len() - first.len(), first }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
