//! A provider in front of which refreshd stands: its settings, what they must be, and what serves it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};
use metrics::SharedString;
use refresh_coordinator::exchange::{ExchangeOptions, TokenExchange};
use refresh_coordinator::{Config, RefreshCoordinator, RefreshTokens};
use refresh_coordinator_cli::{BadSetting, Redis, Settings, Span};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config_file::Configured;
use crate::limits::Limits;
use crate::place::Place;
use crate::recorder;
use crate::signatures::{KeySource, SignatureSettings};
use crate::upstream::{TOKEN_PATH, Unreached, Upstream, UpstreamSettings};

/// The revocation endpoint beside its own path at the provider.
const REVOCATION_PATH: &str = "/revoke";

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProviderSettings {
    /// Serve the provider below this path: with /okta, tokens are asked for at POST /okta/token
    /// [default: at every path; with --config below the provider's name, unless it has a host]
    #[arg(long, value_name = "PATH", env = "REFRESHD_PATH")]
    path: Option<String>,
    /// Serve the provider to requests for this host only, whatever their port [default: to all]
    #[arg(long, value_name = "NAME", env = "REFRESHD_HOST")]
    host: Option<String>,
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
    #[arg(long, value_name = "NAME", env = "REFRESHD_CLAIM_HEADER", value_delimiter = ',', value_parser = one_of_list)]
    claim_header: Vec<HeaderName>,
    #[command(flatten)]
    pub(crate) upstream: UpstreamSettings,
    #[command(flatten)]
    pub(crate) signatures: SignatureSettings,
    #[command(flatten)]
    pub(crate) coordination: Settings,
}

/// A name in a list, where people write a space behind each comma.
fn one_of_list(name: &str) -> Result<HeaderName, http::header::InvalidHeaderName> {
    name.trim().parse()
}

/// What holds what proves who asks. A session is named by its header, and seen in more places than a secret may be.
const OF_CREDENTIALS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, HeaderName::from_static("dpop")];

impl ProviderSettings {
    fn validate(&self) -> Result<(), BadSetting> {
        let Some(name) = self.session_header.as_ref().filter(|name| OF_CREDENTIALS.contains(name)) else {
            return Ok(());
        };
        Err(BadSetting::new(format!(
            "--session-header {name} carries a credential: name a header that your gateway sets to a session id, such as x-session-id"
        )))
    }
}

/// A provider whose settings are right, and that nobody was asked about yet.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) configured: Configured,
    pub(crate) settings: ProviderSettings,
    pub(crate) place: Place,
    pub(crate) config: Config,
    pub(crate) upstream: Upstream,
}

impl Planned {
    /// Checks all that can be checked without a network.
    pub(crate) fn of(configured: &Configured, limits: &Limits) -> Result<Self, BadSetting> {
        Self::checked(configured, limits).map_err(|wrong| configured.explain(wrong))
    }

    fn checked(configured: &Configured, limits: &Limits) -> Result<Self, BadSetting> {
        let settings: ProviderSettings = configured.settings()?;
        settings.validate()?;
        let mut config = settings.coordination.config()?;
        limits.validate(&config)?;
        settings.signatures.validate()?;
        let place = Place::read(settings.host.as_deref(), settings.path.as_deref())?;
        let upstream = recorder::of_provider(configured.name(), || settings.upstream.build(&config))?;
        // A daemon is started by what would start it again and again: it comes up, is not ready, and says why.
        config.start_without_redis = true;
        config.upstream = Some(settings.upstream.provider_name(&upstream));
        config.validate()?;
        Ok(Self { configured: configured.clone(), settings, place, config, upstream })
    }

    /// Where Redis is; all providers have the same.
    pub(crate) fn redis(&self) -> Result<Option<Redis>, BadSetting> {
        self.settings.coordination.redis().map_err(|wrong| self.configured.explain(wrong))
    }

    /// Connects to the provider, and reads the keys of its clients, where there are any.
    pub(crate) async fn reach(&self, begins: Begins) -> Result<Option<KeySource>, BadSetting> {
        let explained = |wrong| self.configured.explain(wrong);
        let (provider, may_be_away) = (self.configured.name(), begins != Begins::WhileOthersAreServed);
        match self.settings.upstream.check(&self.upstream).await {
            Ok(()) => {}
            Err(Unreached::ForNow(reason)) if may_be_away => {
                let reason = explained(reason);
                tracing::warn!(provider, %reason, "the provider cannot be asked now: refreshes are refused until it can");
            }
            Err(Unreached::UntilMended(reason)) if begins == Begins::WithOthers => {
                tracing::error!(provider, reason = %explained(reason), "the provider cannot be asked: the others are served");
            }
            Err(Unreached::ForNow(reason) | Unreached::UntilMended(reason)) => return Err(explained(reason)),
        }
        self.settings.signatures.keys(&self.settings.upstream, may_be_away).await.map_err(explained)
    }
}

/// When a provider begins to be served: how much may be wrong with it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// The daemon starts with it: it may be away, and whatever takes another setting is refused.
    Alone,
    /// The daemon starts with several: what is wrong with one keeps none of the others from being served.
    WithOthers,
    /// The file was read again: what is served goes on as it was until all of it is right.
    WhileOthersAreServed,
}

