//! How the scripts spell what Rust has types for, where more than one of them does.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::config::Config;
use crate::identity::Hash;
use crate::store::contract::TokenHistory;

/// A setting as scripts and other pods know it: its name, and the number that it is.
pub(crate) type Number = (&'static str, fn(&Config) -> u64);

/// Whole milliseconds, rounded up: a setting of less than one is not none.
pub(crate) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Says that there is no number. Scripts reckon in doubles, which are exact below it.
pub(super) const NONE: u64 = 1 << 53;

/// Numbers in one argument, as the scripts unpack them.
pub(super) fn packed<const COUNT: usize>(numbers: [u64; COUNT]) -> [[u8; 8]; COUNT] {
    numbers.map(double)
}

/// A number as Lua has it, little-endian: unpacked in half the instructions of an integer. Exact below [`NONE`].
pub(crate) fn double(number: u64) -> [u8; 8] {
    (number as f64).to_le_bytes()
}

/// A name that is a number, as it stands in the names of fields: an account of a session, a client.
pub(super) struct ShortName(pub(super) u64);

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a leader writes of itself, in one argument and one field: each part is as wide as it always is (`lua/lib/record.lua`).
pub(super) struct Lead<C> {
    pub(super) attempt: Uuid,
    pub(super) claim: C,
    pub(super) client: Hash,
    pub(super) account: u64,
}

impl<C: fmt::Display> fmt::Display for Lead<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, claim, client, account } = self;
        write!(f, "{attempt} {claim} {client} {}", ShortName(*account))
    }
}

/// Who asks: what it writes of itself where it leads, its client by the id, and how the scripts find out whether it is known.
pub(super) struct Caller<'a, C> {
    pub(super) lead: Lead<C>,
    pub(super) client_name: u64,
    pub(super) standing: &'a str,
}

impl<C: fmt::Display> fmt::Display for Caller<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.lead, ShortName(self.client_name), self.standing)
    }
}

/// The words that `begin.lua` and `renew.lua` share for what is known of a token.
pub(super) fn history_word(history: TokenHistory) -> &'static str {
    match history {
        TokenHistory::Unremarkable => "nothing",
        TokenHistory::LostLeaders => "lost_leaders",
        TokenHistory::Rotated => "rotated",
    }
}

pub(super) fn read_history(word: &str) -> Option<TokenHistory> {
    [TokenHistory::Unremarkable, TokenHistory::LostLeaders, TokenHistory::Rotated]
        .into_iter()
        .find(|history| history_word(*history) == word)
}
