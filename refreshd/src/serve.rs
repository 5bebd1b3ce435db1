//! `refreshd serve`: the token endpoint, from the first check to the last answer.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use refresh_coordinator_cli::{BadSetting, Redis, Span};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::caller_tls::{CallerTls, Showing};
use crate::callers::Callers;
use crate::configuration::Configuration;
use crate::coordination::Coordination;
use crate::drain::{cut_idle, drain};
use crate::endpoint::{Endpoint, Port};
use crate::files;
use crate::limits::Limits;
use crate::listener;
use crate::metrics::Metrics;
use crate::opening::{self, Opened};
use crate::provider::{Begins, Planned, ProviderSettings};
use crate::providers::Providers;
use crate::recent::Recent;
use crate::refusals::Refusals;
use crate::reload::Reload;
use crate::signals::{self, Signals};
use crate::supervisor;
use crate::survey::Survey;
use crate::together::Together;
use crate::upstream;

/// Serves a coordinating token endpoint in front of a provider, or of several.
///
/// Token requests are taken at POST /token and at the upstream's own path, revocations at POST /revoke and at that of
/// --revocation-upstream; /healthz, /readyz and /metrics tell how it
/// goes. SIGTERM drains, SIGHUP reads the upstream's files again. Every flag can be given by the environment, and by the file of
/// --config, too.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    /// A file (TOML) with a table for each of several providers. Its keys are these flags without --; a flag stands above the
    /// environment, and that above the file. `refreshd check` prints what is in force [default: none, there is one provider]
    #[arg(long, value_name = "FILE", env = "REFRESHD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_LISTEN", default_value = "127.0.0.1:8400")]
    listen: String,
    /// Where /healthz, /readyz and /metrics are asked instead of at --listen, which serves tokens only then: probes share
    /// no places with callers. And /status, a page for people, which is nowhere else. Not to be reached by callers
    /// [default: at --listen, without /status]
    #[arg(long, value_name = "ADDRESS", env = "REFRESHD_ADMIN")]
    admin: Option<String>,
    /// How long the end may take from SIGTERM on, --drain-delay included: requests that are under way are answered until
    /// then; what is given up then is completed within three times --store-timeout
    #[arg(long, value_name = "TIME", env = "REFRESHD_DRAIN", default_value = "25s")]
    drain: Span,
    /// How long requests are still taken after SIGTERM, while /readyz says 503, so that a load balancer has looked before the
    /// listener closes; a part of --drain. At SIGINT it closes at once
    #[arg(long, value_name = "TIME", env = "REFRESHD_DRAIN_DELAY", default_value = "5s")]
    drain_delay: Span,
    #[command(flatten)]
    provider: ProviderSettings,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    pub(crate) tls: CallerTls,
}

/// Checks everything, then listens, until a signal; then drains.
pub(crate) async fn run(configuration: Configuration) -> Result<ExitCode, BadSetting> {
    // First: whatever is made from here on registers what it measures.
    let metrics = Metrics::start();
    let (serve, planned) = plan(&configuration)?;
    let caller_tls = serve.tls.read().map_err(|wrong| configuration.first().explain(wrong))?;
    let redis = planned.first().expect("BUG: there is one provider at least").redis()?;
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        biased;
        started = Box::pin(start(&serve, planned, redis, configuration.file.is_some())) => started?,
        // Nobody was served so far: a provider, a Redis or a name server that is silent is not waited for.
        name = signals.next() => {
            tracing::info!(signal = name, "told to end before it listened");
            supervisor::ends(Duration::ZERO);
            return Ok(ExitCode::SUCCESS);
        }
    };
    let Started { coordination, opened, listeners } = started;
    if matches!(*coordination, Coordination::Embedded(_)) {
        tracing::info!("no --redis: the store is embedded, and this process coordinates with no other");
    }
    let providers = Providers::new(opened.into_iter().map(Opened::serve).collect());
    serve.tell(&listeners, &providers, coordination.store());
    let reload = Reload {
        shared: configuration.first().clone(),
        file: configuration.file,
        limits: serve.limits.clone(),
        drain: serve.drain.0,
        caller_tls: Showing::new(serve.tls.clone(), caller_tls),
        coordination,
        leaving: TaskTracker::new(),
        providers: watch::Sender::new(Arc::new(providers)),
    };
    // In a box: it is large, and there is one of it.
    Box::pin(serve.serve(listeners, reload, signals, metrics)).await;
    Ok(ExitCode::SUCCESS)
}

