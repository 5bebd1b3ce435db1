//! Redis behind Sentinel and on a Cluster: the servers, what is done to them, and the fleets and rows of it.

pub(crate) mod deeds;
pub(crate) mod gate;
pub(crate) mod node;
pub(crate) mod rows;
pub(crate) mod sentinel;
pub(crate) mod servers;
pub(crate) mod slots;
pub(crate) mod wait;
pub(crate) mod watch;
