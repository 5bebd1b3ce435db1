//! What happened, in the words the checker judges: one list of events per fleet.

use serde::{Deserialize, Serialize};

use crate::steps::{CallStep, PresentationStep};

/// What a fault does, as far as the rules have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Harm {
    /// Only what the event list itself shows: a pod that ends, an answer that does not come.
    Seen,
    /// A pod does not run: its leases end while it lives, and it answers nobody.
    Paused,
    /// A pod does not reach Redis, or not in time: its leases end while it lives.
    CutOff,
    /// Redis is out of reach or in trouble for everybody.
    Store,
    /// A pod does not reach the provider, or not well.
    ToProvider,
    /// Another server takes over: Redis is out of reach for everybody until then.
    Failover,
}

/// Something, and when it happened, in us.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timed<T> {
    pub(crate) t: u64,
    pub(crate) what: T,
}

pub(crate) type Event = Timed<What>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    PodUp {
        pod: usize,
    },
    PodDown {
        pod: usize,
    },
    /// Whom it hits: these pods, or with none of them the whole fleet.
    FaultBegan {
        run: usize,
        harm: Harm,
        pods: Vec<usize>,
    },
    FaultEnded {
        run: usize,
    },
    /// Redis has nothing any more that was written since; it forgot at some moment from then on.
    RedisForgot {
        since: u64,
        from: u64,
    },
    /// Another server decides, also where it has all data; it started at some moment from then on.
    RedisRestarted {
        from: u64,
    },
    /// Another server has taken over, at some moment from then on, and all pods have found it. It lacks what was written
    /// since, as far as pods that live do not put it back.
    FailedOver {
        lost_since: Option<u64>,
        from: u64,
    },

    Asked {
        call: u64,
        pod: usize,
        token: String,
        run: Option<usize>,
        who: Who,
    },
    /// As its pod tells it.
    Call {
        call: u64,
        step: CallStep,
    },
    /// As the provider tells it.
    Presentation {
        number: u64,
        step: PresentationStep,
    },

    /// A client has made all its tries.
    ClientEnded {
        run: Option<usize>,
        token: String,
        came: u64,
        result: ClientResult,
    },
    /// The last token that a living process was handed was presented once more.
    Verified {
        run: Option<usize>,
        token: String,
        is_alive: bool,
    },
    /// The fleet has nothing to do; what Redis holds a lease later.
    AtRest {
        run: usize,
        permits: u64,
        counter: u64,
        locks: u64,
        endless: Vec<String>,
        secrets: Vec<String>,
    },
    /// Redis' clock was set forward, at some moment since.
    RedisStepped {
        by_ms: u64,
        since: u64,
    },
    /// The machine did nothing for so long, until now.
    StoodStill {
        for_us: u64,
    },
    /// Counter and permits were seen to differ.
    Unequal {
        counter: u64,
        permits: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Who {
    Client,
    /// Holds the token and not the client's secret.
    Intruder,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ClientResult {
    Success {
        successor: String,
    },
    Over {
        why: String,
    },
    /// Nothing final in all its time.
    GaveUp {
        last: String,
    },
    /// It went away, as the driver wanted.
    Dropped,
}

/// One injection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: usize,
    pub(crate) fault: String,
    /// A leader that is lost here had sent nothing: nobody may lose a session.
    pub(crate) nothing_was_sent: bool,
    /// A leader died; all its joiners have an outcome within a lease and a call, where the policy is not to wait.
    pub(crate) leader_dies: bool,
    /// How long the provider takes for the flights that were led.
    pub(crate) call_ms: u64,
    pub(crate) kind: Kind,
}

/// Of which kind a fault is, for the demands that name kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Process,
    Connection,
    Redis,
    Provider,
}
