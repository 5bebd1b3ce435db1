//! Words: the names a refresh goes by once its secrets are hashed away.
//!
//! [`Request`] is what callers of one process find each other by, [`Identity`] what the rest of the crate works with:
//! hashes that may stand in Redis and in logs, beside the [`Entitlement`] that opens outcomes.

use std::fmt;
use std::hash::Hasher;
use std::sync::LazyLock;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, digest};
use zeroize::Zeroizing;

use crate::request::{Client, InvalidRefresh, Refresh, Sharing};
use crate::secret::Secret;

/// Longest refresh token that is accepted, in bytes.
pub(crate) const LONGEST_TOKEN: usize = 8 * 1024;

/// A SHA-256 or HMAC-SHA-256 that names something without telling it. Prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes().as_chunks::<2>();
        let (pairs, []) = digits else { return None };
        let mut bytes = [0u8; 32];
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The SHA-256 of a text.
    pub(crate) fn unkeyed(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The HMAC of a text under a key.
    pub(crate) fn keyed(key: &Secret, text: &str) -> Self {
        let mut mac = hmac(key.expose().as_bytes());
        mac.update(text.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// A name that is no token's: control characters do not occur in tokens.
    pub(crate) fn of_probe(pod: &str) -> Self {
        Self::of(&format!("\0probe of {pod}"), None)
    }

    /// Keyed with the pepper if there is one, so that weak tokens cannot be guessed from their hash.
    fn of(text: &str, pepper: Option<&Secret>) -> Self {
        match pepper {
            None => Self::unkeyed(text),
            Some(pepper) => Self::keyed(pepper, text),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            hex[2 * i] = HEX[usize::from(byte >> 4)];
            hex[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&hex).expect("BUG: hex digits are ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a refresh is called everywhere outside the call itself.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Hash of the refresh token: `printf %s "$TOKEN" | sha256sum` finds it.
    pub(crate) flight: Hash,
    /// Hash of the session id; the flight's where the caller named none.
    pub(crate) session: Hash,
    /// Everything else that must be equal for an answer to be shared.
    pub(crate) claim: Hash,
    pub(crate) entitlement: Entitlement,
}

/// What a caller must hold to open an outcome: the refresh token and the client's credential.
pub(crate) struct Entitlement {
    pub(crate) token: Secret,
    pub(crate) credential: Option<Secret>,
}

impl fmt::Debug for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entitlement(..)")
    }
}

/// A request that was checked, and what it is called in this process.
pub(crate) struct Request {
    key: Hash,
    refresh: Refresh,
}

impl Request {
    /// Checks the request and derives its key: the cheap name, which is all that most callers need.
    ///
    /// # Errors
    ///
    /// [`InvalidRefresh`] when the token is empty, longer than 8 KiB or not made of visible ASCII (VSCHAR,
    /// RFC 6749 appendix A.17), or when the session id is empty.
    pub(crate) fn checked(mut refresh: Refresh) -> Result<Self, InvalidRefresh> {
        check_token(refresh.token.expose())?;
        if refresh.session.as_ref().is_some_and(|session| session.expose().is_empty()) {
            return Err(InvalidRefresh::EmptySession);
        }
        normalize(&mut refresh.parameters);
        let mut key = KEYS_OF_THIS_PROCESS.clone();
        update_field(&mut key, Some(refresh.token.expose()));
        update_claim(&mut key, &refresh);
        Ok(Self { key: Hash(key.finalize().into()), refresh })
    }

    /// Equal for requests that may share an answer, and for no others. It never leaves the process.
    pub(crate) fn key(&self) -> Hash {
        self.key
    }

    /// The names the fleet knows it by.
    pub(crate) fn in_fleet(self, pepper: Option<&Secret>) -> Identity {
        let mut claim = claim_key(&self.refresh.token, pepper);
        update_claim(&mut claim, &self.refresh);
        self.identity(Hash(claim.finalize().into_bytes().into()), pepper)
    }

    /// The names it has where no other process hears of its claim: the key is as good, and is there already.
    pub(crate) fn in_process(self, pepper: Option<&Secret>) -> Identity {
        let claim = self.key;
        self.identity(claim, pepper)
    }

    fn identity(self, claim: Hash, pepper: Option<&Secret>) -> Identity {
        let Refresh { token, session, client, .. } = self.refresh;
        let flight = Hash::of(token.expose(), pepper);
        let session = match &session {
            Some(session) => Hash::of(session.expose(), pepper),
            None => flight,
        };
        let credential = client.and_then(|client| client.credential);
        Identity { flight, session, claim, entitlement: Entitlement { token, credential } }
    }
}

#[cfg(test)]
impl Identity {
    pub(crate) fn of(refresh: Refresh, pepper: Option<&Secret>) -> Result<Self, InvalidRefresh> {
        Request::checked(refresh).map(|request| request.in_fleet(pepper))
    }
}

/// What all keys of this process begin with: one whole block of SHA-256 that nobody else knows, so that a key found in
/// a dump tells nothing of a weak token, and nobody can choose tokens so that their keys meet in a map. Hashed once: a key
/// costs no more for it.
static KEYS_OF_THIS_PROCESS: LazyLock<Sha256> = LazyLock::new(|| {
    let mut key = Sha256::new();
    for _ in 0..4 {
        key.update(uuid::Uuid::new_v4().as_bytes());
    }
    key
});

fn check_token(token: &str) -> Result<(), InvalidRefresh> {
    if token.is_empty() {
        return Err(InvalidRefresh::EmptyToken);
    }
    if token.len() > LONGEST_TOKEN {
        return Err(InvalidRefresh::LongToken { bytes: token.len() });
    }
    // Not `all`: without an early end the bytes are looked at many at a time.
    if !token.bytes().fold(true, |printable, byte| printable & (0x20..=0x7e).contains(&byte)) {
        return Err(InvalidRefresh::UnprintableToken);
    }
    Ok(())
}

/// The MAC of the claim, keyed by HKDF from the token.
///
/// Why not HMAC keyed with the token itself: HMAC hashes a key longer than its block, and the hash of the token
/// is the flight, which stands in Redis. An attacker who reads Redis could then try client secrets against the claim.
fn claim_key(token: &Secret, pepper: Option<&Secret>) -> Hmac<Sha256> {
    let salt = pepper.map(|pepper| pepper.expose().as_bytes());
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(salt, token.expose().as_bytes())
        .expand(b"refresh-coordinator/1 claim", &mut *key)
        .expect("BUG: 32 bytes are a valid HKDF-SHA-256 length");
    hmac(&*key)
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("BUG: HMAC takes keys of any length")
}

/// All but the token that must be equal for an answer to be shared. The parameters are normalized.
fn update_claim(claim: &mut impl digest::Update, refresh: &Refresh) {
    let (client_id, credential) = match &refresh.client {
        None => (None, None),
        Some(Client { id, credential }) => (Some(id.as_str()), credential.as_ref()),
    };
    update_field(claim, client_id);
    update_field(claim, credential.map(Secret::expose));
    update_field(claim, refresh.dpop_key.as_deref());
    for (name, value) in &refresh.parameters {
        update_field(claim, Some(name));
        update_field(claim, Some(value.expose()));
    }
    if refresh.sharing == Sharing::Alone {
        // A claim that nobody else can have: the flight is serialized with all others of its token.
        claim.update(uuid::Uuid::new_v4().as_bytes());
    }
}

/// Length-prefixed, and absent told from empty, so that no two requests run into one claim.
fn update_field(claim: &mut impl digest::Update, field: Option<&str>) {
    match field {
        None => claim.update(&[0]),
        Some(text) => {
            claim.update(&[1]);
            claim.update(&(text.len() as u64).to_be_bytes());
            claim.update(text.as_bytes());
        }
    }
}

/// Sorted by name, then value (a name may repeat: RFC 8707 `resource`); `scope` is a set of words (RFC 6749
/// section 3.3).
fn normalize(parameters: &mut [(String, Secret)]) {
    for (name, value) in &mut *parameters {
        if name == "scope" {
            let mut words: Vec<&str> = value.expose().split(' ').filter(|word| !word.is_empty()).collect();
            words.sort_unstable();
            words.dedup();
            *value = Secret::from(words.join(" "));
        }
    }
    parameters.sort_by(|(a, x), (b, y)| (a, x.expose()).cmp(&(b, y.expose())));
}

impl std::hash::Hash for Hash {
    /// A part of a hash is a hash. Strangers know the hash of every token they make up where there is no pepper: maps
    /// are keyed by `foldhash`, so that they cannot choose hashes that meet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (part, _) = self.0.split_first_chunk().expect("BUG: 8 bytes are less than 32");
        state.write_u64(u64::from_le_bytes(*part));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn identity(refresh: Refresh) -> Identity {
        Identity::of(refresh, None).expect("a valid refresh")
    }

    /// By which the fleet tells requests apart, and by which this process does.
    fn names(refresh: Refresh) -> [Hash; 2] {
        [identity(refresh.clone()).claim, Request::checked(refresh).expect("a valid refresh").key()]
    }

    #[test]
    fn flight_is_what_sha256sum_prints() {
        let identity = identity(Refresh::new("abc"));

        assert_eq!(identity.flight.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(identity.session, identity.flight);
    }

    #[test]
    fn claim_is_the_same_however_the_request_is_written() {
        let one = Refresh::new("t").client("app", "pw").parameters([("scope", "b a a"), ("x", "1")]);
        let two = Refresh::new("t").parameters([("x", "1"), ("scope", " a  b")]).client("app", "pw");

        assert_eq!(names(one), names(two));
    }

    #[test]
    fn claim_differs_where_an_answer_must_not_be_shared() {
        let requests = [
            Refresh::new("t"),
            Refresh::new("t").public_client("app"),
            Refresh::new("t").client("app", ""),
            Refresh::new("t").client("app", "pw"),
            Refresh::new("t").client("app", "pw").parameters([("scope", "")]),
            Refresh::new("t").client("app", "pw").parameters([("scope", "a")]),
            Refresh::new("t").client("app", "pw").parameters([("sco", "pea")]),
            Refresh::new("t").client("app", "pw").dpop_key("k"),
            Refresh::new("t").client("app", "pw").alone(),
            Refresh::new("t").client("app", "pw").alone(),
        ];

        let (claims, keys): (HashSet<_>, HashSet<_>) = requests.into_iter().map(names).map(|[a, b]| (a, b)).unzip();

        assert_eq!((claims.len(), keys.len()), (10, 10));
    }

    #[test]
    fn key_tells_tokens_apart_whatever_stands_beside_them() {
        let requests = [
            Refresh::new("t"),
            Refresh::new("u"),
            Refresh::new("tapp").public_client(""),
            Refresh::new("t").public_client("app"),
            Refresh::new("t").session("s").public_client("app"),
        ];

        let keys: HashSet<_> = requests.into_iter().map(|r| names(r)[1]).collect();

        // All but the last: a session changes no answer.
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn claim_that_stays_in_the_process_is_the_key_and_tells_nothing_of_the_token() {
        let request = Request::checked(Refresh::new("t")).expect("valid");
        let key = request.key();

        let identity = request.in_process(None);

        assert_eq!(identity.claim, key);
        let mut guess = Sha256::new();
        update_field(&mut guess, Some("t"));
        for field in [None, None, None] {
            update_field(&mut guess, field);
        }
        assert_ne!(key.as_bytes()[..], guess.finalize()[..]);
    }

    #[test]
    fn claim_cannot_be_computed_from_what_stands_in_redis() {
        // 65 bytes: longer than HMAC's block, where a key is replaced by its hash.
        let token = "t".repeat(65);
        let identity = identity(Refresh::new(token.as_str()));
        let mut guess = hmac(identity.flight.as_bytes());
        for field in [None, None, None] {
            update_field(&mut guess, field);
        }

        assert_ne!(identity.claim.as_bytes()[..], guess.finalize().into_bytes()[..]);
    }

    #[test]
    fn pepper_changes_every_name() {
        let pepper = Secret::from("p".repeat(32));
        let plain = identity(Refresh::new("t").session("s"));
        let peppered = Identity::of(Refresh::new("t").session("s"), Some(&pepper)).expect("valid");

        assert_ne!(plain.flight, peppered.flight);
        assert_ne!(plain.session, peppered.session);
        assert_ne!(plain.claim, peppered.claim);
    }

    #[test]
    fn tokens_that_cannot_be_one_are_refused() {
        for token in ["", "a\nb", "caf\u{e9}", &"x".repeat(LONGEST_TOKEN + 1)] {
            assert!(Identity::of(Refresh::new(token), None).is_err(), "{token:?}");
        }
        assert!(Identity::of(Refresh::new("x".repeat(LONGEST_TOKEN)), None).is_ok());
        assert!(Identity::of(Refresh::new("t").session(""), None).is_err());
    }
}
