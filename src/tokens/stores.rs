//! The session stores that come with the crate. They do not know each other.

pub(super) mod memory;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
pub(super) mod redis;
