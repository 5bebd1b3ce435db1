//! Words: settings that are a choice between names, and how each is written.

use std::fmt;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a pod takes for a shortage of memory. While there is one, it joins flights of others and leads none.
/// Written as `off`, `cgroup`, or a number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MemoryPressure {
    /// Never.
    Off,
    /// Above 90 % of the limit of its cgroup (Linux; version 1 and 2). Without a limit, never.
    #[default]
    Cgroup,
    /// Above so many MiB of resident memory (Linux). 1 or more.
    ResidentMib(u64),
}

/// What to do with a token of which nobody knows whether the provider rotated it: the answer said nothing of it or was
/// missing, or the leader was lost. Written as `retry` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Uncertain {
    /// Present it again: the session is lost for certain if nobody does, and may be saved if somebody does.
    #[default]
    Retry,
    /// Never present it again while `uncertain_memory` lasts; callers get [`Lost`](crate::RefreshError::Lost).
    Never,
}

/// Whether a refresh token can be presented more than once. Written as `single-use` or `reusable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefreshTokens {
    /// A token that was rotated is not to come again: the provider takes that for theft.
    #[default]
    SingleUse,
    /// A token can be presented again, also when a new one was given. Requests with one token that differ in client,
    /// credential, scope or parameters neither wait for each other nor are refused after, each of them is a flight of its
    /// own; an uncertain token is presented again, so
    /// [`Config::uncertain`](crate::Config::uncertain) must be [`Uncertain::Retry`].
    Reusable,
}

/// What happens to a request that comes with a token which was just rotated for another one: of the same client, with the same
/// credential, but for another scope, resource or audience. Written as `follow` or `refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OtherClaims {
    /// It follows the chain: it waits for its turn and presents the newest token of the login once. When it asks again, it gets the
    /// same answer while that access token lives. So each scope of a session may keep a refresh token of its own. A thief
    /// with token and credential who asks for a scope of its own in time is not found by the provider's reuse detection.
    #[default]
    Follow,
    /// It is refused as transient ([`AnotherClaim`](crate::Refusal::AnotherClaim)) until `keep_outcome` is over; after that the
    /// rotated token is the provider's to judge. Right for providers that narrow the next refresh token to the scope
    /// that was asked for (RFC 6749 section 6 says otherwise), and for those whose refresh ends the previous access token: there
    /// one scope would break the others.
    Refuse,
}

/// What to do while Redis is out of reach. Written as `reject` or `local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnStoreOutage {
    /// Refuse as transient, with a time to come again. Nobody's session ends, and no token is presented twice.
    #[default]
    Reject,
    /// After a whole `lease` without Redis, go on within the pod: one flight per token and the limits hold in each pod
    /// alone. Pods that are cut off from Redis do not see each other, so two of them **may present one token twice**,
    /// and give the same fence twice. For providers with a grace window or without rotation, and for fleets that pin a
    /// session to a pod. Each such flight is counted (`led_alone`) and logged; a pod that goes on alone is ready
    /// ([`check_store`](crate::RefreshCoordinator::check_store)).
    Local,
}

impl Serialize for MemoryPressure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Cgroup => serializer.serialize_str("cgroup"),
            Self::ResidentMib(mib) => serializer.serialize_u64(*mib),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryPressure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenLimit)
    }
}

struct WrittenLimit;

impl Visitor<'_> for WrittenLimit {
    type Value = MemoryPressure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("off, cgroup, or a number of MiB")
    }

    fn visit_u64<E: de::Error>(self, mib: u64) -> Result<MemoryPressure, E> {
        Ok(MemoryPressure::ResidentMib(mib))
    }

    fn visit_i64<E: de::Error>(self, mib: i64) -> Result<MemoryPressure, E> {
        let mib = u64::try_from(mib).map_err(|_| E::invalid_value(Unexpected::Signed(mib), &self))?;
        self.visit_u64(mib)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MemoryPressure, E> {
        match text {
            "off" => Ok(MemoryPressure::Off),
            "cgroup" => Ok(MemoryPressure::Cgroup),
            // A variable is always a text.
            mib => match mib.parse() {
                Ok(mib) => self.visit_u64(mib),
                Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
            },
        }
    }
}
