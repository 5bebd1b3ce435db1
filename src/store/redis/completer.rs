//! Lands an outcome in Redis: at once, or, where it was obtained without Redis, when that is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::call::Call;
use super::keys::Keys;
use super::lanes::Lanes;
use super::outage::Held;
use super::records::seal;
use super::scripts::{CompleteReply, Reply, Scripts, read_complete, verdict_words};
use super::{ms, owner, rules};
use crate::config::Config;
use crate::identity::Hash;
use crate::outcome::{Outcome, Verdict};
use crate::retention::Retention;
use crate::store::contract::{Ask, Completion, Lease, StoreError};

pub(super) struct Completer {
    pub(super) pod: String,
    pub(super) config: Arc<Config>,
    /// What complete is told of the configuration.
    pub(super) settings: Vec<u8>,
    pub(super) keys: Arc<Keys>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) lanes: Arc<Lanes>,
}

/// All that `complete.lua` is told of a flight; the outcome is sealed already.
pub(super) struct Landing {
    flight: Hash,
    session: Hash,
    claim: Hash,
    attempt: Uuid,
    fence: u64,
    granted: Instant,
    answered: Instant,
    /// Of the outcome itself, also where it is too large to be shared: what became of the token stays true.
    class: &'static str,
    token: &'static str,
    retention: Retention,
    is_charged: bool,
    verdict: Verdict,
    sealed: Vec<u8>,
}

/// A pause between two tries, should nobody say that Redis is back.
const PAUSE: Duration = Duration::from_secs(1);

impl Landing {
    /// Whether Redis would still keep it after a pause.
    pub(super) fn is_worth_waiting(&self) -> bool {
        self.retention.kept > PAUSE
    }
}

impl Completer {
    pub(super) fn landing(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> Landing {
        let Completion { outcome, verdict, held } = completion;
        let outcome: &Outcome = outcome;
        Landing {
            flight: lease.flight,
            session: ask.identity.session,
            claim: lease.claim,
            attempt: lease.attempt,
            fence: lease.fence,
            granted: lease.granted,
            answered: Instant::now() - *held,
            class: outcome.class().word(),
            token: outcome.token_state().word(),
            retention: Retention::of(outcome, &self.config),
            is_charged: outcome.is_charged(),
            verdict: *verdict,
            sealed: seal(&ask.identity, &self.config, lease, outcome),
        }
    }

    pub(super) async fn complete(&self, landing: &Landing) -> Result<CompleteReply, StoreError> {
        let mut call = Call::with_payload(&self.scripts.complete, 8, landing.sealed.len());
        call.key(self.keys.lock(&landing.flight)).key(self.keys.flight(&landing.flight)).key(self.keys.fence());
        rules::all_keys(&mut call, &self.keys, &landing.session);
        call.arg(owner(&self.pod, landing.fence)).arg(landing.attempt.to_string());
        call.arg(landing.claim.to_string()).arg(landing.fence).arg(landing.class).arg(landing.token);
        call.arg(landing.flight.to_string()).arg(self.keys.channels()).arg(&landing.sealed);
        call.arg(landing.session.to_string()).arg(if landing.is_charged { "charged" } else { "free" });
        let (verdict, stay_away) = verdict_words(landing.verdict);
        call.arg(verdict).arg(landing.retention.lives.map_or(String::new(), |lives| ms(lives).to_string()));
        call.arg(stay_away.map_or(String::new(), |pause| ms(pause).to_string()));
        let took = landing.answered.saturating_duration_since(landing.granted);
        call.arg(rules::packed([
            ms(landing.answered.elapsed()),
            ms(took),
            ms(landing.retention.fresh),
            ms(landing.retention.kept),
        ]));
        call.arg(&self.settings[..]);
        read_complete(Reply::new("complete", self.lanes.run(&call).await?))
    }

    /// Tries when Redis is back, for as long as the outcome would have been kept there.
    pub(super) async fn complete_later(self: Arc<Self>, landing: Landing, mut gaps: watch::Receiver<u64>, held: Held) {
        while landing.answered.elapsed() < landing.retention.kept {
            tokio::select! {
                gap = gaps.changed() => if gap.is_err() { return },
                () = tokio::time::sleep(PAUSE) => {}
            }
            // First Redis is told the fences that were given without it: pods that read a higher one than Redis knows
            // would take it for one that has forgotten.
            if held.outage().is_lost() {
                continue;
            }
            match self.complete(&landing).await {
                Ok(_) => {
                    debug!(flight = %landing.flight, fence = landing.fence, "what was obtained without redis is there now");
                    return;
                }
                Err(error) => debug!(flight = %landing.flight, %error, "an outcome still waits for redis"),
            }
        }
        warn!(flight = %landing.flight, fence = landing.fence, "what was obtained without redis is not fresh any more");
    }
}
