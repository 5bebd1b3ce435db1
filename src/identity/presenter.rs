//! Who presents a token: the client with what it proves itself by, by names that tell nothing of it.

use std::hash::{BuildHasher, Hash as _, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use hmac::{Hmac, Mac};
use sha2::{Sha256, digest};

use super::hash::{Hash, claim_key, update_field};
use crate::request::{Refresh, Sharing};
use crate::secret::Secret;

/// A caller, as far as it matters whether it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its client with its token.
    pub(crate) client: Hash,
    /// Its client with its credential, if that can be compared.
    pub(crate) credential: Option<Hash>,
}

/// Who presents a token, but for the credential.
#[derive(Debug)]
pub(crate) struct Presenter {
    client_id: Option<String>,
    dpop_key: Option<String>,
    /// Its credential differs with every request.
    pub(super) is_alone: bool,
    pub(super) named_in: NamedIn,
    /// Equal for requests that are alike but for their token. It never leaves the process, and nobody can choose it.
    pub(crate) kind: u64,
}

/// Who is to find a client by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedIn {
    Fleet,
    Process,
}

impl Presenter {
    pub(super) fn of(refresh: &Refresh, named_in: NamedIn) -> Self {
        Self {
            client_id: refresh.client.as_ref().map(|client| client.id.clone()),
            dpop_key: refresh.dpop_key.clone(),
            is_alone: refresh.sharing == Sharing::Alone,
            named_in,
            kind: kind_of(refresh),
        }
    }

    pub(super) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self, mut key: Hmac<Sha256>, credential: Option<&Secret>) -> Hash {
        self.update(&mut key, credential);
        Hash(key.finalize().into_bytes().into())
    }

    /// For this process alone, of the client with this token, or whatever token it presents. By a hash that is keyed and fast: who
    /// would be taken for another client cannot find a name that meets, for nobody sees one.
    pub(super) fn name_in_process(&self, token: Option<&str>, credential: Option<&Secret>) -> Hash {
        static NAMES_OF_THIS_PROCESS: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);
        let credential = credential.filter(|_| !self.is_alone).map(Secret::expose);
        let of_all = (token, self.client_id.as_deref(), credential, self.dpop_key.as_deref());
        Hash::of_number(NAMES_OF_THIS_PROCESS.hash_one(of_all))
    }

    /// A claim by a name that lasts over the tokens of its session. Without a pepper the credential is no part of it, for it
    /// could be guessed by who knows the session: that is authenticated, so no stranger has it.
    pub(super) fn account_of(&self, session: &Secret, refresh: &Refresh, pepper: Option<&Secret>) -> Hash {
        let credential = refresh.client.as_ref().and_then(|client| client.credential.as_ref());
        let mut account = claim_key(session, pepper);
        self.update(&mut account, credential.filter(|_| pepper.is_some()));
        if !self.is_alone {
            for (name, value) in &refresh.parameters {
                update_field(&mut account, Some(name));
                update_field(&mut account, Some(value.expose()));
            }
        }
        Hash(account.finalize().into_bytes().into())
    }

    fn update(&self, key: &mut impl digest::Update, credential: Option<&Secret>) {
        // No claim begins so: a name of a client is none of a claim.
        key.update(&[3]);
        update_field(key, self.client_id.as_deref());
        update_field(key, credential.filter(|_| !self.is_alone).map(Secret::expose));
        update_field(key, self.dpop_key.as_deref());
    }
}

/// By a hash that is fast and no MAC: two kinds that met would share a breaker in this pod, and nothing else.
fn kind_of(refresh: &Refresh) -> u64 {
    static KINDS_OF_THIS_PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let mut kind = KINDS_OF_THIS_PROCESS.build_hasher();
    let client = refresh.client.as_ref();
    let is_alone = refresh.sharing == Sharing::Alone;
    let credential = client.and_then(|client| client.credential.as_ref()).filter(|_| !is_alone);
    (client.map(|client| &client.id), credential.map(Secret::expose), &refresh.dpop_key).hash(&mut kind);
    if !is_alone {
        refresh.parameters.iter().for_each(|(name, value)| (name, value.expose()).hash(&mut kind));
    }
    kind.finish()
}
