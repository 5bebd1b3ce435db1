//! Sessions that this pod ends (`end.lua`): what stood there, and the marks that a failover may lose.

use super::RedisStore;
use super::calls::end::{End, EndReply};
use crate::store::contract::{Ask, EndedFlight, StoreError};

impl RedisStore {
    pub(crate) async fn end_session(&self, ask: &Ask) -> Result<EndedFlight, StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        let identity = &ask.identity;
        let end = End {
            flight: identity.flight,
            client: identity.client,
            holder: identity.chain.as_ref().map(|member| member.holder),
            standing: self.roll.standing(ask),
        };
        Ok(match self.completer.keeper.end(end).await? {
            EndReply::Leading => EndedFlight::UnderWay,
            EndReply::Idle => EndedFlight::Idle,
            EndReply::Family { id, key, newest, token } => match self.open_newest(ask, id, &key, newest, &token) {
                Some((_, token)) => EndedFlight::FurtherOn(token),
                None => EndedFlight::Idle,
            },
            EndReply::Rotated { sealed, claim } => match self.opener(ask).of_claim(claim).open(&sealed) {
                Some(landed) => EndedFlight::Rotated(landed),
                // Somebody wrote into Redis. The mark stands.
                None => EndedFlight::Idle,
            },
        })
    }
}
