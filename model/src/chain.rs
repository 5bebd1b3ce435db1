//! Chains: answers that are held until somebody has used the token that they gave, callers that come with old tokens, and
//! strangers that come with somebody else's.
//!
//! A model of its own, because it needs none of the clocks of the other: so a chain of three links, several callers and a failover
//! stay small. It uses the words of the scripts, `src/coordinator/walk.rs` and `way/along.rs`.
//!
//! # What is simpler here than it is
//!
//! * **Time** passes in steps of more than a lease and of more than a replica lags: what was fresh is not, what was not is
//!   forgotten, and the access tokens are over or not. So a promotion loses writes since the last step, and a pod still
//!   keeps all that it has landed since then. What a pod keeps it lands in the order in which it landed before.
//! * **A lease** ends only when its leader is gone, or falls silent, which is a fault; a lost leader is taken over at once.
//!   That nobody presents beside a living leader is what the other model is for.
//! * **A command** runs and is answered in one step. What a walk leaves behind may be lost, and so may what a waiting flight is told.
//! * **Each caller** has a pod of its own: flights of one pod are shared before anybody asks Redis. The tab may be closed at any
//!   time; its flight goes on, and is given back where it would lead.
//! * **The provider** has one family, rotates each time, and takes a token once: one that comes again revokes the family. It knows
//!   one credential. The fourth token is never rotated.
//! * **Known** is the client's credential, and no other.
//! * **Left out**: rules of admission but the order in which clients lead, outcomes that were waited for while a newcomer leads
//!   already (`last_*`), `keep_at_most` (an eviction is a fault), seals, tokens that are kept.

// In the order in which a reader needs them.
pub mod rules;
pub mod redis;
pub mod scripts;
pub mod scenario;
pub mod flight;
pub mod promises;
pub mod world;
pub mod judge;
pub mod way;
pub mod action;
pub mod model;
pub mod story;
pub mod catalogue;
pub mod cuts;
