//! What Redis holds of a family: a record for each token, and one for the family. The token after one has the number after it.

use super::lazy::redis::Keys;
use super::sizes::{CALLERS, CLAIMS, TOKENS};

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// An answer gave it, or the provider left it as it was: nobody has presented it.
    Given,
    /// A flight leads it.
    Leading,
    /// Its leader is gone.
    Lost,
    /// The provider rotated it.
    Rotated,
}

/// `flight:<flight>`, with the key of the family, sealed for the token and the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// What is known of the token.
    pub state: State,
    /// The server that was noted when it was given.
    pub epoch: u8,
    /// A step of time has passed since it was last needed.
    pub is_old: bool,
    /// The provider rotated it before the flight that leads it now.
    pub was_rotated: bool,
}

impl Record {
    /// A record that is written now.
    pub fn new(state: State, epoch: u8) -> Self {
        Self { state, epoch, is_old: false, was_rotated: false }
    }
}

/// What the family knows of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The newest token that it came with.
    pub came: u8,
    /// The newest token that it was given, 0 for none: its answer is held with it.
    pub given: u8,
    /// The access token of that answer is over.
    pub is_over: bool,
    /// So many steps of time it is remembered yet.
    pub life: u8,
}

/// `family:<id>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Family {
    /// The newest token, sealed under the family's key.
    pub tip: u8,
    /// The newest token that anybody came with.
    pub used: u8,
    /// The claims.
    pub claims: [Option<Entry>; CLAIMS],
    /// The flights that want the newest token, in their order: the caller's number and 1, 0 for no more.
    pub queue: [u8; CALLERS],
}

impl Family {
    /// Whether the claim was given the token, or came with it last.
    pub fn is_holder(&self, claim: usize, token: u8) -> bool {
        self.claims[claim].is_some_and(|entry| token == entry.came || token == entry.given)
    }

    /// Whether anybody is owed something for the token.
    pub fn is_held(&self, token: u8) -> bool {
        (0..CLAIMS).any(|claim| self.is_holder(claim, token))
    }

    /// The flight whose turn it is.
    pub fn first(&self) -> Option<u8> {
        (self.queue[0] > 0).then(|| self.queue[0] - 1)
    }

    /// The flight takes the last place, unless it has one.
    pub fn queue(&mut self, flight: u8) {
        if !self.queue.contains(&(flight + 1)) {
            let free = self.queue.iter_mut().find(|place| **place == 0);
            *free.expect("BUG: there is a place for each flight") = flight + 1;
        }
    }

    /// The flight has its turn, or needs none.
    pub fn leave_queue(&mut self, flight: u8) {
        if let Some(place) = self.queue.iter().position(|&it| it == flight + 1) {
            self.queue[place..].rotate_left(1);
            self.queue[CALLERS - 1] = 0;
        }
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Db {
    /// A record for each token.
    pub records: [Option<Record>; TOKENS],
    /// The family.
    pub family: Option<Family>,
    /// What there is instead where the family is made lazily.
    pub lazy: Keys,
    /// The judge's: the newest token that each claim came with, as far as Redis can know.
    pub came: [u8; CLAIMS],
    /// The judge's: the newest with which each came before anybody had used what followed.
    pub rightful: [u8; CLAIMS],
    /// The judge's: the newest of these that the stores know it by, where the family is made lazily: it was given that, or has presented.
    pub known_by: [u8; CLAIMS],
}

impl Db {
    /// The record of a token.
    pub fn record(&mut self, token: u8) -> &mut Option<Record> {
        &mut self.records[usize::from(token) - 1]
    }

    /// What is known of a token.
    pub fn state(&self, token: u8) -> Option<State> {
        self.records[usize::from(token) - 1].map(|record| record.state)
    }
}
