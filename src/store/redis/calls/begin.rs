//! `begin.lua`: asks what a flight is to do.

use std::time::Duration;

use super::Calls;
use super::reply::Reply;
use super::words::{Caller, Lead, NONE, packed, read_history};
use crate::error::Refusal;
use crate::identity::Identity;
use crate::store::contract::{Ask, ChainEnd, Coming, FENCES_END, LeaderSeen, ServerId, StoreError, TokenHistory};
use crate::store::redis::call::Call;
use crate::store::redis::sealed::SealedOutcome;

/// What it is told of a flight.
pub(crate) struct Begin<'a> {
    pub(crate) ask: &'a Ask,
    /// The claim in hex, as the reply names it: the caller compares the two.
    pub(crate) claim: &'a str,
    /// The fence that the flight joined before, if it did.
    pub(crate) joined: Option<u64>,
    /// The highest fence that this pod has seen.
    pub(crate) seen: u64,
    pub(crate) may_lead: MayLead,
    /// As [`Roll::standing`](crate::store::redis::roll::Roll::standing) says.
    pub(crate) standing: &'a str,
    /// How long it has waited already, in the queue or for Redis to recover.
    pub(crate) waited: Option<Duration>,
    pub(crate) urgency: Urgency,
    /// It goes on where other claims of its client went.
    pub(crate) follows: bool,
}

/// How a flight wants a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It waits for one.
    Queues,
    /// Now or never.
    AtOnce,
    /// One that nobody else wants.
    Background,
}

/// Whether this pod leads anything at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayLead {
    Yes,
    /// Only for callers that are known.
    Known,
    No,
}

/// What it replies.
#[derive(Debug)]
pub(crate) enum BeginReply {
    Landed(SealedOutcome),
    /// The same, of which nobody was told.
    Untold(SealedOutcome),
    TokenLost {
        fence: u64,
    },
    Join(Join),
    Lead {
        fence: u64,
        history: TokenHistory,
        server: Option<ServerId>,
    },
    Queued {
        look: Duration,
    },
    /// Redis may have forgotten, and gives no lead before.
    Recovering {
        look: Duration,
    },
    /// The token was rotated, and the answer is held for this claim.
    Held {
        sealed: SealedOutcome,
        generation: u64,
    },
    /// Other claims of its client come with the token, too.
    Claims,
    /// Nobody has used the token.
    Unused,
    ChainOver(ChainEnd),
    /// Its client has ended the session.
    Ended,
    /// As the rules say.
    Rejected(Refusal),
    /// The token was rotated for another claim, whose outcome is fresh for so long.
    AnotherClaim(Duration),
    /// It would lead, and its pod leads nothing.
    RejectedByPod,
    /// It was given up before it arrived.
    Abandoned,
}

/// The leader that is waited for.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) fence: u64,
    pub(crate) claim: String,
    pub(crate) leader: LeaderSeen,
    /// In how long to look at it.
    pub(crate) look: Duration,
}

impl Calls {
    pub(crate) async fn begin(&self, begin: &Begin<'_>) -> Result<BeginReply, StoreError> {
        let Ask { identity, attempt, .. } = begin.ask;
        let chain = chain_of(begin.ask, begin.follows);
        let mut call = Call::new(&self.scripts.begin, if chain.is_some() { 4 } else { 3 });
        call.key(self.keys.lock(&identity.flight)).key(self.keys.flight(&identity.flight));
        call.key(self.keys.attempts(&identity.session));
        if chain.is_some() {
            call.key(self.keys.held(&identity.flight));
        }
        let Identity { client, account, .. } = identity;
        call.arg(&self.pod);
        let lead = Lead { attempt: *attempt, claim: begin.claim, client: *client, account: *account };
        let client_name = identity.client_name(self.config.pepper.as_ref());
        call.text(Caller { lead, client_name, standing: begin.standing });
        let numbers = packed([
            begin.joined.unwrap_or(0),
            begin.seen,
            begin.waited.map_or(NONE, |waited| u64::try_from(waited.as_micros()).unwrap_or(NONE - 1)),
            match begin.may_lead {
                MayLead::Yes => 2,
                MayLead::Known => 1,
                MayLead::No => 0,
            },
            match begin.urgency {
                Urgency::Background => 2,
                Urgency::Queues => 1,
                Urgency::AtOnce => 0,
            },
            begin.ask.newer_than.map_or(0, |fence| fence.min(FENCES_END)),
        ]);
        call.joined(&[numbers.as_flattened(), &self.begin_settings]);
        if let Some(chain) = chain {
            call.arg(chain);
        }
        let reply = self.run("begin", &call).await;
        if call.may_arrive_late() {
            begin.ask.note_unanswered();
        }
        read(&reply?, begin.claim)
    }
}

