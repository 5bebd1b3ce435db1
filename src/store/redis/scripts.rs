//! The scripts, and the one place that decodes their replies.
//!
//! One function per script. Replies are words; an unknown one is an error of this crate or of a fleet that mixes
//! protocols, and is told as an outage rather than guessed at.

use std::time::Duration;

use redis::{FromRedisValue, Script, Value, from_redis_value};
use uuid::Uuid;

use super::records::Record;
use crate::admission::circuit::{CircuitState, Why};
use crate::error::Refusal;
use crate::outcome::Verdict;
use crate::store::contract::{Before, LeaderSeen, StoreError};

/// A script with the shared parts it needs. Plain ones are refused above maxmemory; what saves an outcome or
/// frees a lease is not.
macro_rules! script {
    ($first_line:literal, $($part:literal),+) => {
        Script::new(concat!($first_line, "\n", $(include_str!(concat!("../../../lua/", $part))),+))
    };
}

pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) renew: Script,
    pub(super) complete: Script,
    pub(super) abandon: Script,
    pub(super) look: Script,
    pub(super) reap: Script,
    pub(super) circuit: Script,
    pub(super) meta: Script,
    pub(super) check: Script,
    pub(super) probe: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            begin: script!(
                "#!lua",
                "lib/clock.lua",
                "lib/hash.lua",
                "lib/flight.lua",
                "lib/fence.lua",
                "lib/charge.lua",
                "lib/attempts.lua",
                "lib/budget.lua",
                "lib/queue.lua",
                "lib/circuit.lua",
                "begin.lua"
            ),
            renew: script!(
                "#!lua flags=allow-oom",
                "lib/clock.lua",
                "lib/hash.lua",
                "lib/flight.lua",
                "lib/fence.lua",
                "lib/budget.lua",
                "lib/circuit.lua",
                "renew.lua"
            ),
            complete: script!(
                "#!lua flags=allow-oom",
                "lib/clock.lua",
                "lib/hash.lua",
                "lib/waiting.lua",
                "lib/charge.lua",
                "lib/budget.lua",
                "lib/verdict.lua",
                "complete.lua"
            ),
            abandon: script!(
                "#!lua flags=allow-oom",
                "lib/clock.lua",
                "lib/hash.lua",
                "lib/flight.lua",
                "lib/waiting.lua",
                "lib/charge.lua",
                "lib/budget.lua",
                "lib/queue.lua",
                "abandon.lua"
            ),
            look: script!("#!lua flags=no-writes,allow-oom", "look.lua"),
            reap: script!(
                "#!lua flags=allow-oom",
                "lib/clock.lua",
                "lib/hash.lua",
                "lib/budget.lua",
                "lib/queue.lua",
                "reap.lua"
            ),
            circuit: script!("#!lua flags=no-writes,allow-oom", "lib/clock.lua", "lib/hash.lua", "circuit.lua"),
            meta: script!("#!lua", "meta.lua"),
            // No first line of its own: servers before 7.0 do not know it, and are to be told that they are old.
            check: script!("", "check.lua"),
            // Refused wherever begin.lua is: above maxmemory, by a replica, without enough replicas.
            probe: script!("#!lua", "lib/fence.lua", "probe.lua"),
        }
    }
}

impl Scripts {
    pub(super) fn all(&self) -> [&Script; 10] {
        let Self { begin, renew, complete, abandon, look, reap, circuit, meta, check, probe } = self;
        [begin, renew, complete, abandon, look, reap, circuit, meta, check, probe]
    }
}

/// What `begin.lua` replies.
#[derive(Debug)]
pub(super) enum BeginReply {
    Landed(Record),
    Lost { fence: u64 },
    Join { fence: u64, claim: String, leader: LeaderSeen, look: Duration },
    Lead { fence: u64, before: Before },
    Queued { look: Duration },
    Rejected(Rejected),
    Abandoned,
}

/// Why `begin.lua` lets nobody lead.
#[derive(Debug)]
pub(super) enum Rejected {
    /// As the rules say.
    Because(Refusal),
    /// The pod has its own reason.
    ByPod,
}

/// What `complete.lua` replies.
#[derive(Debug)]
pub(super) enum CompleteReply {
    Landed,
    Stands(Record),
    Stale,
}

/// What `check.lua` replies.
#[derive(Debug)]
pub(super) enum CheckReply {
    /// And the last fence given.
    Ready {
        fence: u64,
    },
    Old {
        version: String,
    },
    Refused {
        command: String,
        error: String,
    },
}

fn because(refusal: Refusal) -> BeginReply {
    BeginReply::Rejected(Rejected::Because(refusal))
}

