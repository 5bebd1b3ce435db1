//! What the built-in provider knows: its families, their rotations, and a log of every presentation.
//!
//! It rotates as RFC 9700 section 4.14.2 wants it: a refresh token works once, and the second presentation of one
//! that was used revokes the whole family, the latest token included. What is told of a storm is counted in the log
//! alone, so it says what was done and not what was believed.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timeline::{Judged, Presentation};

/// All families ever made, and everything that was presented.
#[derive(Default)]
pub(crate) struct Ledger {
    families: Vec<Family>,
    /// Every refresh token ever given, used ones too: a reuse must be known when it comes.
    tokens: HashMap<String, Given>,
    log: Vec<Entry>,
    batches: usize,
}

struct Family {
    batch: usize,
    /// The generation of the token that works.
    latest: u32,
    state: FamilyState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FamilyState {
    Alive,
    Revoked,
}

#[derive(Clone, Copy)]
struct Given {
    family: usize,
    generation: u32,
}

struct Entry {
    at_us: u64,
    family: Option<usize>,
    judgement: Judgement,
}

/// What a presentation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The token was the latest of its family and is used up now; this is the next one.
    Rotated(String),
    /// The token had been used before: its family was alive until now.
    Reused,
    /// The family had been revoked before.
    Revoked,
    /// Nobody was ever given this token.
    Unknown,
}

/// How often what happened to the families of one batch, by the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Requests that carried a token of these families.
    pub(crate) presentations: u64,
    /// Presentations that were answered with new tokens.
    pub(crate) rotations: u64,
    /// Families in which a used token came again.
    pub(crate) families_revoked: u64,
}

/// New families, as the driver is told of them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) batch: usize,
    /// The first refresh token of each.
    pub(crate) tokens: Vec<String>,
}

impl Ledger {
    /// Logs that many users in.
    pub(crate) fn open(&mut self, families: usize) -> Batch {
        self.batches += 1;
        let batch = self.batches;
        let mut tokens = Vec::with_capacity(families);
        for _ in 0..families {
            self.families.push(Family { batch, latest: 0, state: FamilyState::Alive });
            tokens.push(self.give(Given { family: self.families.len() - 1, generation: 0 }));
        }
        Batch { batch, tokens }
    }

    /// Judges one presentation and writes it down, with its time.
    pub(crate) fn present(&mut self, token: &str, at_us: u64) -> Judgement {
        let given = self.tokens.get(token).copied();
        let judgement = match given {
            None => Judgement::Unknown,
            Some(given) => self.judge(given),
        };
        let family = given.map(|given| given.family);
        self.log.push(Entry { at_us, family, judgement: judgement.clone() });
        judgement
    }

    fn judge(&mut self, given: Given) -> Judgement {
        let family = &mut self.families[given.family];
        match family.state {
            FamilyState::Revoked => Judgement::Revoked,
            FamilyState::Alive if given.generation == family.latest => {
                family.latest += 1;
                let generation = family.latest;
                Judgement::Rotated(self.give(Given { family: given.family, generation }))
            }
            FamilyState::Alive => {
                family.state = FamilyState::Revoked;
                Judgement::Reused
            }
        }
    }

    /// Counts in the log what became of a batch.
    pub(crate) fn counts(&self, batch: usize) -> Counts {
        let mut counts = Counts::default();
        let mut revoked = HashSet::new();
        for entry in &self.log {
            let Some(family) = entry.family.filter(|family| self.families[*family].batch == batch) else {
                continue;
            };
            counts.presentations += 1;
            match entry.judgement {
                Judgement::Rotated(_) => counts.rotations += 1,
                Judgement::Reused => _ = revoked.insert(family),
                Judgement::Revoked | Judgement::Unknown => {}
            }
        }
        counts.families_revoked = revoked.len() as u64;
        counts
    }

    /// Every presentation for the first so many families of a batch, in the order of the log.
    pub(crate) fn presentations(&self, batch: usize, families: usize) -> Vec<Presentation> {
        let Some(first) = self.families.iter().position(|family| family.batch == batch) else {
            return Vec::new();
        };
        let presentation = |entry: &Entry| {
            let login = entry.family?.checked_sub(first).filter(|login| *login < families)?;
            let judged = match entry.judgement {
                Judgement::Rotated(_) => Judged::Rotated,
                Judgement::Reused => Judged::Reused,
                Judgement::Revoked | Judgement::Unknown => Judged::TooLate,
            };
            (self.families[first + login].batch == batch).then_some(Presentation { login, at_us: entry.at_us, judged })
        };
        self.log.iter().filter_map(presentation).collect()
    }

    /// A new refresh token: 244 random bits.
    fn give(&mut self, given: Given) -> String {
        let token = format!("rt{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        self.tokens.insert(token.clone(), given);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(judgement: Judgement) -> String {
        match judgement {
            Judgement::Rotated(next) => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn chain_of_rotations_revokes_nothing() {
        let mut ledger = Ledger::default();
        let batch = ledger.open(1);

        let second = rotated(ledger.present(&batch.tokens[0], 1));
        rotated(ledger.present(&second, 2));

        let expected = Counts { presentations: 2, rotations: 2, families_revoked: 0 };
        assert_eq!(ledger.counts(batch.batch), expected);
    }

    #[test]
    fn reuse_revokes_the_family_and_its_latest_token() {
        let mut ledger = Ledger::default();
        let batch = ledger.open(2);

        let next = rotated(ledger.present(&batch.tokens[0], 1));

        assert_eq!(ledger.present(&batch.tokens[0], 1), Judgement::Reused);
        assert_eq!(ledger.present(&next, 3), Judgement::Revoked);
        rotated(ledger.present(&batch.tokens[1], 4));
        let expected = Counts { presentations: 4, rotations: 2, families_revoked: 1 };
        assert_eq!(ledger.counts(batch.batch), expected);
    }

    #[test]
    fn batches_are_judged_apart_and_strangers_not_at_all() {
        let mut ledger = Ledger::default();
        let (one, two) = (ledger.open(1), ledger.open(1));

        ledger.present(&one.tokens[0], 5);
        assert_eq!(ledger.present("never given", 6), Judgement::Unknown);

        assert_eq!(ledger.counts(one.batch).presentations, 1);
        assert_eq!(ledger.counts(two.batch), Counts::default());
    }

    #[test]
    fn presentations_are_told_by_login_with_their_times() {
        let mut ledger = Ledger::default();
        ledger.open(2);
        let batch = ledger.open(3);
        for (login, at_us) in [(1, 7), (0, 8), (1, 9), (1, 10), (2, 11)] {
            ledger.present(&batch.tokens[login], at_us);
        }

        let told = ledger.presentations(batch.batch, 2);

        let told: Vec<_> = told.iter().map(|told| (told.login, told.at_us, told.judged)).collect();
        assert_eq!(
            told,
            [(1, 7, Judged::Rotated), (0, 8, Judged::Rotated), (1, 9, Judged::Reused), (1, 10, Judged::TooLate)]
        );
    }
}
