//! Parameters of a token request that come as a JSON object, which some providers take beside a form or instead of it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::pair::{MARK, Pair, exact};
use super::parameters::is_like;
use crate::secret::Secret;

/// Whether a body looks like a JSON object. No form begins like one.
pub(super) fn is_likely(body: &[u8]) -> bool {
    without_bom(body).trim_ascii_start().starts_with(b"{")
}

/// The members in the order they came, those that come twice too, and after them those of the envelope that says what is asked
/// for, or which token is presented, where the top does not. None: it is no JSON object.
pub(super) fn pairs(body: &[u8]) -> Option<Vec<Pair>> {
    let top: Members<'_> = serde_json::from_slice(without_bom(body)).ok()?;
    let envelope = top.envelope();
    let members = top.0.into_iter().chain(envelope.into_iter().flat_map(|Members(members)| members));
    members.map(|(name, value)| Some((exact(name), Secret::from(text(value)?)))).collect()
}

/// The text of the one member that is called so, and where it stands in the body. None: there are several, or it is no
/// text.
pub(super) fn only_text(body: &[u8], is_it: impl Fn(&str) -> bool) -> Option<(Secret, Range<usize>)> {
    let Members(members) = serde_json::from_slice(without_bom(body)).ok()?;
    let mut named = members.iter().filter(|(name, _)| is_it(name));
    let (_, raw) = named.next()?;
    if named.next().is_some() || !raw.get().starts_with('"') {
        return None;
    }
    // It is a part of the body.
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    Some((Secret::from(text(raw)?), start..start + raw.get().len()))
}

fn text(raw: &RawValue) -> Option<String> {
    let raw = raw.get();
    Some(match raw.as_bytes().first()? {
        b'"' => exact(serde_json::from_str(raw).ok()?),
        // As left out.
        b'n' => String::new(),
        // Members in the order of their names, however they were written.
        b'[' | b'{' => match serde_json::from_str::<Value>(raw).ok()? {
            value if has_rounded(&value) => format!("{MARK}\n{raw}"),
            value => format!("{MARK}\n{value}"),
        },
        // A number as it is written: two long ones must not become the same by rounding.
        _ => raw.to_owned(),
    })
}

/// Whether a number in it may not be the one that was written.
fn has_rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_rounded),
        Value::Object(members) => members.values().any(has_rounded),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Why not a map: that would hold one of two members of the same name, and perhaps not the one the provider takes.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn say_what_is_asked(&self) -> bool {
        self.0.iter().any(|(name, _)| is_like(name, "grant_type") || is_like(name, "refresh_token"))
    }

    fn name_a_token(&self) -> bool {
        self.0.iter().any(|(name, _)| is_like(name, "refresh_token"))
    }

    /// The one object in it that says what is asked for, or only the token where the top says the rest: `{"data":{..}}`, and
    /// `{"data":{"attributes":{..}}}` of JSON:API.
    fn envelope(&self) -> Option<Self> {
        const DEEPEST: usize = 3;
        if self.name_a_token() {
            return None;
        }
        let is_it = if self.say_what_is_asked() { Self::name_a_token } else { Self::say_what_is_asked };
        let mut objects = self.objects();
        for _ in 0..DEEPEST {
            let (asking, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_it);
            if !asking.is_empty() {
                return <[Self; 1]>::try_from(asking).ok().map(|[only]| only);
            }
            objects = others.iter().flat_map(Self::objects).collect();
        }
        None
    }

    fn objects(&self) -> Vec<Self> {
        let objects = self.0.iter().filter(|(_, raw)| raw.get().starts_with('{'));
        objects.filter_map(|(_, raw)| serde_json::from_str(raw.get()).ok()).collect()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
