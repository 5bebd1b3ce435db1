//! What driver, pods and provider say to each other: one JSON object per line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Everything a pod is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PodSettings {
    pub(crate) redis: String,
    pub(crate) provider: SocketAddr,
    pub(crate) rules: Rules,
    pub(crate) makes: Makes,
}

/// What a pod is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Makes {
    /// The coordinator.
    Coordinator,
    /// Sabotage: every caller asks the provider.
    NoCoordination,
    /// Sabotage: a coordinator whose settings let nobody lead.
    RefusesAll,
    /// Sabotage: callers get no answer.
    AnswersNobody,
    /// Sabotage: every success is handed out as a lost session.
    LosesSuccesses,
    /// Sabotage: tokens are logged.
    LogsTokens,
    /// Sabotage: where the policy is to go on without Redis, nobody does.
    WaitsForRedis,
}

/// What the fleet agrees on, and the checker judges by. Milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) namespace: String,
    pub(crate) lease_ms: u64,
    pub(crate) store_timeout_ms: u64,
    pub(crate) refresh_timeout_ms: u64,
    pub(crate) wait_timeout_ms: u64,
    pub(crate) call_limit_ms: u64,
    pub(crate) keep_outcome_ms: u64,
    pub(crate) retry_lost_after_ms: u64,
    pub(crate) uncertain_memory_ms: u64,
    pub(crate) presents_uncertain_tokens_again: bool,
    /// `on_store_outage = local`.
    pub(crate) goes_on_alone: bool,
    pub(crate) max_concurrent: u32,
    pub(crate) max_attempts: u32,
}

/// A turn of the way of a call to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// The function was called and has not connected yet.
    Called,
    /// The request is out.
    Sent,
    /// The answer is in hand, and the coordinator does not know it yet.
    Answered,
}

/// What a call does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trouble {
    /// Panics where the function should return its future.
    PanicBeforePoll,
    /// Panics in the future, before anything is sent.
    PanicAfterPoll,
    /// Panics in the future, when the request is out.
    PanicAfterSending,
    /// Blocks the thread that polls it, when the request is out.
    Block { ms: u64 },
}

/// From the driver to a pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Refresh {
        call: u64,
        token: String,
        secret: String,
        /// Where the call waits to be released, should this caller lead.
        stop: Option<Stage>,
        trouble: Option<Trouble>,
    },
    /// All calls that stop go on.
    Release,
    /// The caller goes away.
    Drop {
        call: u64,
    },
    /// So many descriptors more than are open now; none gives the old limit back.
    LimitFiles {
        more: Option<u64>,
    },
    Close {
        deadline_ms: u64,
    },
}

/// From a pod to the driver, with the time it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) t: u64,
    pub(crate) told: PodSays,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PodSays {
    Ready,
    Led { call: u64, fence: u64 },
    At { call: u64, stage: Stage },
    Answered { call: u64, answer: Answer },
    Outcome { call: u64, outcome: Outcome },
    Done,
    Closed,
}

/// What a call came back with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Success {
        successor: String,
    },
    Denied,
    NotSent,
    Busy,
    Unknown,
    /// It panicked, or its future was dropped.
    GivenUp,
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Success {
        successor: String,
        fence: u64,
        role: String,
    },
    /// The session is over.
    Over {
        why: String,
    },
    /// It may come again.
    Later {
        why: String,
        retry_after_ms: u64,
    },
    /// Its pod ended first.
    Gone,
    /// It went away itself.
    Dropped,
}

/// From the provider to the driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) t: u64,
    pub(crate) log: ProviderSays,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ProviderSays {
    Ready {
        address: SocketAddr,
    },
    /// Written before it is judged.
    Presented {
        number: u64,
        token: String,
        call: u64,
    },
    Judged {
        number: u64,
        verdict: Verdict,
    },
    Replied {
        number: u64,
        how: Reply,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Rotated,
    /// Looked at, and left as it is.
    Untouched,
    /// A token that was used before: its family ends.
    Reused,
    /// A token of a family that has ended.
    Revoked,
    WrongClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Whole,
    /// As its mode says, or nobody was there any more.
    Broken,
}

/// The call id of the driver itself, who looks whether a session lives.
pub(crate) const BY_DRIVER: u64 = 0;
