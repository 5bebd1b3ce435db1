//! Other claims of a credential: scopes, resources or audiences of one login that each keep a refresh token of their own. A claim that
//! comes with a token that another claim has had rotated goes on with the newest token of the login, and gets an answer of its own.
//!
//! The judge is a provider of single-use tokens: a token that comes twice costs the whole login.

mod alternating;
mod as_before;
mod away;
mod caller;
mod cost;
mod evicted;
mod gone;
mod logout;
mod lost_writes;
mod provider;
mod rounds;
#[path = "../support/mod.rs"]
mod support;
mod thieves;
mod walkers;
