//! How the scripts spell what Rust has types for, where more than one of them does.

use std::time::Duration;

use crate::store::contract::TokenHistory;

/// Whole milliseconds, rounded up: a setting of less than one is not none.
pub(super) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Numbers in one argument, as the scripts unpack them.
pub(super) fn packed<const COUNT: usize>(numbers: [u64; COUNT]) -> Vec<u8> {
    numbers.map(u64::to_be_bytes).concat()
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