pub(super) fn read_begin(reply: Reply) -> Result<BeginReply, StoreError> {
    Ok(match reply.word()? {
        "landed" => BeginReply::Landed(reply.record()?),
        "lost" => BeginReply::Lost { fence: reply.field(1)? },
        "join" => BeginReply::Join {
            fence: reply.field(1)?,
            claim: reply.field(2)?,
            leader: match reply.field::<String>(3)?.as_str() {
                "living" => LeaderSeen::Living,
                "lost" => LeaderSeen::Lost,
                _ => return Err(reply.unknown()),
            },
            look: reply.span(4)?,
        },
        "lead" => BeginReply::Lead {
            fence: reply.field(1)?,
            before: read_before(&reply.field::<String>(2)?).ok_or_else(|| reply.unknown())?,
        },
        "rejected" => match reply.field::<String>(1)?.as_str() {
            "another_claim" => because(Refusal::AnotherClaim { retry_after: reply.span(2)? }),
            "recovering" => because(Refusal::Recovering { retry_after: reply.span(2)? }),
            "circuit_open" => because(Refusal::CircuitOpen { retry_after: reply.span(2)? }),
            "cooling_down" => because(Refusal::CoolingDown { retry_after: reply.span(2)? }),
            "limited" => because(Refusal::Limited { retry_after: reply.span(2)? }),
            "budget" => because(Refusal::Budget { retry_after: reply.span(2)? }),
            "pod" => BeginReply::Rejected(Rejected::ByPod),
            _ => return Err(reply.unknown()),
        },
        "queued" => BeginReply::Queued { look: reply.span(1)? },
        "abandoned" => BeginReply::Abandoned,
        _ => return Err(reply.unknown()),
    })
}

pub(super) fn read_complete(reply: Reply) -> Result<CompleteReply, StoreError> {
    Ok(match reply.word()? {
        "landed" => CompleteReply::Landed,
        "stands" => CompleteReply::Stands(reply.record()?),
        "stale" => CompleteReply::Stale,
        _ => return Err(reply.unknown()),
    })
}

/// In how long the next permit ends.
pub(super) fn read_reap(reply: Reply) -> Result<Duration, StoreError> {
    match reply.word()? {
        "reaped" => reply.span(1),
        _ => Err(reply.unknown()),
    }
}

pub(super) fn read_circuit(reply: Reply) -> Result<CircuitState, StoreError> {
    let why = |reply: &Reply| Why::from_word(&reply.field::<String>(2)?).ok_or_else(|| reply.unknown());
    Ok(match reply.word()? {
        "closed" => CircuitState::Closed { failures: reply.field(1)? },
        "open" => CircuitState::Open { retry_after: reply.span(1)?, why: why(&reply)? },
        "half_open" => CircuitState::HalfOpen { probes: reply.field(1)?, why: why(&reply)? },
        _ => return Err(reply.unknown()),
    })
}

pub(super) fn read_check(reply: Reply) -> Result<CheckReply, StoreError> {
    Ok(match reply.word()? {
        "ready" => CheckReply::Ready { fence: reply.field(1)? },
        "old" => CheckReply::Old { version: reply.field(1)? },
        "refused" => CheckReply::Refused { command: reply.field(1)?, error: reply.field(2)? },
        _ => return Err(reply.unknown()),
    })
}

/// The word for a verdict, and the time that belongs to it.
pub(super) fn verdict_words(verdict: Verdict) -> (&'static str, Option<Duration>) {
    match verdict {
        Verdict::Healthy => ("healthy", None),
        Verdict::Failing => ("failing", None),
        Verdict::Neutral => ("neutral", None),
        Verdict::SessionLimited(retry_after) => ("session_limited", retry_after),
        Verdict::FleetLimited(retry_after) => ("fleet_limited", Some(retry_after)),
    }
}

/// The words that `begin.lua` and `renew.lua` share for what is known of a token.
pub(super) fn before_word(before: Before) -> &'static str {
    match before {
        Before::Nothing => "nothing",
        Before::LostLeaders => "lost_leaders",
        Before::Rotated => "rotated",
    }
}

fn read_before(word: &str) -> Option<Before> {
    [Before::Nothing, Before::LostLeaders, Before::Rotated].into_iter().find(|before| before_word(*before) == word)
}

/// A reply: a word, and what belongs to it.
pub(super) struct Reply {
    script: &'static str,
    values: Vec<Value>,
}

impl Reply {
    pub(super) fn new(script: &'static str, values: Vec<Value>) -> Self {
        Self { script, values }
    }

    pub(super) fn word(&self) -> Result<&str, StoreError> {
        match self.values.first() {
            Some(Value::BulkString(word)) => std::str::from_utf8(word).map_err(|_| self.unknown()),
            _ => Err(self.unknown()),
        }
    }

    pub(super) fn field<T: FromRedisValue>(&self, index: usize) -> Result<T, StoreError> {
        let value = self.values.get(index).cloned().ok_or_else(|| self.unknown())?;
        from_redis_value(value).map_err(|_| self.unknown())
    }

    /// A number of ms. Below 0 is what Redis says of a key that has just ended.
    fn span(&self, index: usize) -> Result<Duration, StoreError> {
        let ms: i64 = self.field(index)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    fn record(&self) -> Result<Record, StoreError> {
        let attempt: String = self.field(2)?;
        Ok(Record {
            fence: self.field(1)?,
            attempt: Uuid::parse_str(&attempt).map_err(|_| self.unknown())?,
            age: self.span(3)?,
            sealed: self.field::<Vec<u8>>(4)?.into(),
        })
    }

    /// Without the values: they may hold an outcome.
    pub(super) fn unknown(&self) -> StoreError {
        let script = self.script;
        StoreError::unanswered(format!("the script {script} gave a reply that this release does not know"))
    }
}

#[cfg(test)]
mod tests;
