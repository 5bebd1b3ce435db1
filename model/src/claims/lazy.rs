//! The rules as the stores keep them: a login has no family until a second claim comes with a token of it (`Rule::LazyFamily`). Until
//! then a claim goes on by the answer that is held for its token, which says to whom it was given.
//!
//! A function for each script, field by field, so that a history that breaks a promise here can be read off `lua/`.

pub mod name;
pub mod redis;
pub mod begin;
pub mod follow;
pub mod land;
pub mod course;
pub mod way;
pub mod story;
