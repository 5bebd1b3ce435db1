//! `refreshd serve`: the token endpoint, from the first check to the last answer.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderName;
use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
use refresh_coordinator_cli::{BadSetting, Settings, Span};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;
use crate::limits::Limits;
use crate::listener;
use crate::metrics::Metrics;
use crate::upstream::{Upstream, UpstreamSettings};

/// Serves a coordinating token endpoint in front of a provider.
///
/// Token requests are taken at POST /token and at the upstream's own path; /healthz, /readyz and /metrics tell how it
/// goes. SIGTERM drains. Every flag can be given by the environment, too.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_LISTEN", default_value = "127.0.0.1:8400")]
    listen: String,
    /// Refuse everything but grant_type=refresh_token, instead of passing it on
    #[arg(long, env = "REFRESHD_ONLY_REFRESH")]
    only_refresh: bool,
    /// Every caller that reaches this endpoint is entitled: share answers also among requests that authenticate by
    /// client_assertion, which cannot be compared
    #[arg(long, env = "REFRESHD_TRUST_CALLERS")]
    trust_callers: bool,
    /// The header with a stable, authenticated session id, set by the gateway that stands in front
    /// [default: every token is a session of its own]
    #[arg(long, value_name = "NAME", env = "REFRESHD_SESSION_HEADER")]
    session_header: Option<HeaderName>,
    /// How long requests that are under way at SIGTERM may take to end; what is given up then is completed within
    /// three times --store-timeout
    #[arg(long, value_name = "TIME", env = "REFRESHD_DRAIN", default_value = "25s")]
    drain: Span,
    #[command(flatten)]
    upstream: UpstreamSettings,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Checks everything, then listens, until a signal; then drains.
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        self.limits.validate()?;
        let mut config = self.settings.config()?;
        let redis = self.settings.redis()?;
        let upstream = self.upstream.build(&config)?;
        config.upstream = Some(upstream.name());
        let namespace = config.namespace.clone();
        let signals = Signals::listen()?;
        self.upstream.check(&upstream).await?;
        let coordinator = match &redis {
            Some(url) => RefreshCoordinator::connect(url.expose(), config).await?,
            None => RefreshCoordinator::in_memory(config)?,
        };
        // Last: a caller that can connect is served.
        let listener = match listener::bind(&self.listen).await {
            Ok(listener) => listener,
            Err(taken) => {
                coordinator.close(Duration::ZERO).await;
                return Err(taken);
            }
        };

        let address = listener.local_addr().map_or_else(|_| self.listen.clone(), |address| address.to_string());
        let (host, port) = upstream.address();
        if upstream.is_in_clear() {
            tracing::warn!(host, "the upstream is http://: tokens and secrets cross the network in clear");
        }
        if redis.is_none() {
            tracing::info!("no --redis: the store is embedded, and this process coordinates with no other");
        }
        let store = if redis.is_some() { "redis" } else { "embedded" };
        tracing::info!(address, host, port, path = upstream.path(), store, namespace, "listening");

        self.serve(listener, coordinator, upstream, signals).await;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        coordinator: RefreshCoordinator,
        upstream: Upstream,
        mut signals: Signals,
    ) {
        let options = ExchangeOptions {
            only_refresh: self.only_refresh,
            trust_callers: self.trust_callers,
            session_header: self.session_header.clone(),
        };
        let endpoint = Arc::new(Endpoint {
            exchange: TokenExchange::new(coordinator.clone(), options),
            upstream: Arc::new(upstream),
            coordinator: coordinator.clone(),
            metrics: Metrics::start(),
            limits: self.limits.clone(),
            is_draining: AtomicBool::new(false),
        });
        let stop = CancellationToken::new();
        let accepting = listener::serve(listener, Arc::clone(&endpoint), &self.limits, stop.clone());
        let stopping = async {
            let name = tokio::select! {
                name = signals.next() => name,
                () = endpoint.metrics.keep_small() => unreachable!("BUG: it never ends"),
                () = endpoint.upstream.close_idle() => unreachable!("BUG: it never ends"),
            };
            tracing::info!(signal = name, deadline = %self.drain, "draining");
            endpoint.is_draining.store(true, Ordering::Relaxed);
            stop.cancel();
        };
        let (open, ()) = tokio::join!(accepting, stopping);

        let connections = tokio::time::timeout(self.drain.0, open.shutdown());
        // Together: callers are answered as their flights end, and flights end also without callers.
        let drained = async { tokio::join!(connections, coordinator.close(self.drain.0)).0 };
        tokio::select! {
            drained = drained => match drained {
                Ok(()) => tracing::info!("drained"),
                Err(_) => tracing::warn!("the deadline is over, connections are cut"),
            },
            name = signals.next() => tracing::warn!(signal = name, "signalled again, not waiting any longer"),
        }
    }
}

/// SIGTERM and SIGINT, listened to from before the first connection on.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, BadSetting> {
        let listen =
            |kind| signal(kind).map_err(|error| BadSetting::new(format!("signals cannot be listened to: {error}")));
        Ok(Self { term: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
