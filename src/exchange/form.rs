//! The form of a token request: its parameters, decoded, and what is wrong with them. Read by `request`, which asks for
//! the refresh, and by `client`, which looks for the credential.

use crate::secret::Secret;

/// Why a request cannot be answered, in the characters of an `error_description` (RFC 6749 section 5.2). Quotes
/// nothing of the request but a parameter's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

impl From<&str> for Unreadable {
    fn from(description: &str) -> Self {
        Self(description.to_owned())
    }
}

/// Parameters that may be there more than once (RFC 8707 section 2, RFC 8693 section 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// Parameters that do not go into the claim by themselves: they are the same in every refresh, name the flight, or
/// are what the client is compared by.
const APART: [&str; 5] = ["grant_type", "refresh_token", "client_id", "client_secret", "client_assertion"];

/// The parameters of a request, decoded.
pub(super) struct Form(Vec<(String, Secret)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(body)
                .map(|(name, value)| (name.into_owned(), Secret::from(value.into_owned())))
                .collect(),
        )
    }

    /// The first value. Once the form is checked there is no second.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.expose())
    }

    pub(super) fn asks_for_refresh(&self) -> bool {
        self.get("refresh_token").is_some() || self.all("grant_type").any(|grant| grant == "refresh_token")
    }

    /// What goes into the claim as it is.
    pub(super) fn others(&self) -> impl Iterator<Item = (&str, Secret)> {
        self.0
            .iter()
            .filter(|(name, _)| !APART.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.clone()))
    }

    /// That no parameter is there twice (RFC 6749 section 3.2), and that all are text.
    pub(super) fn check(&self) -> Result<(), Unreadable> {
        for (index, (name, value)) in self.0.iter().enumerate() {
            // What stands for bytes that are not UTF-8. Two requests that differ in them must not look equal.
            if name.contains('\u{fffd}') || value.expose().contains('\u{fffd}') {
                return Err("a parameter is not UTF-8".into());
            }
            if !REPEATABLE.contains(&name.as_str()) && self.0[..index].iter().any(|(other, _)| other == name) {
                let is_word = name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let name = if is_word { name.as_str() } else { "a parameter" };
                return Err(Unreadable(format!("{name} is there more than once")));
            }
        }
        Ok(())
    }
}
