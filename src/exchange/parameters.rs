//! The parameters of a token request, wherever they stand: grouped by name, equal doubles counted once. Read by
//! `request`, which asks for the refresh, and by `client`, which looks for the credential.

use std::collections::HashMap;

use super::pair::{MARK, Pair};
use crate::secret::Secret;

/// Why a request is refused before anybody is asked, in the characters of an `error_description` (RFC 6749 section
/// 5.2). Quotes nothing of the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

impl From<&str> for Unreadable {
    fn from(description: &str) -> Self {
        Self(description.to_owned())
    }
}

/// Most parameters of a refresh. A refresh has about five. Of a request with more nothing is kept but whether it is one, so
/// that what a request costs is bounded, too.
const MOST: usize = 200;

/// Parameters that may be there more than once (RFC 8707 section 2, RFC 8693 section 2.1): their order says nothing.
const REPEATABLE: [&str; 2] = ["resource", "audience"];

pub(super) struct Parameters {
    groups: Vec<Group>,
    beyond: Beyond,
}

/// What came after so many that the request cannot be coordinated.
#[derive(Default)]
struct Beyond {
    is_there: bool,
    has_grant: bool,
    has_token: bool,
    is_refresh: bool,
}

/// What came under one name.
struct Group {
    name: String,
    /// In the order they came: a provider may take the first or the last. One, where all are equal.
    values: Vec<Secret>,
}

impl Parameters {
    pub(super) fn of(pairs: impl IntoIterator<Item = Pair>) -> Self {
        let (mut groups, mut places, mut beyond) = (Vec::<Group>::new(), HashMap::new(), Beyond::default());
        for (count, (name, value)) in pairs.into_iter().enumerate() {
            if count >= MOST {
                beyond.note(&name, value.expose());
                continue;
            }
            let place = *places.entry(name.clone()).or_insert(groups.len());
            match groups.get_mut(place) {
                None => groups.push(Group { name, values: vec![value] }),
                Some(Group { values, .. }) => {
                    if values.len() > 1 || values[0].expose() != value.expose() {
                        values.push(value);
                    }
                }
            }
        }
        Self { groups, beyond }
    }

    /// Whether a provider may take it for a refresh: by its grant type, or by a refresh token without any grant type.
    pub(super) fn ask_for_refresh(&self) -> bool {
        let mut grants = self.given("grant_type").peekable();
        match grants.peek() {
            None if self.beyond.has_grant => self.beyond.is_refresh,
            None => self.beyond.has_token || self.given("refresh_token").next().is_some(),
            Some(_) => self.beyond.is_refresh || grants.any(is_refresh),
        }
    }

    /// That it is clear what is asked for by these names, and that there are not too many to look at.
    pub(super) fn check(&self, names: &[&str]) -> Result<(), Unreadable> {
        if self.beyond.is_there {
            return Err(Unreadable(format!("the request has more than {MOST} parameters")));
        }
        for name in names {
            let mut values = self.given(name);
            let first = values.next();
            if values.any(|value| Some(value) != first) {
                return Err(Unreadable(format!("{name} is there with different values")));
            }
        }
        Ok(())
    }

    /// Takes out the first value that is not empty (one without a value counts as left out, RFC 6749 section 3.2), and
    /// with it those that are.
    pub(super) fn take(&mut self, name: &str) -> Option<Secret> {
        let place = self.place(name)?;
        let values = &mut self.groups[place].values;
        values.retain(|value| !value.expose().is_empty());
        if values.is_empty() { None } else { Some(values.remove(0)) }
    }

    /// What was not taken, each with a name that tells where it stood among different values of its name.
    pub(super) fn rest(self) -> impl Iterator<Item = Pair> {
        self.groups.into_iter().flat_map(|Group { name, values }| {
            let is_ordered = values.len() > 1 && !REPEATABLE.contains(&name.as_str());
            values.into_iter().enumerate().map(move |(index, value)| {
                let name = if is_ordered { format!("{MARK}\n{index} {name}") } else { name.clone() };
                (name, value)
            })
        })
    }

    /// The values that are not empty.
    pub(super) fn given(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.place(name).map_or(&[][..], |place| &self.groups[place].values);
        values.iter().map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// The group of this name; without one that of a name that a lenient provider takes for it: `Refresh_Token`,
    /// `refreshToken`.
    fn place(&self, name: &str) -> Option<usize> {
        let by = |is_it: &dyn Fn(&str) -> bool| self.groups.iter().position(|group| is_it(&group.name));
        by(&|other| other == name).or_else(|| by(&|other| is_like(other, name)))
    }
}

impl Beyond {
    fn note(&mut self, name: &str, value: &str) {
        self.is_there = true;
        if value.is_empty() {
            return;
        }
        if is_like(name, "grant_type") {
            self.has_grant = true;
            self.is_refresh |= is_refresh(value);
        }
        self.has_token |= is_like(name, "refresh_token");
    }
}

fn is_refresh(grant: &str) -> bool {
    grant.trim().eq_ignore_ascii_case("refresh_token")
}

/// Whether a lenient provider may take the one name for the other.
pub(super) fn is_like(other: &str, name: &str) -> bool {
    let mut letters = other.bytes().filter(|byte| *byte != b'_' && *byte != b'-');
    let mut expected = name.bytes().filter(|byte| *byte != b'_');
    expected.all(|letter| letters.next().is_some_and(|other| other.eq_ignore_ascii_case(&letter)))
        && letters.next().is_none()
}
