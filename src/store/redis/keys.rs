//! The one place where a key is spelled.
//!
//! All keys of a namespace carry one hash tag, so that a script may touch flight, session and fleet keys in one
//! atomic step on every topology. The price is one slot per namespace: a shard of a cluster carries it alone.

use crate::identity::Hash;

#[derive(Debug)]
pub(super) struct Keys {
    /// `rc:{<namespace>}:`
    tag: String,
    // Those of the namespace are spelled once, not for every command.
    fence: String,
    recovering: String,
    permits: String,
    budget: String,
    queue: String,
    circuit: String,
    meta: String,
    channels: String,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        let tag = format!("rc:{{{namespace}}}:");
        Self {
            fence: format!("{}fence", tag),
            recovering: format!("{}recovering", tag),
            permits: format!("{}permits", tag),
            budget: format!("{}budget", tag),
            queue: format!("{}queue", tag),
            circuit: format!("{}circuit", tag),
            meta: format!("{}meta", tag),
            channels: format!("{}pod:", tag),
            tag,
        }
    }

    /// String, the owner: the pod and the fence that lead the flight. Ends with the lease.
    pub(super) fn lock(&self, flight: &Hash) -> String {
        format!("{}lock:{flight}", self.tag)
    }

    /// Hash, the record of the flight. Always outlives the lock.
    pub(super) fn flight(&self, flight: &Hash) -> String {
        format!("{}flight:{flight}", self.tag)
    }

    /// String, the last fence given. Never ends.
    pub(super) fn fence(&self) -> &str {
        &self.fence
    }

    /// String that stands for one lease after Redis was found to have forgotten fences.
    pub(super) fn recovering(&self) -> &str {
        &self.recovering
    }

    /// Hash, how often the session led, and until when it is refused. Ends when its window, its cooldown and the time that
    /// the provider asked it to stay away are over.
    pub(super) fn attempts(&self, session: &Hash) -> String {
        format!("{}attempts:{session}", self.tag)
    }

    /// Sorted set, the leaders that ask the provider now and the flights that were called from the queue, and until when
    /// at the latest.
    pub(super) fn permits(&self) -> &str {
        &self.permits
    }

    /// String, the number of permits that are out. Ends together with them.
    pub(super) fn budget(&self) -> &str {
        &self.budget
    }

    /// Sorted set, the flights that wait for a permit.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// A queue in which nobody waits, to try commands on.
    pub(super) fn probe_queue(&self, probe: &Hash) -> String {
        format!("{}queue:{probe}", self.tag)
    }

    /// Hash, whether the provider is left in peace. Ends when it is closed and quiet.
    pub(super) fn circuit(&self) -> &str {
        &self.circuit
    }

    /// Hash, what all pods must agree on. Never ends.
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

    /// ACL patterns for all keys and for all channels of the namespace.
    pub(super) fn acl_rules(&self) -> (String, String) {
        (format!("~{}*", self.tag), format!("&{}*", self.channels()))
    }
}
