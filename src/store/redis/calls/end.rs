//! `end.lua`: ends a session at the coordinator, for one client with one token.

use super::follow::hash;
use super::words::ms;
use super::{Calls, rules};
use crate::identity::Hash;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;
use crate::store::redis::sealed::SealedOutcome;

/// What it is told.
pub(crate) struct End {
    pub(crate) flight: Hash,
    /// Whose session ends.
    pub(crate) client: Hash,
    /// Who may be told the answer that is held for the token. None where the caller is in no chain.
    pub(crate) holder: Option<Hash>,
    /// As [`Roll`](crate::store::redis::roll::Roll) says.
    pub(crate) standing: String,
}

/// What it replies.
#[derive(Debug)]
pub(crate) enum EndReply {
    /// A flight of this client is under way, or its leader was lost.
    Leading,
    /// The token was rotated for this client; the claim is the one that the answer is sealed with.
    Rotated {
        sealed: SealedOutcome,
        claim: Hash,
    },
    /// The login has ended for all claims that come with tokens of it; the newest one, sealed under the family's key.
    Family {
        id: Hash,
        key: Vec<u8>,
        newest: u64,
        token: Vec<u8>,
    },
    Idle,
}

impl Calls {
    pub(crate) async fn end(&self, end: &End) -> Result<EndReply, StoreError> {
        let mut call = Call::new(&self.scripts.end, 5);
        call.key(self.keys.flight(&end.flight)).key(self.keys.held(&end.flight));
        rules::known_keys(&mut call, &self.keys);
        call.text(end.client).arg(end.holder.map_or(String::new(), |holder| holder.to_string()));
        call.arg(&end.standing).arg(ms(self.config.session_stays_ended())).arg(ms(self.config.wait_timeout));
        call.arg(end.flight.to_string()).arg(self.keys.channels());
        let reply = self.run("end", &call).await?;
        Ok(match reply.word()? {
            "leading" => EndReply::Leading,
            "rotated" => {
                let claim: String = reply.field(5)?;
                EndReply::Rotated {
                    sealed: reply.sealed_outcome()?,
                    claim: Hash::from_hex(&claim).ok_or_else(|| reply.unknown())?,
                }
            }
            "family" => EndReply::Family {
                id: hash(&reply, 1)?,
                key: reply.field(2)?,
                newest: reply.field(3)?,
                token: reply.field(4)?,
            },
            "idle" => EndReply::Idle,
            _ => return Err(reply.unknown()),
        })
    }
}
