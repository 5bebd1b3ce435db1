//! Claims: several scopes, resources or audiences of one client and one token. Each refresh rotates the token for all of them,
//! so a claim mostly comes with a token that another claim has had rotated.
//!
//! A model of rules that are not implemented: README.md tells which they are, and what they cannot do. It is about who is handed
//! what; leases, late answers and strangers without the credential are what the other two models are for.
//!
//! # What is simpler here than it is
//!
//! * **All callers hold the credential**, the thief too.
//! * **No outcome is fresh**: `keep_outcome` is over at once, which is the hardest for callers that come late.
//! * **Time** passes in steps of an access token's life, and only while no flight is under way. Whoever rests for longer than one is
//!   promised nothing.
//! * **A failover** is one step: a replica is promoted without the last writes, and before anybody is given a lead the living
//!   pods have put back their leads and landed their successes again, in their order.
//! * **A leader that is gone** is noticed at once. Its token counts as uncertain, and is presented again only by a caller that
//!   comes with it.
//! * **The provider** takes a token once; one that comes again revokes the family, and the history ends.
//!   It ends at the ninth token, too, which is never rotated.
//! * **A refusal** that touches nothing ends the flight; its caller keeps its token.

// In the order in which a reader needs them.
pub mod sizes;
pub mod rules;
pub mod redis;
pub mod host;
pub mod lazy;
pub mod scripts;
pub mod scenario;
pub mod promises;
pub mod world;
pub mod scene;
pub mod judge;
pub mod way;
pub mod action;
pub mod model;
pub mod story;
pub mod catalogue;
pub mod cuts;
