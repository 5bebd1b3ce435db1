//! Which signed texts were there already: each counts once (`jti`).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// More than a pod is sent within minutes. Of that many 8 MiB are used.
const MOST: usize = 100_000;

/// Of this pod: another one does not know what it has seen.
pub(super) struct Seen {
    most: usize,
    ids: Mutex<Ids>,
}

type Id = [u8; 16];

#[derive(Default)]
struct Ids {
    known: HashSet<Id>,
    /// In the order they came, each with when it is over, in seconds since 1970.
    order: VecDeque<(u64, Id)>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { most: MOST, ids: Mutex::default() }
    }
}

impl Seen {
    /// Notes the text that this key calls so, until it is over. False: it was there before.
    ///
    /// Only what the key has signed is noted, under the key: a stranger cannot use up what somebody else will send. Where
    /// texts come faster than they end the oldest are forgotten.
    pub(super) fn is_first(&self, thumbprint: &str, jti: &str, now: u64, until: u64) -> bool {
        let hash = Sha256::new().chain_update(thumbprint).chain_update([0]).chain_update(jti).finalize();
        let id = *hash.first_chunk().expect("BUG: a SHA-256 has 32 bytes");
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let Ids { known, order } = &mut *ids;
        while let Some((until, oldest)) = order.front().copied()
            && until <= now
        {
            known.remove(&oldest);
            order.pop_front();
        }
        if !known.insert(id) {
            return false;
        }
        if order.len() >= self.most
            && let Some((_, oldest)) = order.pop_front()
        {
            known.remove(&oldest);
        }
        order.push_back((until, id));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_a_key_counts_once_until_it_is_over() {
        let seen = Seen::default();

        assert!(seen.is_first("a", "1", 0, 10));
        assert!(!seen.is_first("a", "1", 9, 19));
        assert!(seen.is_first("a", "2", 9, 19));
        assert!(seen.is_first("b", "1", 9, 19), "another key's is another text");
        assert!(seen.is_first("a", "1", 10, 20), "it is over, and refused for its age");
    }

    #[test]
    fn texts_that_come_too_fast_push_out_the_oldest() {
        let seen = Seen { most: 2, ids: Mutex::default() };

        for jti in ["1", "2", "3"] {
            assert!(seen.is_first("a", jti, 0, 10));
        }

        assert!(!seen.is_first("a", "3", 0, 10) && !seen.is_first("a", "2", 0, 10));
        assert!(seen.is_first("a", "1", 0, 10));
        let ids = seen.ids.lock().expect("no panic");
        assert_eq!((ids.known.len(), ids.order.len()), (2, 2));
    }
}
