//! What a record says of clients other than the one that leads: which of them ended uncertain, and which one is to lead next. What
//! `lua/lib/clients.lua` is in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Uncertain;
use crate::identity::Hash;

/// So many clients of one token are told apart; of those that come then, strangers are refused under `never`.
const MOST_CLIENTS: usize = 64;

/// A flight of a client was lost or ended as unknown, and other clients led since.
#[derive(Clone, Copy, Debug)]
pub(super) struct UncertainEnd {
    pub(super) fence: u64,
    /// How many of its leaders were lost in a row.
    pub(super) lost: u32,
}

#[derive(Debug, Default)]
pub(super) struct OtherClients {
    uncertain: BTreeMap<Hash, UncertainEnd>,
    /// In this order known clients that wait lead next.
    turns: Vec<Hash>,
    /// Since when a client leaves the lead to those before it.
    turns_from: Option<Instant>,
    /// The fence of a lead by another credential than that of the token's holder.
    pub(super) stranger: Option<u64>,
}

impl OtherClients {
    pub(super) fn uncertain(&self, client: Hash) -> Option<UncertainEnd> {
        self.uncertain.get(&client).copied()
    }

    /// Whether too many are uncertain to tell all of them apart.
    pub(super) fn are_too_many(&self) -> bool {
        self.uncertain.len() >= MOST_CLIENTS
    }

    pub(super) fn has_uncertain(&self) -> bool {
        !self.uncertain.is_empty()
    }

    pub(super) fn keep_uncertain(&mut self, client: Hash, end: UncertainEnd, policy: Uncertain) {
        if policy == Uncertain::Never || !self.are_too_many() {
            self.uncertain.insert(client, end);
        }
    }

    /// The token is certain for everybody.
    pub(super) fn forget_uncertain(&mut self) {
        self.uncertain.clear();
    }

    /// A known client waits: it has a place in the order.
    pub(super) fn take_turn(&mut self, client: Hash) {
        if !self.turns.contains(&client) && self.turns.len() < MOST_CLIENTS {
            self.turns.push(client);
        }
    }

    /// Until when a client leaves the lead to known ones that came before. None when there is none or they do not come
    /// within `called`.
    pub(super) fn wait_for_turn(
        &mut self,
        client: Hash,
        is_known: bool,
        called: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let first = if is_known { self.turns.first() } else { self.turns.iter().find(|other| **other != client) };
        if first.is_none_or(|first| *first == client) {
            return None;
        }
        let until = *self.turns_from.get_or_insert(now) + called;
        if until > now {
            return Some(until);
        }
        self.turns.retain(|other| *other == client);
        self.turns_from = None;
        None
    }

    /// This client leads.
    pub(super) fn leads(&mut self, client: Hash) {
        self.uncertain.remove(&client);
        self.turns.retain(|other| *other != client);
        self.turns_from = None;
    }
}
