//! The protocol as a model: pods, the scripts, a Redis that fails over, and a provider that takes a token once, in every
//! order within bounds, judged by the promises of `docs/guarantees.md`. README.md tells how to read what it finds.
//!
//! # What is simpler here than it is
//!
//! * **Time** goes in ticks, a third of the usual lease each, and all clocks run alike. A pod that runs does what is due
//!   before the next tick; in which order pods do it is free. Whatever is slow is a fault that a scenario counts: a
//!   process that stops, a command that is lost or late. Redis' clock may be set forward or back.
//! * **A command** runs and is answered in one step. That it runs and its answer is lost, that it never arrives, and that
//!   it arrives after its pod gave it up are faults. A pod that stops before it has read an answer is the same as one that
//!   stops just after: it has done nothing with it.
//! * **Last look and sending** are one step. Scenario `pause-last-gap` takes them apart, and shows that nothing helps then.
//! * **Redis** is a log of states: a promotion takes the data as it was before any of its last writes. Run ids grow. A
//!   demoted primary goes on answering only those pods that it holds. Two servers are never primary in turn twice.
//! * **Messages** to waiting pods only wake: the pod that is woken begins again. Scenario `crash-deaf` has none.
//! * **One token**, with up to two claims. Successes and refusals stay fresh for longer than any history lasts, so nothing
//!   is presented after `keep_outcome`. Marks `gone:` do not end. A pod has one flight at a time; its callers are one.
//! * **Chains and strangers** are a model of their own: [`chain`]; **other claims** of a credential another: [`claims`].
//! * **Left out**: the session's attempts, the circuit (a probe is given and ends as a permit does), the order of the queue,
//!   `on_store_outage = local`, seals, and two tokens that compete for a permit.
//! * **Nobody hangs** is judged by a bound, not by `eventually`: a caller that was given nothing after `patience` ticks in
//!   which its process ran has waited too long. The checker's `eventually` does not see a history that ends in a circle.

// In the order in which a reader needs them.
pub mod rules;
pub mod settings;
pub mod provider;
pub mod redis;
pub mod scripts;
pub mod pod;
pub mod turn;
pub mod scenario;
pub mod promises;
pub mod world;
pub mod judge;
pub mod scene;
pub mod way;
pub mod leader;
pub mod faults;
pub mod action;
pub mod model;
pub mod story;
pub mod report;
pub mod catalogue;
pub mod cuts;
pub mod chain;
pub mod claims;
