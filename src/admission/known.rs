//! Who is known: whom the provider has given tokens. Only what befalls known callers speaks of the provider's health; a
//! stranger may have made its request up so that the provider fails at it.
//!
//! A confidential client is known by its credential, whatever token it presents; any caller by the token that its last
//! success left it with. While nobody is known, everybody is.
//!
//! In Redis: `known` and `known_tokens`, `lua/lib/known.lua`. There the tokens are a filter of bits: some strangers in a
//! thousand are taken for known.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::identity::{Caller, Hash};

/// A credential is known for so long after its last success; and nobody is known any more so long after the last success
/// of all.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// More clients than this are not known at once: the one that succeeded longest ago makes way.
const MOST_CLIENTS: usize = 1000;
/// The tokens of so many successes and of as many before them are known.
const MOST_TOKENS: usize = 50_000;

/// The credentials that are known.
#[derive(Debug, Default)]
pub(crate) struct KnownClients {
    /// Until when.
    clients: HashMap<Hash, Instant, RandomState>,
}

impl KnownClients {
    pub(crate) fn has(&self, credential: Hash, now: Instant) -> bool {
        self.left(credential, now).is_some()
    }

    /// For how long it is known yet, unless it succeeds again.
    pub(crate) fn left(&self, credential: Hash, now: Instant) -> Option<Duration> {
        let left = self.clients.get(&credential)?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn note(&mut self, credential: Hash, now: Instant) {
        if self.clients.insert(credential, now + KNOWN_FOR).is_none() && self.clients.len() > MOST_CLIENTS {
            let oldest = self.clients.iter().min_by_key(|(_, until)| **until).map(|(client, _)| *client);
            oldest.and_then(|oldest| self.clients.remove(&oldest));
        }
    }
}

/// All callers that are known.
#[derive(Debug, Default)]
pub(crate) struct Known {
    clients: KnownClients,
    /// By client and token. Those of the last successes, and of those before them.
    tokens: [HashSet<Hash, RandomState>; 2],
    /// When nobody is known any more.
    over_at: Option<Instant>,
}

impl Known {
    pub(crate) fn has(&self, caller: Caller, now: Instant) -> bool {
        self.over_at.is_none_or(|over_at| over_at <= now)
            || caller.credential.is_some_and(|credential| self.clients.has(credential, now))
            || self.tokens.iter().any(|tokens| tokens.contains(&caller.client))
    }

    /// A caller got tokens: it is known by its credential, or, without one, with the token that it presents next.
    pub(crate) fn note(&mut self, credential: Option<Hash>, next: impl FnOnce() -> Hash, now: Instant) {
        self.over_at = Some(now + KNOWN_FOR);
        match credential {
            Some(credential) => self.clients.note(credential, now),
            None => self.note_token(next()),
        }
    }

    fn note_token(&mut self, client: Hash) {
        let [last, before] = &mut self.tokens;
        if last.len() >= MOST_TOKENS {
            std::mem::swap(last, before);
            last.clear();
        }
        last.insert(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(number: usize) -> Caller {
        Caller { client: Hash::unkeyed(&format!("client {number}")), credential: None }
    }

    fn confidential(number: usize) -> Caller {
        Caller { credential: Some(Hash::unkeyed(&format!("credential {number}"))), ..public(number) }
    }

    fn note(known: &mut Known, next: Caller, now: Instant) {
        known.note(next.credential, || next.client, now);
    }

    #[test]
    fn while_nobody_is_known_everybody_is() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.has(public(1), now));

        note(&mut known, public(1), now);

        assert!(known.has(public(1), now) && !known.has(public(2), now) && !known.has(confidential(3), now));
        assert!(known.has(public(2), now + KNOWN_FOR), "that was long ago");
    }

    #[test]
    fn credential_is_known_with_every_token_and_a_public_client_with_its_own() {
        let (mut known, now) = (Known::default(), Instant::now());

        note(&mut known, confidential(1), now);
        note(&mut known, public(2), now);

        assert!(known.has(Caller { client: Hash::unkeyed("another token"), ..confidential(1) }, now));
        assert!(!known.has(Caller { client: Hash::unkeyed("another token"), ..public(2) }, now));
        // Who holds the token of a confidential client, and not its credential.
        assert!(!known.has(Caller { credential: Some(Hash::unkeyed("a guess")), ..confidential(1) }, now));
    }

    #[test]
    fn what_is_known_is_bounded_and_the_oldest_make_way() {
        let (mut known, now) = (Known::default(), Instant::now());
        for number in 0..=MOST_CLIENTS {
            note(&mut known, confidential(number), now + Duration::from_millis(number as u64));
        }
        for number in 0..=2 * MOST_TOKENS {
            note(&mut known, public(number), now);
        }

        assert_eq!(known.clients.clients.len(), MOST_CLIENTS);
        assert!(!known.has(confidential(0), now) && known.has(confidential(1), now));
        assert!(known.tokens.iter().all(|tokens| tokens.len() <= MOST_TOKENS));
        assert!(!known.has(public(0), now) && known.has(public(2 * MOST_TOKENS), now));
    }
}
