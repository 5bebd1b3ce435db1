//! Whom this pod has seen succeed, and how the fleet is told of it.
//!
//! Under a pepper a client's credential has a name that the fleet may know. Without one a weak secret could be guessed from
//! it: then each pod knows for itself which credentials are right, and Redis only which client got which token, by a name that
//! nobody without the token can guess.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::admission::known::{KNOWN_FOR, KnownClients};
use crate::identity::Hash;
use crate::outcome::Outcome;
use crate::secret::Secret;
use crate::store::contract::Ask;

/// A credential that is in use is noted again after this.
const NOTE_EVERY: Duration = Duration::from_secs(60 * 60);

pub(super) struct Roll {
    pepper: Option<Secret>,
    clients: Mutex<KnownClients>,
}

impl Roll {
    pub(super) fn new(pepper: Option<Secret>) -> Self {
        Self { pepper, clients: Mutex::default() }
    }

    /// How the scripts find out whether a caller is known: 'known' where this pod knows it, else the name of its credential,
    /// nothing where it has none that the fleet may know.
    pub(super) fn standing(&self, ask: &Ask) -> String {
        let Some(credential) = self.credential(ask) else { return String::new() };
        if self.clients().has(credential, Instant::now()) {
            "known".to_owned()
        } else {
            self.pepper.as_ref().map_or(String::new(), |_| credential.to_string())
        }
    }

    /// How the fleet is to know a caller that was given this, nothing where it need not be told.
    pub(super) fn to_note(&self, ask: &Ask, outcome: &Outcome) -> String {
        let Outcome::Success(tokens) = outcome else { return String::new() };
        let now = Instant::now();
        if let Some(credential) = self.credential(ask) {
            let mut clients = self.clients();
            if self.pepper.is_some() {
                let is_noted = clients.left(credential, now).is_some_and(|left| left > KNOWN_FOR - NOTE_EVERY);
                return if is_noted { String::new() } else { format!("client {credential}") };
            }
            clients.note(credential, now);
        }
        bits_of(&ask.next_client(tokens, self.pepper.as_ref()))
    }

    /// The fleet was told.
    pub(super) fn is_noted(&self, noted: &str) {
        if let Some(credential) = noted.strip_prefix("client ").and_then(Hash::from_hex) {
            self.clients().note(credential, Instant::now());
        }
    }

    fn credential(&self, ask: &Ask) -> Option<Hash> {
        ask.identity.credential(self.pepper.as_ref())
    }

    fn clients(&self) -> MutexGuard<'_, KnownClients> {
        self.clients.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// How many bits the filters of known tokens have, as `lua/lib/known.lua` has it.
const FILTER_BITS: u32 = 4_194_304;

/// The bits of a client with its token in the filters of known tokens, as texts: Redis would write numbers that a script
/// hands it with all the digits of a fraction.
fn bits_of(client: &Hash) -> String {
    let (parts, _) = client.as_bytes().as_chunks::<3>();
    let bit = |at: usize| {
        let [high, middle, low] = parts[at];
        u32::from_be_bytes([0, high, middle, low]) % FILTER_BITS
    };
    format!("{} {} {}", bit(0), bit(1), bit(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `bits_of` in `lua/lib/known.lua` has them.
    #[test]
    fn bits_are_six_hex_digits_each_within_the_filter() {
        let client = Hash::from_hex(&"0123456789abcdef".repeat(4)).expect("64 digits");

        assert_eq!(bits_of(&client), "74565 2591147 913153");
    }
}
