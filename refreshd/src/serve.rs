//! `refreshd serve`: the token endpoint, from the first check to the last answer.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderName;
use hyper_util::server::graceful::GracefulShutdown;
use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
use refresh_coordinator::{Config, RefreshCoordinator, RefreshTokens};
use refresh_coordinator_cli::{BadSetting, Settings, Span};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;

use crate::callers::Callers;
use crate::endpoint::{Endpoint, Port};
use crate::files;
use crate::limits::Limits;
use crate::listener;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::reload::Reload;
use crate::signatures::{KeySource, SignatureSettings};
use crate::supervisor;
use crate::upstream::{Upstream, UpstreamSettings};

/// Serves a coordinating token endpoint in front of a provider.
///
/// Token requests are taken at POST /token and at the upstream's own path, revocations at POST /revoke and at that of
/// --revocation-upstream; /healthz, /readyz and /metrics tell how it
/// goes. SIGTERM drains, SIGHUP reads the upstream's files again. Every flag can be given by the environment, too.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_LISTEN", default_value = "127.0.0.1:8400")]
    listen: String,
    /// Where /healthz, /readyz and /metrics are asked instead of at --listen, which serves tokens only then: probes share
    /// no places with callers. Not to be reached by callers [default: at --listen]
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_ADMIN")]
    admin: Option<String>,
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
    /// A header that carries a credential or names a tenant, such as X-API-Key: only callers with equal values share an
    /// answer. Passed on; may be given several times, or as a list with commas
    #[arg(long, value_name = "NAME", env = "REFRESHD_CLAIM_HEADER", value_delimiter = ',')]
    claim_header: Vec<HeaderName>,
    /// How long the end may take from SIGTERM on, --drain-delay included: requests that are under way are answered until
    /// then; what is given up then is completed within three times --store-timeout
    #[arg(long, value_name = "TIME", env = "REFRESHD_DRAIN", default_value = "25s")]
    drain: Span,
    /// How long requests are still taken after SIGTERM, while /readyz says 503, so that a load balancer has looked before the
    /// listener closes; a part of --drain. At SIGINT it closes at once
    #[arg(long, value_name = "TIME", env = "REFRESHD_DRAIN_DELAY", default_value = "5s")]
    drain_delay: Span,
    #[command(flatten)]
    upstream: UpstreamSettings,
    #[command(flatten)]
    signatures: SignatureSettings,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Checks everything, then listens, until a signal; then drains.
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        let mut config = self.settings.config()?;
        self.limits.validate(&config)?;
        self.validate()?;
        self.signatures.validate()?;
        let redis = self.settings.redis()?;
        let upstream = self.upstream.build(&config)?;
        // A daemon is started by what would start it again and again: it comes up, is not ready, and says why.
        config.start_without_redis = true;
        config.upstream = Some(self.upstream.provider_name(&upstream));
        config.validate()?;
        let namespace = config.namespace.clone();
        let held_for = match config.refresh_tokens {
            RefreshTokens::Reusable => Span(Duration::ZERO),
            _ => Span(config.keep_until_used),
        };
        let signals = Signals::listen()?;
        self.upstream.check(&upstream).await?;
        let client_keys = self.signatures.keys(&self.upstream).await?;
        let coordinator = match &redis {
            Some(redis) => RefreshCoordinator::connect_with(redis.target(), config.clone()).await?,
            None => RefreshCoordinator::in_memory(config.clone())?,
        };
        // Last: a caller that can connect is served.
        let Listeners { tokens: listener, admin, places } = match self.bind().await {
            Ok(listeners) => listeners,
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
        self.upstream.tell_of_unused_proxies();
        if redis.is_none() {
            tracing::info!("no --redis: the store is embedded, and this process coordinates with no other");
        }
        if held_for.0.is_zero() {
            tracing::info!(
                "answers are not held beyond --keep-outcome: a caller that goes away has that long to come again"
            );
        } else {
            tracing::info!(%held_for, "answers to clients with a credential are held until somebody has used them; those to \
                public clients and to assertions that are not believed only for --keep-outcome");
        }
        match &client_keys {
            Some(source) => tracing::info!(keys = source.keys().len(), "client assertions by these keys are believed"),
            None if self.trust_callers => {}
            None => tracing::info!(
                "no --client-jwks: requests that authenticate by client_assertion wait for each other and share no answer"
            ),
        }
        let store = if redis.is_some() { "redis" } else { "embedded" };
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok()).map(tracing::field::display);
        tracing::info!(
            address = address.as_str(),
            admin = admin_address,
            host,
            port,
            path = upstream.path(),
            revocation_path = upstream.revocation_path(),
            store,
            namespace,
            "listening"
        );
        supervisor::serves(&address);

        // In a box: it is large, and there is one of it.
        let listeners = Listeners { tokens: listener, admin, places };
        Box::pin(self.serve(listeners, coordinator, upstream, &config, client_keys, signals)).await;
        Ok(ExitCode::SUCCESS)
    }

    fn validate(&self) -> Result<(), BadSetting> {
        if self.drain.0 > LONGEST_DRAIN {
            let most = Span(LONGEST_DRAIN);
            return Err(BadSetting::new(format!("--drain is {}: it must be at most {most}", self.drain)));
        }
        if self.drain_delay.0 > LONGEST_DRAIN {
            return Err(BadSetting::new(format!(
                "--drain-delay is {}: it must not be longer than --drain ({})",
                self.drain_delay, self.drain
            )));
        }
        Ok(())
    }

    /// Where tokens are asked for, and where health and metrics are, if that is elsewhere.
    async fn bind(&self) -> Result<Listeners, BadSetting> {
        let places = files::places(self.limits.max_connections);
        let tokens = listener::bind("--listen", &self.listen).await?;
        let admin = match &self.admin {
            Some(address) => Some(listener::bind("--admin", address).await?),
            None => None,
        };
        Ok(Listeners { tokens, admin, places })
    }

    async fn serve(
        &self,
        Listeners { tokens: listener, admin, places }: Listeners,
        coordinator: RefreshCoordinator,
        upstream: Upstream,
        config: &Config,
        client_keys: Option<KeySource>,
        mut signals: Signals,
    ) {
        let options = ExchangeOptions {
            only_refresh: self.only_refresh,
            trust_callers: self.trust_callers,
            session_header: self.session_header.clone(),
            claim_headers: self.claim_header.clone(),
            dpop_htu: self.signatures.dpop_htu(&upstream),
            client_keys: client_keys.as_ref().map(KeySource::keys),
            assertion_audiences: self.signatures.audiences(&upstream),
        };
        let mut hangup = signals.hangup.take().expect("BUG: nobody else takes it");
        let reload = Reload { settings: &self.upstream, config, upstream: watch::Sender::new(Arc::new(upstream)) };
        let mut exchange = TokenExchange::new(coordinator.clone(), options);
        if reload.upstream.borrow().revocation_path().is_some() {
            let upstream = reload.upstream.subscribe();
            exchange = exchange.revoking_by(move |request| {
                let upstream = Arc::clone(&upstream.borrow());
                async move { upstream.send(request).await }
            });
        }
        let endpoint = Arc::new(Endpoint {
            exchange,
            upstream: reload.upstream.subscribe(),
            coordinator: coordinator.clone(),
            metrics: Metrics::start(),
            limits: self.limits.clone(),
            refusals: Refusals::default(),
            is_draining: AtomicBool::new(false),
        });
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let _end = end.clone().drop_guard();
        let port = if admin.is_some() { Port::Tokens } else { Port::All };
        if let Some(admin) = admin {
            let (endpoint, limits) = (Arc::clone(&endpoint), self.limits.clone());
            // It answers until the very end.
            tokio::spawn(async move {
                let callers = Callers::new(ADMIN_PLACES, None);
                listener::serve(admin, callers, endpoint, Port::Admin, &limits, end).await
            });
        }
        let callers = Callers::new(places, self.limits.max_connections_per_peer);
        let accepting =
            listener::serve(listener, Arc::clone(&callers), Arc::clone(&endpoint), port, &self.limits, stop.clone());
        let stopping = async {
            let left = tokio::select! {
                left = self.until_stopped(&endpoint, &mut signals) => left,
                () = endpoint.metrics.keep_small() => unreachable!("BUG: it never ends"),
                () = endpoint.close_idle() => unreachable!("BUG: it never ends"),
                () = reload.run(&mut hangup) => unreachable!("BUG: it never ends"),
                () = keep_fresh(client_keys.as_ref()) => unreachable!("BUG: it never ends"),
                () = supervisor::lives() => unreachable!("BUG: it never ends"),
            };
            stop.cancel();
            left
        };
        let (open, left) = tokio::join!(accepting, stopping);

        let drained = drain(open, &coordinator, left);
        tokio::select! {
            () = supervisor::lives() => unreachable!("BUG: it never ends"),
            () = cut_idle(&callers) => unreachable!("BUG: it never ends"),
            drained = drained => match drained {
                Ok(()) => tracing::info!("drained"),
                Err(_) => tracing::warn!("the deadline is over, connections are cut"),
            },
            name = signals.next() => tracing::warn!(signal = name, "signalled again, not waiting any longer"),
        }
    }

    /// Waits for a signal, and then for as long as requests are still taken. Answers how much of the drain is left.
    async fn until_stopped(&self, endpoint: &Endpoint, signals: &mut Signals) -> Duration {
        let name = signals.next().await;
        let delay = if name == SIGTERM { self.drain_delay.0.min(self.drain.0) } else { Duration::ZERO };
        endpoint.is_draining.store(true, Ordering::Relaxed);
        tracing::info!(signal = name, delay = %Span(delay), deadline = %self.drain, "draining");
        supervisor::ends(self.drain.0 + THE_REST);
        let began = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            name = signals.next() => tracing::info!(signal = name, "signalled again, the listener is closed at once"),
        }
        self.drain.0.saturating_sub(began.elapsed())
    }
}

