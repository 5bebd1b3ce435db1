//! Presents a token for one caller, and tells what the caller heard and how long it waited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use refresh_coordinator::{ProviderFailure, Refresh, RefreshCoordinator, RefreshError, Role, Secret, TokenResponse};
use refresh_coordinator_cli::chain;
use tokio::sync::Semaphore;

use crate::exchange::Exchange;

/// What all callers of a pod present their tokens by.
pub(crate) struct Presenter {
    /// One per token endpoint.
    pub(crate) exchanges: Vec<Arc<Exchange>>,
    pub(crate) coordination: Coordination,
    /// Connections that are free.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
}

/// What a caller asks: the token endpoint itself, or a coordinator.
pub(crate) enum Coordination {
    None,
    By(RefreshCoordinator),
}

/// What one caller heard.
pub(crate) struct Answer {
    pub(crate) tokens: Result<Tokens, NoTokens>,
    /// How long the caller waited, less the time that the provider says it took for the answer; never below zero.
    /// Without coordination it includes the wait for a free connection, of which there are `--connections`.
    /// A caller that came late into a flight has waited for a part of the provider's time only, and shows as zero.
    /// Providers other than the built-in one do not say how long they took: then it is the whole wait.
    pub(crate) wait: Duration,
}

/// A success.
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) fence: u64,
    /// None where no coordinator of this process was asked.
    pub(crate) role: Option<Role>,
}

/// Why a caller has no tokens.
pub(crate) struct NoTokens {
    pub(crate) reason: String,
    /// Whether it was told `invalid_grant`: the session is over.
    pub(crate) is_invalid_grant: bool,
}

impl Presenter {
    /// Presents the token. Both ways share everything but the one step that coordinates.
    pub(crate) async fn present(&self, caller: usize, token: &str) -> Answer {
        let exchange = Arc::clone(&self.exchanges[caller % self.exchanges.len()]);
        let connections = Arc::clone(&self.connections);
        // With a coordinator it is the token that the leader is handed. A future does nothing until it is polled: the leader
        // polls it.
        let call = move |presented: Secret| async move {
            let _connection = connections.acquire().await.expect("BUG: nobody closes the semaphore");
            exchange.present(&presented).await
        };
        let started = Instant::now();

        let received = match &self.coordination {
            Coordination::None => match call(Secret::from(token)).await {
                Ok(tokens) => Ok((tokens, 0, None)),
                Err(failure) => Err(RefreshError::Provider { failure, fence: 0 }),
            },
            Coordination::By(coordinator) => coordinator
                .refresh(self.refresh(token), move |attempt| async move { call(Secret::from(attempt.token())).await })
                .await
                .map(|refreshed| (refreshed.tokens().clone(), refreshed.fence(), Some(refreshed.role()))),
        };

        let waited = started.elapsed();
        Answer { wait: waited.saturating_sub(provider_time(&received)), tokens: read(received) }
    }

    fn refresh(&self, token: &str) -> Refresh {
        let refresh = Refresh::new(token).token_from_attempt();
        match &self.client_secret {
            Some(secret) => refresh.client(&self.client_id, secret.clone()),
            None => refresh.public_client(&self.client_id),
        }
    }
}

type Received = Result<(TokenResponse, u64, Option<Role>), RefreshError>;

fn read(received: Received) -> Result<Tokens, NoTokens> {
    match received {
        Ok((tokens, fence, role)) => Ok(Tokens {
            access_token: tokens.access_token().to_owned(),
            refresh_token: tokens.refresh_token().map(str::to_owned),
            fence,
            role,
        }),
        Err(error) => Err(NoTokens {
            is_invalid_grant: matches!(
                &error,
                RefreshError::Provider { failure: ProviderFailure::Denied { error, .. }, .. } if error == "invalid_grant"
            ),
            reason: chain(&error),
        }),
    }
}

/// How long the provider says that it took: the built-in one adds a field to every answer.
fn provider_time(received: &Received) -> Duration {
    let us = match received {
        Ok((tokens, ..)) => tokens.field("provider_us"),
        Err(RefreshError::Provider { failure, .. }) => failure.response().and_then(|response| {
            let mut fields: serde_json::Map<_, _> = serde_json::from_slice(response.body()).ok()?;
            fields.remove("provider_us")
        }),
        Err(_) => None,
    };
    Duration::from_micros(us.and_then(|us| us.as_u64()).unwrap_or_default())
}
