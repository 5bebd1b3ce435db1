//! Whether Redis and the token endpoints answer, before the first token is presented.

use std::time::Duration;

use http::Request;
use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_cli::BadSetting;

use crate::client::Client;
use crate::plan::{FleetKind, Plan, ProviderKind};
use crate::stopped::Stopped;
use crate::urls;

/// What is wrong with Redis is said before anything runs, not after the mode that does not need it.
pub(crate) async fn check_redis(plan: &Plan) -> Result<(), Stopped> {
    let FleetKind::Redis { redis, .. } = &plan.fleet else {
        return Ok(());
    };
    let connected = RefreshCoordinator::connect_with(redis.target(), plan.rules.config(plan.pepper.clone())).await;
    connected.map_err(|error| Stopped::Setting(error.into()))?.close(Duration::ZERO).await;
    Ok(())
}

/// Whether a server answers where tokens will be presented. A GET is no token request: any answer will do.
pub(crate) async fn check_endpoints(plan: &Plan) -> Result<(), Stopped> {
    let provider = match &plan.provider {
        ProviderKind::BuiltIn { .. } => None,
        ProviderKind::Elsewhere { url } => Some(("--storm-provider", url)),
        ProviderKind::Real(real) => real.url.as_ref().map(|url| ("--provider-url", url)),
    };
    let refreshds = match &plan.fleet {
        FleetKind::Refreshds { token_urls } => &token_urls[..],
        FleetKind::Embedded | FleetKind::Redis { .. } | FleetKind::Sabotaged { .. } => &[],
    };
    for (flag, url) in refreshds.iter().map(|url| ("--token-url", url)).chain(provider) {
        let unreachable = |cause: &str| {
            Stopped::Setting(BadSetting::new(format!(
                "{flag} {url} cannot be reached: {cause}; start it or correct the URL"
            )))
        };
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = urls::target(url).map_err(|wrong| unreachable(&wrong))?;
        let http = Client::new(std::slice::from_ref(url), 1, Duration::from_secs(10));
        let asked = match http {
            Ok(http) => http.ask(request).await,
            Err(unusable) => Err(unusable),
        };
        asked.map_err(|error| unreachable(&error.cause))?;
    }
    Ok(())
}