/// A provider that is served.
#[derive(Debug)]
pub(crate) struct Provider {
    /// What it is called in metrics and logs, where there is a file.
    pub(crate) name: Option<SharedString>,
    pub(crate) place: Place,
    pub(crate) exchange: TokenExchange,
    pub(crate) coordinator: RefreshCoordinator,
    /// Replaced when its files are read again.
    pub(crate) upstream: watch::Sender<Arc<Upstream>>,
    pub(crate) configured: Configured,
    pub(crate) settings: ProviderSettings,
    pub(crate) config: Config,
    /// End with it.
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Token,
    Revocation,
}

impl Provider {
    /// Serves what was planned by this coordinator.
    pub(crate) fn new(planned: Planned, coordinator: RefreshCoordinator, client_keys: Option<KeySource>) -> Arc<Self> {
        let Planned { configured, settings, place, config, upstream } = planned;
        let name = configured.name().map(|name| SharedString::from(Arc::<str>::from(name)));
        tell(name.as_deref(), &settings, &config, &upstream, client_keys.as_ref());
        let options = ExchangeOptions::default()
            .with_only_refresh(settings.only_refresh)
            .with_trust_callers(settings.trust_callers)
            .with_session_header(settings.session_header.clone())
            .with_claim_headers(settings.claim_header.clone())
            .with_dpop_htu(settings.signatures.dpop_htu(&upstream))
            .with_client_keys(client_keys.as_ref().map(KeySource::keys))
            .with_assertion_audiences(settings.signatures.audiences(&upstream));
        let mut exchange = TokenExchange::new(coordinator.clone(), options);
        let takes_revocations = upstream.revocation_path().is_some();
        let upstream = watch::Sender::new(Arc::new(upstream));
        if takes_revocations {
            let upstream = upstream.subscribe();
            exchange = exchange.revoking_by(move |request| {
                let upstream = Arc::clone(&upstream.borrow());
                async move { upstream.send(request).await }
            });
        }
        let tasks = [tokio::spawn(close_idle(upstream.subscribe())), tokio::spawn(keep_fresh(client_keys))];
        let tasks = tasks.map(AbortOnDropHandle::new);
        Arc::new(Self { name, place, exchange, coordinator, upstream, configured, settings, config, _tasks: tasks })
    }

    /// What is asked for at a path, below the provider's place.
    pub(crate) fn asked(&self, path: &str) -> Option<Asked> {
        let upstream = self.upstream.borrow();
        if path == TOKEN_PATH || path == upstream.path() {
            return Some(Asked::Token);
        }
        let own = upstream.revocation_path()?;
        (path == own || path == REVOCATION_PATH).then_some(Asked::Revocation)
    }

    /// Where it is served, for the log.
    pub(crate) fn tell_of_place(&self) {
        let upstream = self.upstream.borrow();
        let (host, port) = upstream.address();
        tracing::info!(
            provider = self.name.as_deref(),
            at = self.place.shown(TOKEN_PATH),
            host,
            port,
            path = upstream.path(),
            revocation_path = upstream.revocation_path(),
            namespace = self.config.namespace,
            pod = self.coordinator.pod(),
            "serves a provider"
        );
    }

    /// Reads the files of the upstream again. Requests that are under way keep the upstream that they began with.
    pub(crate) fn read_again(&self) {
        let provider = self.name.as_deref();
        match recorder::of_provider(provider, || self.settings.upstream.build(&self.config)) {
            Ok(upstream) => {
                self.upstream.send_replace(Arc::new(upstream));
                tracing::info!(provider, "the files of the upstream were read again");
            }
            Err(wrong) => {
                tracing::error!(provider, reason = %self.configured.explain(wrong), "what was read before is kept");
            }
        }
    }
}

/// Closes connections to the upstream that were not used for a while. Never ends.
async fn close_idle(mut current: watch::Receiver<Arc<Upstream>>) {
    loop {
        let upstream = Arc::clone(&current.borrow_and_update());
        tokio::select! {
            () = upstream.close_idle() => unreachable!("BUG: it never ends"),
            // Nothing replaces it any more where the sender is gone.
            replaced = current.changed() => if replaced.is_err() { std::future::pending::<()>().await },
        }
    }
}

/// Never ends.
async fn keep_fresh(client_keys: Option<KeySource>) {
    match client_keys {
        Some(mut source) => source.keep_fresh().await,
        None => std::future::pending().await,
    }
}

/// What its operator should know.
fn tell(
    provider: Option<&str>,
    settings: &ProviderSettings,
    config: &Config,
    upstream: &Upstream,
    client_keys: Option<&KeySource>,
) {
    let (host, _) = upstream.address();
    if upstream.is_in_clear() {
        tracing::warn!(provider, host, "the upstream is http://: tokens and secrets cross the network in clear");
    }
    settings.upstream.tell_of_unused_proxies();
    let held_for = match config.refresh_tokens {
        RefreshTokens::Reusable => Span(Duration::ZERO),
        _ => Span(config.keep_until_used),
    };
    if held_for.0.is_zero() {
        tracing::info!(
            provider,
            "answers are not held beyond --keep-outcome: a caller that goes away has that long to come again"
        );
    } else {
        tracing::info!(provider, %held_for, "answers to clients with a credential are held until somebody has used them; those \
            to public clients and to assertions that are not believed only for --keep-outcome");
    }
    match client_keys {
        Some(source) => {
            tracing::info!(provider, keys = source.keys().len(), "client assertions by these keys are believed");
        }
        None if settings.trust_callers => {}
        None => tracing::info!(
            provider,
            "no --client-jwks: requests that authenticate by client_assertion wait for each other and share no answer"
        ),
    }
}
