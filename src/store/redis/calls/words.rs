//! How the scripts spell what Rust has types for, where more than one of them does.

use std::time::Duration;

use crate::store::contract::Before;

/// Whole milliseconds, rounded up: a setting of less than one is not none.
pub(super) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Numbers in one argument, as the scripts unpack them.
pub(super) fn packed<const COUNT: usize>(numbers: [u64; COUNT]) -> Vec<u8> {
    numbers.map(u64::to_be_bytes).concat()
}

/// The words that `begin.lua` and `renew.lua` share for what is known of a token.
pub(super) fn before_word(before: Before) -> &'static str {
    match before {
        Before::Nothing => "nothing",
        Before::LostLeaders => "lost_leaders",
        Before::Rotated => "rotated",
    }
}

pub(super) fn read_before(word: &str) -> Option<Before> {
    [Before::Nothing, Before::LostLeaders, Before::Rotated].into_iter().find(|before| before_word(*before) == word)
}
