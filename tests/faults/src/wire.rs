//! What driver, pods and provider say to each other: one JSON object per line.

use std::io::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::now_us;
use crate::history::Timed;
use crate::steps::{CallStep, PresentationStep, Stage};
use crate::transport::Login;

/// Everything a pod is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PodSettings {
    /// Its number in the history.
    pub(crate) number: usize,
    pub(crate) redis: String,
    /// Where Redis lets not everybody in.
    pub(crate) login: Option<Login>,
    pub(crate) provider: SocketAddr,
    pub(crate) rules: Rules,
    pub(crate) makes: Makes,
    /// It tells when it stood still for so long, in ms.
    pub(crate) tells_stalls_ms: Option<u64>,
}

/// What a pod is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Makes {
    /// The coordinator.
    Coordinator,
    /// Sabotage: every caller asks the provider.
    NoCoordination,
    /// Sabotage: a coordinator with settings that let no caller lead.
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
    /// Pods present the token that they are handed, so answers are held until somebody has used the new token.
    pub(crate) walks: bool,
    pub(crate) max_concurrent: u32,
    pub(crate) max_attempts: u32,
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
    /// It says what it has counted.
    Count,
}

/// From a pod to the driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PodSays {
    Ready,
    Call {
        call: u64,
        step: CallStep,
    },
    Done,
    Closed,
    /// Flights that waited for a server to recover.
    Counted {
        waited_for_recovery: u64,
    },
    StoodStill {
        for_us: u64,
    },
}

/// From the provider to the driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ProviderSays {
    Ready { address: SocketAddr },
    Presentation { number: u64, step: PresentationStep },
}

/// Tells the driver, with the time it happens.
pub(crate) fn say(what: impl Serialize) {
    let line = serde_json::to_string(&Timed { t: now_us(), what }).expect("BUG: it can be written as JSON");
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        // The driver is gone.
        std::process::exit(0);
    }
}
