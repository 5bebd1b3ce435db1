//! The one place where a key is spelled.
//!
//! All keys of a namespace carry one hash tag, so that a script may touch flight, session and fleet keys in one
//! atomic step on every topology. The price is one slot per namespace: a shard of a cluster carries it alone.

use std::fmt;

use redis::{RedisWrite, ToRedisArgs};

use super::slot::slot_of;
use crate::identity::Hash;

#[derive(Debug)]
pub(super) struct Keys {
    /// `rc:{<namespace>}:`
    tag: String,
    // Those of the namespace are spelled once, not for every command.
    fence: String,
    incarnation: String,
    permits: String,
    budget: String,
    queue: String,
    /// Hash, the permits that were given while several clients queued, and for which client each counts. Scripts spell it.
    shares: String,
    circuit: String,
    known: String,
    known_tokens: [String; 2],
    meta: String,
    held_until: String,
    channels: String,
    fleet: String,
    servers: String,
    slot: u16,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        let tag = format!("rc:{{{namespace}}}:");
        Self {
            fence: format!("{}fence", tag),
            incarnation: format!("{}incarnation", tag),
            permits: format!("{}permits", tag),
            budget: format!("{}budget", tag),
            queue: format!("{}queue", tag),
            shares: format!("{}shares", tag),
            circuit: format!("{}circuit", tag),
            known: format!("{}known", tag),
            known_tokens: [0, 1].map(|number| format!("{}known_tokens:{number}", tag)),
            meta: format!("{}meta", tag),
            held_until: format!("{}held_until", tag),
            channels: format!("{}pod:", tag),
            fleet: format!("{}fleet", tag),
            servers: format!("{}server:", tag),
            slot: slot_of(namespace),
            tag,
        }
    }

    /// What all keys look like.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.tag)
    }

    /// The slot of all keys and channels, on a cluster.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// String, the owner: the pod and the fence that lead the flight. Ends with the lease.
    pub(super) fn lock<'a>(&'a self, flight: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Lock, name: flight }
    }

    /// Hash, the record of the flight. Always outlives the lock.
    pub(super) fn flight<'a>(&'a self, flight: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Flight, name: flight }
    }

    /// Hash, the pods that wait for the flight of this record. Scripts spell it. Ends when they are told, or wait no longer.
    pub(super) fn waits_beside(&self, flight: &str) -> Option<String> {
        let name = flight.strip_prefix(&self.tag)?.strip_prefix("flight:")?;
        Some(format!("{}waits:{name}", self.tag))
    }

    /// Hash, the answer that is held for a token until somebody has used the one that it gave. Ends then, or after
    /// `keep_until_used`.
    pub(super) fn held<'a>(&'a self, flight: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Held, name: flight }
    }

    /// Hash, a login that several claims come with. Ends when nobody is owed anything any more, as the two below do.
    pub(super) fn family<'a>(&'a self, id: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Family, name: id }
    }

    /// Hash, what each claim of a login was given last.
    pub(super) fn answers<'a>(&'a self, id: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Answers, name: id }
    }

    /// Sorted set, the flights that wait for their turn among the claims of a login. Scripts spell it by themselves, and mostly the two
    /// above.
    pub(super) fn order(&self, id: impl fmt::Display) -> String {
        format!("{}order:{id}", self.tag)
    }

    /// Sorted set, until when answers are held. Ends with the last.
    pub(super) fn held_until(&self) -> &str {
        &self.held_until
    }

    /// String, the last fence given. Never ends.
    pub(super) fn fence(&self) -> &str {
        &self.fence
    }

    /// String, the server that decided last, and until when it recovers. Never ends.
    pub(super) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Hash, how often the session led, and until when it is refused. Ends when its window, its cooldown and the time that
    /// the provider asked it to stay away are over.
    pub(super) fn attempts<'a>(&'a self, session: &'a Hash) -> NamedKey<'a> {
        NamedKey { tag: &self.tag, kind: Kind::Attempts, name: session }
    }

    /// Sorted set, the leaders that ask the provider now and the queued flights that a permit is reserved for, and until when
    /// at the latest.
    pub(super) fn permits(&self) -> &str {
        &self.permits
    }

    /// String, the number of permits that are out. Ends together with them.
    pub(super) fn budget(&self) -> &str {
        &self.budget
    }

    /// Sorted set, the clients whose flights wait for a permit.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// Sorted set, the flights of one client that wait for a permit. Ends when the last can wait no longer. Scripts spell it by
    /// themselves.
    pub(super) fn line(&self, client: impl fmt::Display) -> String {
        format!("{}queue:{client}", self.tag)
    }

    /// Hash, whether the provider is left in peace. Ends when it is closed and quiet.
    pub(super) fn circuit(&self) -> &str {
        &self.circuit
    }

    /// Hash, the clients that are known by their credentials. Ends when nobody is known any more.
    pub(super) fn known(&self) -> &str {
        &self.known
    }

    /// Strings, filters of the tokens that are known.
    pub(super) fn known_tokens(&self) -> &[String; 2] {
        &self.known_tokens
    }

    /// Those that are one for the whole namespace.
    pub(super) fn of_namespace(&self) -> [&str; 12] {
        let [first, second] = &self.known_tokens;
        [
            &self.fence,
            &self.incarnation,
            &self.meta,
            &self.permits,
            &self.budget,
            &self.queue,
            &self.shares,
            &self.circuit,
            &self.known,
            first,
            second,
            &self.held_until,
        ]
    }

    /// Hash, the register of living pods. Ends with the last entry.
    pub(super) fn meta(&self) -> &str {
        &self.meta
    }

    /// Channel of one pod.
    pub(super) fn channel(&self, pod: &str) -> String {
        format!("{}{pod}", self.channels())
    }

    /// Channels of all pods, without the pod.
    pub(super) fn channels(&self) -> &str {
        &self.channels
    }

    /// Channel of all pods: that somebody listens there says that the namespace is in use.
    pub(super) fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Channel of the pods that listen at the server with this run id: that somebody does says which server it is.
    pub(super) fn server(&self, run_id: impl fmt::Display) -> String {
        format!("{}{run_id}", self.servers)
    }

    /// What a key of this namespace holds, by its name.
    pub(super) fn holds(&self, key: &str) -> Holds {
        let Some(name) = key.strip_prefix(&self.tag) else { return Holds::Anything };
        match name.split(':').next().unwrap_or(name) {
            "lock" => Holds::Owner,
            "flight" => Holds::Fields(&FLIGHT_NUMBERS),
            "fence" | "budget" => Holds::Number,
            "incarnation" => Holds::Text,
            "attempts" => Holds::Fields(&ATTEMPTS_NUMBERS),
            "circuit" => Holds::Fields(&CIRCUIT_NUMBERS),
            "permits" | "queue" | "held_until" => Holds::Set,
            "held" => Holds::Fields(&HELD_NUMBERS),
            "family" => Holds::Fields(&FAMILY_NUMBERS),
            "answers" => Holds::Fields(&[]),
            "order" => Holds::Set,
            "known" => Holds::Fields(&KNOWN_NUMBERS),
            "meta" | "shares" => Holds::Fields(&[]),
            _ => Holds::Anything,
        }
    }

    /// ACL patterns for all keys and for all channels of the namespace.
    pub(super) fn acl_rules(&self) -> (String, String) {
        (format!("~{}*", self.tag), format!("&{}*", self.tag))
    }
}

