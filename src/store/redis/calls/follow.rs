//! `follow.lua`: asks where a flight goes on whose token other claims of its client come with, too.

use std::time::Duration;

use uuid::Uuid;

use super::Calls;
use super::reply::Reply;
use super::words::ms;
use crate::identity::{Hash, Identity};
use crate::store::contract::Given;
use crate::store::contract::{Ask, Coming, StoreError};
use crate::store::redis::call::Call;
use crate::store::redis::sealed::SealedOutcome;

/// What it replies, still sealed.
pub(crate) enum FollowReply {
    Wait {
        look: Duration,
    },
    Given {
        id: Hash,
        key: Vec<u8>,
        given: Given,
        age: Duration,
        sealed: Vec<u8>,
    },
    Newest {
        id: Hash,
        key: Vec<u8>,
        place: u64,
        /// By what claims are called that have presented no token, one after the other, sealed.
        named: Vec<u8>,
        newest: u64,
        token: Vec<u8>,
    },
    /// The claim is the one that the answer is sealed with; the key is empty where the login has none yet.
    Other {
        id: Hash,
        key: Vec<u8>,
        place: u64,
        named: Vec<u8>,
        claim: Hash,
        sealed: SealedOutcome,
        /// Where the token in it stands.
        next: u64,
    },
    /// The key is empty where the login has none yet.
    Own {
        id: Hash,
        key: Vec<u8>,
        place: u64,
        named: Vec<u8>,
    },
    Forgotten,
    Unused,
    Spent,
    Full,
    Ended,
}

impl Calls {
    /// `own` is the question of its caller's own token, where its turn has led it on from there.
    pub(crate) async fn follow(&self, ask: &Ask, own: Option<&Ask>, may_lead: bool) -> Result<FollowReply, StoreError> {
        let Ask { identity, coming, .. } = ask;
        let Ask { attempt, identity: Identity { claim: owed, .. }, .. } = own.unwrap_or(ask);
        let Some(member) = &identity.chain else { return Ok(FollowReply::Spent) };
        let mut call = Call::new(&self.scripts.follow, 3);
        call.key(self.keys.flight(&identity.flight)).key(self.keys.held(&identity.flight));
        call.key(self.keys.incarnation());
        call.arg(&self.pod).text(attempt).text(identity.claim).text(identity.client).text(member.holder);
        call.arg(ms(self.config.claim_is_known_for(None))).arg(ms(self.config.permit_reserved_for()));
        call.arg(self.keys.channels());
        call.arg(match coming {
            Coming::Taking { .. } => "take",
            Coming::Walking { .. } => "walk",
            Coming::Claiming { .. } => "claim",
            Coming::Unchained | Coming::Directly | Coming::Past | Coming::InTurn if may_lead => "direct",
            Coming::Unchained | Coming::Directly | Coming::Past | Coming::InTurn => "wait",
        });
        call.text(owed).arg(ms(self.config.unproven_claim_is_known_for()));
        read(&self.run("follow", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<FollowReply, StoreError> {
    Ok(match reply.word()? {
        "wait" => FollowReply::Wait { look: reply.span(1)? },
        "given" => {
            let claim = hash(reply, 3)?;
            let attempt: String = reply.field(5)?;
            let attempt = Uuid::parse_str(&attempt).map_err(|_| reply.unknown())?;
            let given = Given { claim, attempt, fence: reply.field(4)? };
            let (key, age, sealed) = (reply.field(2)?, reply.span(6)?, reply.field(7)?);
            FollowReply::Given { id: hash(reply, 1)?, key, given, age, sealed }
        }
        "newest" => FollowReply::Newest {
            id: hash(reply, 1)?,
            key: reply.field(2)?,
            place: reply.field(3)?,
            named: reply.field(4)?,
            newest: reply.field(5)?,
            token: reply.field(6)?,
        },
        "other" => {
            let attempt: String = reply.field(7)?;
            let sealed = SealedOutcome {
                fence: reply.field(6)?,
                attempt: Uuid::parse_str(&attempt).map_err(|_| reply.unknown())?,
                age: reply.span(8)?,
                bytes: reply.field::<Vec<u8>>(9)?.into(),
            };
            let (id, claim) = (hash(reply, 1)?, hash(reply, 5)?);
            let (key, place, named) = (reply.field(2)?, reply.field(3)?, reply.field(4)?);
            FollowReply::Other { id, key, place, named, claim, sealed, next: reply.field(10)? }
        }
        "own" => FollowReply::Own {
            id: hash(reply, 1)?,
            key: reply.field(2)?,
            place: reply.field(3)?,
            named: reply.field(4)?,
        },
        "forgotten" => FollowReply::Forgotten,
        "unused" => FollowReply::Unused,
        "spent" => FollowReply::Spent,
        "full" => FollowReply::Full,
        "ended" => FollowReply::Ended,
        _ => return Err(reply.unknown()),
    })
}

pub(super) fn hash(reply: &Reply, index: usize) -> Result<Hash, StoreError> {
    Hash::from_hex(&reply.field::<String>(index)?).ok_or_else(|| reply.unknown())
}
