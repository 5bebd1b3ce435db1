//! Says in the log when a circuit that an outcome of this pod has opened is half open. Redis does it by the clock alone, and tells
//! nobody: the pod that was told of the opening waits for as long. Left out where that pod ends before.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use crate::admission::circuit::CircuitState;
use crate::admission::moved::{Moved, TripReason};
use crate::config::Config;
use crate::identity::Hash;

pub(super) struct HalfOpen {
    pub(super) calls: Arc<Calls>,
    pub(super) config: Arc<Config>,
    pub(super) closed: CancellationToken,
}

impl HalfOpen {
    /// Says how an outcome of this flight has moved the circuit, and what follows of that.
    pub(super) fn say(&self, moved: &Moved, flight: Hash) {
        moved.say(&self.config.namespace, self.calls.pod(), &flight);
        if let Moved::Opened { reason, pause, .. } = moved {
            let later = say_later(Arc::clone(&self.calls), Arc::clone(&self.config), *reason, *pause, flight);
            tokio::spawn(self.closed.clone().run_until_cancelled_owned(later));
        }
    }
}

async fn say_later(calls: Arc<Calls>, config: Arc<Config>, reason: TripReason, pause: Duration, flight: Hash) {
    tokio::time::sleep(pause).await;
    match calls.circuit().await {
        // A probe may have closed it already.
        Ok(CircuitState::HalfOpen { .. } | CircuitState::Closed { .. }) => {
            Moved::HalfOpen { reason }.say(&config.namespace, calls.pod(), &flight);
        }
        // Another outcome has opened it again, or for others, too; its pod says when that is over.
        Ok(CircuitState::Open { .. }) | Err(_) => {}
    }
}
