//! `begin.lua`: asks what a flight is to do.

use std::time::Duration;

use super::reply::Reply;
use super::words::read_history;
use super::{Calls, rules};
use crate::config::Uncertain;
use crate::error::Refusal;
use crate::store::contract::{Ask, LeaderSeen, StoreError, TokenHistory};
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
    /// Whether this pod leads anything at present.
    pub(crate) may_lead: bool,
    /// How long it has queued already, if it does.
    pub(crate) queued: Option<Duration>,
    /// Whether it would wait for a permit.
    pub(crate) may_queue: bool,
}

/// What it replies.
#[derive(Debug)]
pub(crate) enum BeginReply {
    Landed(SealedOutcome),
    Lost {
        fence: u64,
    },
    Join(Join),
    Lead {
        fence: u64,
        history: TokenHistory,
    },
    Queued {
        look: Duration,
    },
    /// As the rules say.
    Rejected(Refusal),
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
        let Ask { identity, attempt } = begin.ask;
        let mut call = Call::new(&self.scripts.begin, 9);
        call.key(self.keys.lock(&identity.flight)).key(self.keys.flight(&identity.flight));
        call.key(self.keys.fence()).key(self.keys.recovering());
        rules::all_keys(&mut call, &self.keys, &identity.session);
        call.arg(&self.pod).arg(attempt.to_string()).arg(begin.claim);
        call.arg(identity.flight.to_string()).arg(self.keys.channels());
        call.arg(begin.joined.unwrap_or(0)).arg(begin.seen);
        call.arg(match self.config.uncertain {
            Uncertain::Retry => "retry",
            Uncertain::Never => "never",
        });
        call.arg(if begin.may_lead { "yes" } else { "no" });
        call.arg(begin.queued.map_or(String::new(), |queued| queued.as_micros().to_string()));
        call.arg(if begin.may_queue { "queue" } else { "none" });
        call.arg(&self.begin_settings[..]);
        read(&self.run("begin", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<BeginReply, StoreError> {
    Ok(match reply.word()? {
        "landed" => BeginReply::Landed(reply.sealed_outcome()?),
        "lost" => BeginReply::Lost { fence: reply.field(1)? },
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
        },
        "rejected" => read_rejected(reply)?,
        "queued" => BeginReply::Queued { look: reply.span(1)? },
        "abandoned" => BeginReply::Abandoned,
        _ => return Err(reply.unknown()),
    })
}

fn read_rejected(reply: &Reply) -> Result<BeginReply, StoreError> {
    let retry_after = || reply.span(2);
    Ok(BeginReply::Rejected(match reply.field::<String>(1)?.as_str() {
        "another_claim" => Refusal::AnotherClaim { retry_after: retry_after()? },
        "recovering" => Refusal::Recovering { retry_after: retry_after()? },
        "circuit_open" => Refusal::CircuitOpen { retry_after: retry_after()? },
        "cooling_down" => Refusal::CoolingDown { retry_after: retry_after()? },
        "limited" => Refusal::Limited { retry_after: retry_after()? },
        "budget" => Refusal::Budget { retry_after: retry_after()? },
        "pod" => return Ok(BeginReply::RejectedByPod),
        _ => return Err(reply.unknown()),
    }))
}
