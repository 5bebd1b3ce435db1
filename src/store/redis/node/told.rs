//! What is told of a node by one that was asked.

use std::ops::RangeInclusive;

use redis::{ConnectionInfo, ErrorKind, RedisError};

/// What one of those that were asked says.
pub(super) struct Told {
    /// Grows with each failover, and each move of a slot: of two that differ the higher one is right.
    pub(super) epoch: u64,
    pub(super) serves: Serves,
    /// All nodes of the cluster. Those that hold what one slot holds stand together.
    pub(super) members: Vec<Address>,
}

/// Which node serves what.
pub(super) enum Serves {
    /// One serves all, and is entered so.
    All(ConnectionInfo),
    /// The owners of slots.
    Slots(Vec<(RangeInclusive<u16>, Address)>),
}

/// Host and port.
pub(in crate::store::redis) type Address = (String, u16);

/// Nobody knows the node.
pub(super) fn nobody(detail: impl Into<String>) -> RedisError {
    RedisError::from((ErrorKind::Client, "the node of the namespace is not known", detail.into()))
}