/// What there is when callers can come.
struct Started {
    coordination: Arc<Coordination>,
    opened: Vec<Opened>,
    listeners: Listeners,
}

/// Looks whether the providers are there, opens their coordinators, then listens.
///
/// # Cancellation
///
/// As that of [`RefreshCoordinator::connect`](refresh_coordinator::RefreshCoordinator::connect).
async fn start(
    serve: &Serve,
    planned: Vec<Planned>,
    redis: Option<Redis>,
    is_of_file: bool,
) -> Result<Started, BadSetting> {
    let first = planned.first().expect("BUG: there is one provider at least");
    let coordination = Coordination::new(redis, is_of_file, &first.config).await;
    let coordination = Arc::new(coordination.map_err(|wrong| first.configured.explain(wrong))?);
    let begins = if planned.len() > 1 { Begins::WithOthers } else { Begins::Alone };
    let opened = opening::open(planned.into_iter().map(|planned| (planned, None)).collect(), &coordination, begins);
    let opened = opened.await?;
    // Last: a caller that can connect is served.
    match serve.bind().await {
        Ok(listeners) => Ok(Started { coordination, opened, listeners }),
        Err(taken) => {
            coordination.close(opened.iter().map(Opened::coordinator), Duration::ZERO).await;
            Err(taken)
        }
    }
}

/// Checks all that can be checked without a network: what all providers share, and each of them.
pub(crate) fn plan(configuration: &Configuration) -> Result<(Serve, Vec<Planned>), BadSetting> {
    let first = configuration.first();
    let serve: Serve = first.settings()?;
    serve.validate().map_err(|wrong| first.explain(wrong))?;
    let planned = configuration.providers.iter().map(|configured| Planned::of(configured, &serve.limits));
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    Providers::can_be_together(&planned)?;
    if let Some(itself) = planned.iter().find(|planned| serve.listens_at(planned.upstream.address())) {
        return Err(itself.configured.explain(BadSetting::new(format!(
            "--upstream is where refreshd listens itself (--listen {}): it must be the provider's token endpoint",
            serve.listen
        ))));
    }
    Ok((serve, planned))
}

impl Serve {
    fn validate(&self) -> Result<(), BadSetting> {
        listener::can_be_address("--listen", &self.listen)?;
        self.admin.iter().try_for_each(|admin| listener::can_be_address("--admin", admin))?;
        if self.drain.0 > LONGEST_DRAIN {
            let most = Span(LONGEST_DRAIN);
            return Err(BadSetting::new(format!("--drain is {}: it must be at most {most}", self.drain)));
        }
        if self.drain_delay.0 > LONGEST_DRAIN {
            let most = Span(LONGEST_DRAIN);
            return Err(BadSetting::new(format!("--drain-delay is {}: it must be at most {most}", self.drain_delay)));
        }
        Ok(())
    }

