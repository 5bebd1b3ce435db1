//! The objects of a JSON body, with nothing of them copied.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in the order they came, those that come twice too: who has to know of every refresh token
/// that an answer gives must not lose the first of two.
#[derive(Default)]
pub(crate) struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// The name of a field.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(Name(name), raw)| (&**name, *raw))
    }

    /// Of a name that comes twice the last is taken, as most parsers do.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(Name(there), _)| there == name).map(|(_, raw)| *raw)
    }

    /// The same of a name that has the same letters, whatever their case and what stands between them: `accessToken`.
    pub(crate) fn get_alike(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(Name(there), _)| letters(there).eq(letters(name))).map(|(_, raw)| *raw)
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What names are compared by that are written in several ways.
pub(crate) fn letters(name: &str) -> impl DoubleEndedIterator<Item = u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase())
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
                // As many as a token response has.
                let mut members = Vec::with_capacity(8);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// An object, and how deep it lies.
pub(crate) struct Object<'a> {
    pub(crate) depth: usize,
    pub(crate) members: Members<'a>,
}

/// Deeper down nothing is looked for.
const DEEPEST: usize = 16;

/// All objects of a body, each before those that it holds. None where it is no JSON.
pub(crate) fn objects(text: &[u8]) -> Option<Vec<Object<'_>>> {
    let mut all = Vec::new();
    if text.trim_ascii_start().starts_with(b"{") {
        // Nearly every body: read once, where a raw value would be read twice.
        hold(serde_json::from_slice(text).ok()?, 0, &mut all);
    } else {
        collect(serde_json::from_slice(text).ok()?, 0, &mut all);
    }
    Some(all)
}

/// The elements of an array.
pub(crate) fn elements(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn collect<'a>(raw: &'a RawValue, depth: usize, all: &mut Vec<Object<'a>>) {
    if depth > DEEPEST {
        return;
    }
    if raw.get().starts_with('[') {
        elements(raw).into_iter().for_each(|element| collect(element, depth + 1, all));
    } else if raw.get().starts_with('{') {
        hold(serde_json::from_str(raw.get()).unwrap_or_default(), depth, all);
    }
}

fn hold<'a>(members: Members<'a>, depth: usize, all: &mut Vec<Object<'a>>) {
    let inner: Vec<_> = members.iter().map(|(_, raw)| raw).filter(|raw| raw.get().starts_with(['{', '['])).collect();
    all.push(Object { depth, members });
    inner.into_iter().for_each(|inner| collect(inner, depth + 1, all));
}
