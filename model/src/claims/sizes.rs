//! How many there are of each.

/// So many tokens there are.
pub const TOKENS: usize = 9;
/// So many different claims there are.
pub const CLAIMS: usize = 3;
/// So many callers there are at most.
pub const CALLERS: usize = 3;

/// The bit of a token.
pub fn bit(token: u8) -> u16 {
    1 << token
}