/// A key that is named after a flight or a session. Each refresh needs some: they are written into its commands at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedKey<'a> {
    tag: &'a str,
    kind: Kind,
    name: &'a Hash,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Lock,
    Flight,
    Held,
    Family,
    Answers,
    Attempts,
}

impl fmt::Display for NamedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, kind, name } = self;
        match kind {
            Kind::Lock => write!(f, "{}lock:{name}", tag),
            Kind::Flight => write!(f, "{}flight:{name}", tag),
            Kind::Held => write!(f, "{}held:{name}", tag),
            Kind::Family => write!(f, "{}family:{name}", tag),
            Kind::Answers => write!(f, "{}answers:{name}", tag),
            Kind::Attempts => write!(f, "{}attempts:{name}", tag),
        }
    }
}

impl ToRedisArgs for NamedKey<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A string, a whole number.
    Number,
    /// A string, a pod and a fence.
    Owner,
    /// A string.
    Text,
    /// A sorted set.
    Set,
    /// A hash. These of its fields are numbers.
    Fields(&'static [&'static str]),
    /// A release that this one does not know may hold anything.
    Anything,
}

impl Holds {
    /// As `TYPE` would say it.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Number | Self::Owner | Self::Text => "string",
            Self::Set => "sorted set",
            Self::Fields(_) => "hash",
            Self::Anything => "key of this release",
        }
    }
}

const FLIGHT_NUMBERS: [&str; 15] = [
    "generation",
    "untold",
    "used",
    "given_at",
    "given_until",
    "fence",
    "started",
    "lease_ms",
    "lost",
    "again_at",
    "landed_at",
    "fresh_until",
    "fresh_ms",
    "last_fence",
    "last_landed_at",
];
const FAMILY_NUMBERS: [&str; 2] = ["used", "ended"];
const HELD_NUMBERS: [&str; 4] = ["fence", "landed_at", "generation", "used"];
const ATTEMPTS_NUMBERS: [&str; 6] =
    ["attempts", "window_start", "last_attempt", "cooldown_until", "cooldown_ms", "held_until"];
const KNOWN_NUMBERS: [&str; 1] = ["noted"];
const CIRCUIT_NUMBERS: [&str; 4] = ["failures", "open_until", "open_ms", "opened_after"];
