//! The names of claims: an HMAC under a key derived from the token, so that a claim is called otherwise with each.

use std::fmt::{self, Debug};

/// How a claim is called with a token: both are in its name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u8);

impl Name {
    /// No claim.
    pub const NONE: Self = Self(0);

    /// The claim, as it is called with the token.
    pub fn with(claim: u8, token: u8) -> Self {
        Self(token << 4 | (claim + 1))
    }

    /// The claim, as a family calls it, whatever token it comes with.
    pub fn in_family(claim: u8) -> Self {
        Self::with(claim, 0)
    }

    /// Which claim it is.
    pub fn claim(self) -> u8 {
        (self.0 & 15) - 1
    }

    /// With which token it is called so; 0 where it is what a family calls it.
    pub fn token(self) -> u8 {
        self.0 >> 4
    }

    /// Whether it is one.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

impl Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.0 >> 4;
        match (self.is_some(), token) {
            (false, _) => write!(f, "-"),
            (true, 0) => write!(f, "claim {}", self.claim()),
            (true, token) => write!(f, "claim {} with T{token}", self.claim()),
        }
    }
}
