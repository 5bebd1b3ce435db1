//! A server while a script runs, and by what it goes.

use super::redis::Db;
use super::rules::{Rule, Rules};

/// By what all servers go.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The rules in force.
    pub rules: Rules,
    /// So many claims have a place.
    pub places: usize,
    /// Access tokens live for longer than an hour, and than an answer is held.
    pub is_long: bool,
}

impl Terms {
    /// Whether a family is made only when a second claim comes.
    pub fn is_lazy(&self) -> bool {
        self.rules.has(Rule::LazyFamily)
    }
}

/// A server while a script runs.
pub struct Host<'a> {
    /// Its data.
    pub db: &'a mut Db,
    /// The rules in force.
    pub rules: Rules,
    /// Its number.
    pub server: u8,
    /// So many claims have a place.
    pub places: usize,
    /// Access tokens live for longer than an hour, and than an answer is held.
    pub is_long: bool,
}

impl<'a> Host<'a> {
    /// The server of this number.
    pub fn new(db: &'a mut Db, server: u8, Terms { rules, places, is_long }: Terms) -> Self {
        Self { db, rules, server, places, is_long }
    }
}

impl Host<'_> {
    pub(super) fn has(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }
}
