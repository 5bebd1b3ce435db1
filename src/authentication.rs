//! Words: in which ways a client authenticates. Many providers take only some of them, and refuse the client in the others.

use serde::{Deserialize, Serialize};

/// The ways of one request (RFC 6749 section 2.3, RFC 7521 section 4.2). Nothing is known by default: of a request that does not
/// come over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Authentication(u8);

impl Authentication {
    /// In no way: a public client that does not say its name, or one that only its connection names.
    #[cfg(feature = "http")]
    pub(crate) const NONE: Self = Self(1);
    /// `client_id` among the parameters.
    #[cfg(any(feature = "http", test))]
    pub(crate) const ID: Self = Self(1 << 1);
    /// `client_secret` among the parameters.
    #[cfg(any(feature = "http", test))]
    pub(crate) const SECRET: Self = Self(1 << 2);
    #[cfg(feature = "http")]
    pub(crate) const ASSERTION: Self = Self(1 << 3);
    #[cfg(any(feature = "http", test))]
    pub(crate) const BASIC: Self = Self(1 << 4);
    /// Another Authorization.
    #[cfg(feature = "http")]
    pub(crate) const AUTHORIZATION: Self = Self(1 << 5);

    /// The same, and in that way, too.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn and(self, way: Self) -> Self {
        Self(self.0 | way.0)
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.0 == 0
    }

    /// Whether both are known and differ.
    pub(crate) fn differs_from(self, other: Self) -> bool {
        !self.is_unknown() && !other.is_unknown() && self != other
    }

    /// One for each, and 0 where nothing is known.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_differs_from_nothing() {
        let (basic, body) = (Authentication::BASIC, Authentication::ID.and(Authentication::SECRET));

        assert!(basic.differs_from(body) && body.differs_from(Authentication::ID));
        assert!(!body.differs_from(Authentication::SECRET.and(Authentication::ID)));
        assert!(!basic.differs_from(Authentication::default()) && !Authentication::default().differs_from(basic));
    }
}