    /// Whether an address is its own for certain: each request would be asked of it again, until it takes no more.
    fn listens_at(&self, (host, port): (&str, u16)) -> bool {
        let Ok(own) = self.listen.parse::<SocketAddr>() else { return false };
        let is_own = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => ip == own.ip() || own.ip().is_unspecified() && ip.is_loopback(),
            Err(_) => host == "localhost" && (own.ip().is_loopback() || own.ip().is_unspecified()),
        };
        port == own.port() && is_own
    }

    /// Where tokens are asked for, and where health and metrics are, if that is elsewhere.
    async fn bind(&self) -> Result<Listeners, BadSetting> {
        let (places, newcomers) = files::places(self.limits.max_connections);
        upstream::leave_places_to_refreshes(places);
        let tokens = listener::bind("--listen", &self.listen).await?;
        let admin = match &self.admin {
            Some(address) => Some(listener::bind("--admin", address).await?),
            None => None,
        };
        Ok(Listeners { tokens, admin, places, newcomers })
    }

    fn tell(&self, listeners: &Listeners, providers: &Providers, store: &str) {
        let address = listeners.tokens.local_addr().map_or_else(|_| self.listen.clone(), |it| it.to_string());
        let admin = listeners.admin.as_ref().and_then(|admin| admin.local_addr().ok()).map(tracing::field::display);
        let address = address.as_str();
        let is_local = listeners.tokens.local_addr().is_ok_and(|address| address.ip().is_loopback());
        if !is_local && !self.tls.is_on() {
            tracing::warn!(
                address,
                "tokens and secrets of callers on other machines cross the network in clear: give --tls-cert, or let what \
                 stands in front speak TLS"
            );
        }
        if providers.are_named() {
            providers.iter().for_each(|provider| provider.tell_of_place());
            tracing::info!(address, admin, store, providers = providers.iter().count(), "listening");
        } else if let Some(provider) = providers.iter().next() {
            let upstream = provider.upstream.borrow();
            let (host, port) = upstream.address();
            tracing::info!(
                address,
                admin,
                host,
                port,
                path = upstream.path(),
                revocation_path = upstream.revocation_path(),
                store,
                namespace = provider.config.namespace,
                pod = provider.coordinator.pod(),
                "listening"
            );
        }
        supervisor::serves(address);
    }

    async fn serve(
        &self,
        Listeners { tokens: listener, admin, places, newcomers }: Listeners,
        reload: Reload,
        mut signals: Signals,
        metrics: Metrics,
    ) {
        let hangup = signals.hangup.take().expect("BUG: nobody else takes it");
        let reload = Arc::new(reload);
        // In a task of its own: a file that cannot be read for now, of a file system that stands still, is to hold nobody up.
        let reloading = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&reload).run(hangup)));
        let endpoint = Arc::new(Endpoint {
            providers: reload.providers.subscribe(),
            metrics,
            limits: self.limits.clone(),
            refusals: Refusals::default(),
            survey: Survey::default(),
            readiness: Together::new(Duration::from_millis(100)),
            rendered: Together::new(Duration::from_millis(20)),
            revoking: TaskTracker::new(),
            recent: Recent::default(),
            is_draining: AtomicBool::new(false),
        });
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let _end = end.clone().drop_guard();
        let port = if admin.is_some() { Port::Tokens } else { Port::All };
        if let Some(admin) = admin {
            let (endpoint, limits) = (Arc::clone(&endpoint), self.limits.clone());
            // It answers until the very end.
            tokio::spawn(async move {
                let callers = Callers::new(ADMIN_PLACES, ADMIN_NEWCOMERS, None);
                let (_, in_clear) = watch::channel(None);
                listener::serve(admin, callers, endpoint, Port::Admin, &limits, in_clear, end).await
            });
        }
        let callers = Callers::new(places, newcomers, self.limits.max_connections_per_peer);
        let tls = reload.caller_tls.subscribe();
        let accepting = listener::serve(
            listener,
            Arc::clone(&callers),
            Arc::clone(&endpoint),
            port,
            &self.limits,
            tls,
            stop.clone(),
        );
        let stopping = async {
            let left = tokio::select! {
                left = self.until_stopped(&endpoint, &mut signals) => left,
                () = endpoint.metrics.keep_small() => unreachable!("BUG: it never ends"),
                () = endpoint.recent.keep(&endpoint.providers) => unreachable!("BUG: it never ends"),
                () = supervisor::lives() => unreachable!("BUG: it never ends"),
            };
            drop(reloading);
            stop.cancel();
            left
        };
        let (open, left) = tokio::join!(accepting, stopping);

        let providers = Arc::clone(&reload.providers.borrow());
        let coordinators = providers.iter().map(|provider| provider.coordinator.clone());
        let drained = drain(open, left, &endpoint.revoking, async |left| {
            reload.leaving.close();
            // Providers that left the file end within a drain of their own.
            let left_before = tokio::time::timeout(left, reload.leaving.wait());
            let _ = tokio::join!(reload.coordination.close(coordinators, left), left_before);
        });
        tokio::select! {
            () = supervisor::lives() => unreachable!("BUG: it never ends"),
            () = cut_idle(&callers) => unreachable!("BUG: it never ends"),
            () = callers.make_way() => unreachable!("BUG: it never ends"),
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
        let delay = if signals::waits(name) { self.drain_delay.0.min(self.drain.0) } else { Duration::ZERO };
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
    newcomers: usize,
}

const LONGEST_DRAIN: Duration = Duration::from_secs(60 * 60);
/// Probes and scrapers are few.
const ADMIN_PLACES: usize = 64;
const ADMIN_NEWCOMERS: usize = 16;
/// For what is completed after the drain: three times the longest `store_timeout` there is.
const THE_REST: Duration = Duration::from_secs(3 * 60);
