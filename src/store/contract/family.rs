//! What a store holds of a login that several claims come with, sealed and opened: its key, its newest token, and what each claim was
//! given last.
//!
//! The key is random, and sealed for each token that somebody is owed something for: whoever holds one of them with the client's
//! credential opens all that the login holds.

use std::time::Duration;

use chacha20poly1305::aead::Generate;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::claims::Family;
use crate::config::Config;
use crate::identity::{Entitlement, Hash, Identity};
use crate::outcome::Outcome;
use crate::seal::{Label, NotOurs, Seal};
use crate::secret::Secret;

impl Family {
    /// A new one, with a key of its own.
    pub(crate) fn new(id: Hash) -> Self {
        let bytes = Zeroizing::new(<[u8; 32]>::generate());
        Self { id, key: Secret::from(Hash::from_bytes(*bytes).to_string()) }
    }

    /// Of the key that is sealed for the token of this request.
    pub(crate) fn open(id: Hash, sealed_key: &[u8], identity: &Identity, config: &Config) -> Result<Self, NotOurs> {
        let key = seal_of(identity, config).open_secret(&key_label(identity.flight, id), sealed_key)?;
        Ok(Self { id, key })
    }

    /// Its key, for who comes with the token of this request.
    pub(crate) fn key_for(&self, identity: &Identity, config: &Config) -> Vec<u8> {
        seal_of(identity, config).seal_secret(&key_label(identity.flight, self.id), &self.key)
    }

    /// What the claim of this request is called in it, with whatever token it comes.
    pub(crate) fn entry_of(&self, identity: &Identity) -> Option<Hash> {
        Some(identity.chain.as_ref()?.claim_under(&self.key))
    }

    /// By what claims are called with the token of this request, for whoever knows the login.
    pub(crate) fn seal_naming(&self, identity: &Identity, config: &Config) -> Vec<u8> {
        let naming = identity.naming(config.pepper.as_ref());
        self.seal(&identity.entitlement, config).seal_secret(&naming_label(self.id), &naming)
    }

    /// What the claim of this request is called with the token that this is of. None where somebody wrote it who does not know the login.
    pub(crate) fn claim_called_by(&self, sealed: &[u8], identity: &Identity, config: &Config) -> Option<Hash> {
        let naming = self.seal(&identity.entitlement, config).open_secret(&naming_label(self.id), sealed).ok()?;
        identity.claim_called_by(&naming)
    }

    /// The token at this place of it.
    pub(crate) fn seal_token(&self, place: u64, token: &Secret, credential: &Entitlement, config: &Config) -> Vec<u8> {
        self.seal(credential, config).seal_secret(&token_label(self.id, place), token)
    }

    pub(crate) fn open_token(
        &self,
        place: u64,
        sealed: &[u8],
        credential: &Entitlement,
        config: &Config,
    ) -> Result<Secret, NotOurs> {
        self.seal(credential, config).open_secret(&token_label(self.id, place), sealed)
    }

    /// What a claim was given, as it is called with the token in that.
    pub(crate) fn seal_answer(
        &self,
        given: &Given,
        outcome: &Outcome,
        credential: &Entitlement,
        config: &Config,
    ) -> Vec<u8> {
        self.seal(credential, config).seal(&given.label(self.id), outcome)
    }

    pub(crate) fn open_answer(
        &self,
        given: &Given,
        sealed: &[u8],
        credential: &Entitlement,
        config: &Config,
    ) -> Result<Outcome, NotOurs> {
        self.seal(credential, config).open(&given.label(self.id), sealed).map(|(outcome, _)| outcome)
    }

    fn seal(&self, credential: &Entitlement, config: &Config) -> Seal {
        let entitlement = Entitlement { token: self.key.clone(), credential: credential.credential.clone() };
        Seal::new(&entitlement, config.pepper.as_ref(), &config.namespace, &self.id)
    }
}

/// So long is by what claims are called with a token, as it is sealed for all pods: a nonce, 64 hex digits, a tag.
pub(crate) const NAMING: usize = 24 + 64 + 16;

/// Which answer it is that a claim was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) claim: Hash,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
}

impl Given {
    fn label(&self, id: Hash) -> Label {
        Label { flight: id, claim: self.claim, attempt: self.attempt, fence: self.fence }
    }
}

fn key_label(flight: Hash, id: Hash) -> Label {
    Label { flight, claim: id, attempt: Uuid::nil(), fence: 0 }
}

/// No place is so high: what is sealed so is taken for no token.
fn naming_label(id: Hash) -> Label {
    Label { flight: id, claim: id, attempt: Uuid::nil(), fence: u64::MAX }
}

fn token_label(id: Hash, place: u64) -> Label {
    Label { flight: id, claim: id, attempt: Uuid::nil(), fence: place }
}

fn seal_of(identity: &Identity, config: &Config) -> Seal {
    Seal::new(&identity.entitlement, config.pepper.as_ref(), &config.namespace, &identity.flight)
}

impl Config {
    /// How long a claim is known of whose token nothing says that it is no made-up one: for as long as a flight waits, or a leader is
    /// not heard of.
    pub(crate) fn unproven_claim_is_known_for(&self) -> Duration {
        self.wait_timeout.max(self.lease)
    }

    /// How long a claim of a login is known that does not come: for the life of the access token that it was given, an hour where that
    /// is not known, and `keep_until_used` beyond, because a client mostly comes when that is over.
    pub(crate) fn claim_is_known_for(&self, life: Option<Duration>) -> Duration {
        const UNKNOWN_LIFE: Duration = Duration::from_secs(60 * 60);
        const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
        life.unwrap_or(UNKNOWN_LIFE).min(LONGEST_LIFE) + self.keep_until_used
    }
}
