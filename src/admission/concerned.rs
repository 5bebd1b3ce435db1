//! Whom failures concern: the client that brought them, or everybody.
//!
//! What befalls one client alone says nothing of the others: it may send requests that the provider fails at, or have been
//! limited for its own sake. So as many as close the circuit close it for that client, and for everybody only where as many came
//! of other clients, too. In a namespace of one client the two are the same.
//!
//! In Redis: `lua/lib/health.lua`.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::Hash;

/// So many tokens that failed in a row are told apart.
const FAILED_TOKENS: usize = 64;

/// A client by the hash of its id, whatever token and credential it comes with.
pub(crate) type ClientName = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerned {
    Client(ClientName),
    Everybody,
}

impl Concerned {
    /// None where it is everybody.
    pub(crate) fn client(self) -> Option<ClientName> {
        match self {
            Self::Client(client) => Some(client),
            Self::Everybody => None,
        }
    }

    pub(crate) fn includes(self, client: ClientName) -> bool {
        match self {
            Self::Client(concerned) => concerned == client,
            Self::Everybody => true,
        }
    }

    /// Whom one more of a client concerns, if `limit` are too many. What the client brought that has the most of them concerns
    /// nobody else, unless the circuit is open for one client already, of which nothing is counted then.
    pub(crate) fn by(
        counts: &BTreeMap<ClientName, u32>,
        client: ClientName,
        limit: u32,
        is_one_out: bool,
    ) -> Option<Self> {
        let all = counts.values().copied().fold(0, u32::saturating_add);
        let most = if is_one_out { 0 } else { counts.values().copied().max().unwrap_or(0) };
        if all - most >= limit {
            Some(Self::Everybody)
        } else {
            (counts.get(&client).is_some_and(|own| *own >= limit)).then_some(Self::Client(client))
        }
    }
}

/// Flights that failed without a success between them. Those of one token count once.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    by_client: BTreeMap<ClientName, u32>,
    tokens: BTreeSet<Hash>,
}

impl Failures {
    pub(crate) fn add(&mut self, token: Hash, client: ClientName) {
        if self.tokens.contains(&token) {
            return;
        }
        if self.tokens.len() < FAILED_TOKENS {
            self.tokens.insert(token);
        }
        *self.by_client.entry(client).or_default() += 1;
    }

    pub(crate) fn by_client(&self) -> &BTreeMap<ClientName, u32> {
        &self.by_client
    }

    pub(crate) fn count(&self) -> u32 {
        self.by_client.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[u32]) -> BTreeMap<ClientName, u32> {
        (1..).zip(of.iter().copied()).collect()
    }

    #[test]
    fn what_one_client_brings_concerns_it_alone_and_what_others_bring_too_everybody() {
        let by = |of: &[u32], client| Concerned::by(&counts(of), client, 3, false);

        assert_eq!([by(&[2], 1), by(&[2, 2], 2), by(&[1, 1, 1], 3)], [None; 3]);
        assert_eq!([by(&[3], 1), by(&[3, 2], 1)], [Some(Concerned::Client(1)); 2]);
        assert_eq!([by(&[2, 2, 1], 3), by(&[1, 1, 1, 1], 4)], [Some(Concerned::Everybody); 2]);
    }

    #[test]
    fn while_one_client_is_out_all_others_count_together() {
        assert_eq!(Concerned::by(&counts(&[1, 1]), 2, 3, true), None);
        assert_eq!(Concerned::by(&counts(&[3]), 1, 3, true), Some(Concerned::Everybody));
    }

    #[test]
    fn one_token_is_one_failure() {
        let mut failures = Failures::default();
        for client in [1, 2] {
            failures.add(Hash::unkeyed("t"), client);
        }

        assert_eq!(failures.count(), 1);
    }
}