/// As what the caller comes along its chain, who it is there, and whether it goes on where other claims went.
fn chain_of(ask: &Ask, may_follow: bool) -> Option<String> {
    let holder = ask.identity.chain.as_ref()?.holder;
    let (word, from) = match ask.coming {
        Coming::Unchained => return None,
        Coming::Directly => ("direct", 0),
        Coming::Taking { from } => ("take", from),
        Coming::Walking { from } => ("walk", from),
        Coming::Past => ("past", 0),
        Coming::InTurn => ("turn", 0),
        Coming::Claiming { from } => ("claim", from),
    };
    let follows = if may_follow { " follows" } else { "" };
    Some(format!("{word} {holder} {from}{follows}"))
}

fn read(reply: &Reply, own_claim: &str) -> Result<BeginReply, StoreError> {
    Ok(match reply.word()? {
        "landed" if reply.len() > 5 => BeginReply::Untold(reply.sealed_outcome()?),
        "landed" => BeginReply::Landed(reply.sealed_outcome()?),
        "token_lost" => BeginReply::TokenLost { fence: reply.field(1)? },
        "join" if reply.len() == 3 => BeginReply::Join(Join {
            fence: reply.field(1)?,
            claim: own_claim.to_owned(),
            leader: LeaderSeen::Living,
            look: reply.span(2)?,
        }),
        "join" => BeginReply::Join(Join {
            fence: reply.field(1)?,
            claim: reply.field(2)?,
            leader: match reply.field::<String>(3)?.as_str() {
                "living" => LeaderSeen::Living,
                "lost" => LeaderSeen::Lost,
                _ => return Err(reply.unknown()),
            },
            look: reply.span(4)?,
        }),
        "lead" => BeginReply::Lead {
            fence: reply.field(1)?,
            history: read_history(&reply.field::<String>(2)?).ok_or_else(|| reply.unknown())?,
            server: ServerId::read(&reply.field::<String>(3)?),
        },
        "rejected" => read_rejected(reply)?,
        "queued" => BeginReply::Queued { look: reply.span(1)? },
        "recovering" => BeginReply::Recovering { look: reply.span(1)? },
        "held" => BeginReply::Held { sealed: reply.sealed_outcome()?, generation: reply.field(5)? },
        "claims" => BeginReply::Claims,
        "unused" => BeginReply::Unused,
        "used" => BeginReply::ChainOver(ChainEnd::Used),
        "broken" => BeginReply::ChainOver(ChainEnd::Broken),
        "ended" => BeginReply::Ended,
        "abandoned" => BeginReply::Abandoned,
        _ => return Err(reply.unknown()),
    })
}

fn read_rejected(reply: &Reply) -> Result<BeginReply, StoreError> {
    let retry_after = || reply.span(2);
    Ok(BeginReply::Rejected(match reply.field::<String>(1)?.as_str() {
        "another_claim" => return Ok(BeginReply::AnotherClaim(retry_after()?)),
        "circuit_open" => Refusal::CircuitOpen { retry_after: retry_after()? },
        "cooling_down" => Refusal::CoolingDown { retry_after: retry_after()? },
        "limited" => Refusal::Limited { retry_after: retry_after()? },
        "budget" => Refusal::Budget { retry_after: retry_after()? },
        "pod" => return Ok(BeginReply::RejectedByPod),
        _ => return Err(reply.unknown()),
    }))
}
