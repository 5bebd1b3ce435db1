//! How people share refreshes by hand, over Redis: what the coordinator is compared with.

use std::sync::Arc;
use std::time::Duration;

use refresh_coordinator::TokenResponse;

mod by_hand;
mod results;
mod single_flight;

use by_hand::ByHand;
use results::Results;
use single_flight::SingleFlight;

/// One process of a fleet that shares refreshes by hand.
#[derive(Clone)]
pub(crate) enum Peer {
    Rslock(ByHand),
    SingleFlight(SingleFlight),
    /// Never leads: it only looks for the result, again after each pause.
    Poll(Results, Duration),
}

/// The peers by the names that [`Peer::connect`] knows.
pub(crate) const RSLOCK: &str = "rslock";
pub(crate) const SINGLE_FLIGHT: &str = "single-flight";

/// What of the peers matters, for the report.
pub(crate) fn told() -> String {
    format!(
        "by hand: rslock and a result key, every caller tries again after a random part of {:?}; single flight by hand: \
         in each process one caller for all, who takes the lock or looks every {:?} for the result",
        by_hand::RETRY,
        single_flight::POLL
    )
}

impl Peer {
    /// One of the two by its name, or a poll by the milliseconds of its pause.
    pub(crate) async fn connect(name: &str, url: &str) -> Self {
        match name {
            RSLOCK => Self::Rslock(ByHand::connect(url).await),
            SINGLE_FLIGHT => Self::SingleFlight(SingleFlight::connect(url).await),
            pause => {
                let pause = Duration::from_millis(pause.parse().expect("the name of a peer, or milliseconds"));
                Self::Poll(Results::connect(url).await, pause)
            }
        }
    }

    pub(crate) async fn refresh(&self, token: &str, call: impl AsyncFnOnce() -> String) -> Arc<TokenResponse> {
        match self {
            Self::Rslock(by_hand) => Arc::new(results::tokens(by_hand.refresh(token, call).await)),
            Self::SingleFlight(single_flight) => single_flight.refresh(token, call).await,
            Self::Poll(results, pause) => loop {
                if let Some(result) = results.get(token).await {
                    return Arc::new(results::tokens(result));
                }
                tokio::time::sleep(*pause).await;
            },
        }
    }
}