/// Where callers come in, and how many of them.
struct Listeners {
    tokens: TcpListener,
    admin: Option<TcpListener>,
    places: usize,
}

/// Ends what is open. A proxy that has just sent a request here sends it to nobody else: what has come by now is admitted, also
/// on connections of which nothing was read yet, which a shutdown would close.
async fn drain(open: GracefulShutdown, coordinator: &RefreshCoordinator, left: Duration) -> Result<(), Elapsed> {
    let deadline = Instant::now() + left;
    let patient_until = deadline.min(Instant::now() + PATIENCE_AT_THE_END);
    while open.count() > 0 && Instant::now() < patient_until {
        tokio::time::sleep(PATIENCE_AT_THE_END / 50).await;
    }
    let connections = tokio::time::timeout_at(deadline, open.shutdown());
    // Together: callers are answered as their flights end, and flights end also without callers.
    tokio::join!(connections, coordinator.close(deadline.saturating_duration_since(Instant::now()))).0
}

/// Who has not sent a whole request by now is not waited for. Never ends.
async fn cut_idle(callers: &Callers) {
    loop {
        callers.cut_idle(PATIENCE_AT_THE_END);
        tokio::time::sleep(PATIENCE_AT_THE_END / 5).await;
    }
}

/// Never ends.
async fn keep_fresh(client_keys: Option<&KeySource>) {
    match client_keys {
        Some(source) => source.keep_fresh().await,
        None => std::future::pending().await,
    }
}

const LONGEST_DRAIN: Duration = Duration::from_secs(60 * 60);
/// Probes and scrapers are few.
const ADMIN_PLACES: usize = 64;
/// How long a connection may wait for its caller once the listener is closed.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);
/// For what is completed after the drain: three times the longest `store_timeout` there is.
const THE_REST: Duration = Duration::from_secs(3 * 60);
const SIGTERM: &str = "SIGTERM";

/// SIGTERM, SIGINT and SIGHUP, listened to from before the first connection on.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> Result<Self, BadSetting> {
        let listen =
            |kind| signal(kind).map_err(|error| BadSetting::new(format!("signals cannot be listened to: {error}")));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: Some(listen(SignalKind::hangup())?),
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => SIGTERM,
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
