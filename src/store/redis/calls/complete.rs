//! `complete.lua`: lands an outcome, frees lease, permit and probe, moves the circuit and tells the waiting pods.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::reply::Reply;
use super::words::{ms, packed};
use super::{Calls, rules};
use crate::identity::Hash;
use crate::outcome::{Class, ProviderHealth, TokenState};
use crate::retention::Retention;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;
use crate::store::redis::sealed::SealedOutcome;

/// What it is told of a flight; the outcome is sealed already.
pub(crate) struct Complete {
    pub(crate) flight: Hash,
    pub(crate) session: Hash,
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
    pub(crate) granted: Instant,
    pub(crate) answered: Instant,
    /// Of the outcome itself, also where it is too large to be shared: what became of the token stays true.
    pub(crate) class: Class,
    pub(crate) token: TokenState,
    pub(crate) retention: Retention,
    pub(crate) is_charged: bool,
    pub(crate) health: ProviderHealth,
    pub(crate) sealed: Vec<u8>,
}

/// What it replies.
#[derive(Debug)]
pub(crate) enum CompleteReply {
    Landed,
    Stands(SealedOutcome),
    Stale,
}

impl Calls {
    pub(crate) async fn complete(&self, complete: &Complete) -> Result<CompleteReply, StoreError> {
        let Complete { flight, session, retention, .. } = complete;
        let mut call = Call::with_payload(&self.scripts.complete, 8, complete.sealed.len());
        call.key(self.keys.lock(flight)).key(self.keys.flight(flight)).key(self.keys.fence());
        rules::all_keys(&mut call, &self.keys, session);
        call.arg(self.owner(complete.fence)).arg(complete.attempt.to_string());
        call.arg(complete.claim.to_string()).arg(complete.fence);
        call.arg(complete.class.word()).arg(complete.token.word());
        call.arg(flight.to_string()).arg(self.keys.channels()).arg(&complete.sealed);
        call.arg(session.to_string()).arg(if complete.is_charged { "charged" } else { "free" });
        let (health, stay_away) = health_words(complete.health);
        call.arg(health).arg(ms_or_nothing(retention.lives)).arg(ms_or_nothing(stay_away));
        // Told when it is sent: a completion may have waited for Redis.
        let age = complete.answered.elapsed();
        let took = complete.answered.saturating_duration_since(complete.granted);
        call.arg(packed([ms(age), ms(took), ms(retention.fresh), ms(retention.kept)]));
        call.arg(&self.complete_settings[..]);
        read(&self.run("complete", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<CompleteReply, StoreError> {
    Ok(match reply.word()? {
        "landed" => CompleteReply::Landed,
        "stands" => CompleteReply::Stands(reply.sealed_outcome()?),
        "stale" => CompleteReply::Stale,
        _ => return Err(reply.unknown()),
    })
}

/// The word for what an outcome says of the provider, and the time that belongs to it.
fn health_words(health: ProviderHealth) -> (&'static str, Option<Duration>) {
    match health {
        ProviderHealth::Healthy => ("healthy", None),
        ProviderHealth::Failing => ("failing", None),
        ProviderHealth::Neutral => ("neutral", None),
        ProviderHealth::SessionLimited(retry_after) => ("session_limited", retry_after),
        ProviderHealth::FleetLimited(retry_after) => ("fleet_limited", Some(retry_after)),
    }
}

fn ms_or_nothing(span: Option<Duration>) -> String {
    span.map_or(String::new(), |span| ms(span).to_string())
}
