//! Words: the names a refresh goes by once its secrets are hashed away.
//!
//! [`CheckedRequest`] is what callers of one process find each other by, [`Identity`] what the rest of the crate works with:
//! hashes that may stand in Redis and in logs, beside the [`Entitlement`] that opens outcomes.

use std::fmt;
use std::sync::OnceLock;

use hmac::Mac;
use sha2::{Digest, digest};

mod hash;
mod presenter;

pub(crate) use self::hash::Hash;
use self::hash::{KEYS_OF_THIS_PROCESS, claim_key, claim_key_bytes, hmac, update_field};
pub(crate) use self::presenter::Caller;
use self::presenter::{NamedIn, Presenter};
use crate::authentication::Authentication;
use crate::request::{Client, InvalidRefresh, Presents, Refresh, Revoking, Sharing};
use crate::secret::Secret;

/// What a refresh is called everywhere outside the call itself.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Hash of the refresh token: `printf %s "$TOKEN" | sha256sum` finds it. Where tokens are reusable, of token and claim.
    pub(crate) flight: Hash,
    /// Hash of the session id; that of the token where the caller named none.
    pub(crate) session: Hash,
    pub(crate) payer: Payer,
    /// Which account of the session is charged: each claim has one of its own.
    pub(crate) account: u64,
    /// Everything else that must be equal for an answer to be shared.
    pub(crate) claim: Hash,
    /// The token's client and what it proves itself by, whatever else it claims: a MAC keyed by the token, as the claim
    /// is. An assertion is no part of it: it differs with every request.
    pub(crate) client: Hash,
    pub(crate) presenter: Presenter,
    /// As [`credential`](Self::credential) says: a flight asks for it three times.
    credential_name: OnceLock<Hash>,
    /// As [`client_name`](Self::client_name) says.
    client_name: OnceLock<u64>,
    pub(crate) entitlement: Entitlement,
    /// Where answers may be held for this caller until somebody has used them. Boxed: most have none.
    pub(crate) chain: Option<Box<ChainMember>>,
    pub(crate) revoking: Option<Revoking>,
}

impl Identity {
    /// What its client would be called with another token.
    pub(crate) fn client_with(&self, token: &Secret, pepper: Option<&Secret>) -> Hash {
        let credential = self.entitlement.credential.as_ref();
        match self.presenter.named_in {
            NamedIn::Fleet => self.presenter.name(claim_key(token, pepper), credential),
            NamedIn::Process => self.presenter.name_in_process(Some(token.expose()), credential),
        }
    }

    /// By what claims are called with its token: who knows that and a claim knows what it is called. Where all pods are to know it, no
    /// token: nobody presents it.
    pub(crate) fn naming(&self, pepper: Option<&Secret>) -> Secret {
        let token = &self.entitlement.token;
        match self.presenter.named_in {
            NamedIn::Fleet => Secret::from(Hash(*claim_key_bytes(token, pepper)).to_string()),
            NamedIn::Process => token.clone(),
        }
    }

    /// What its claim is called with the token that this is of.
    pub(crate) fn claim_called_by(&self, naming: &Secret) -> Option<Hash> {
        let member = self.chain.as_ref()?;
        match self.presenter.named_in {
            NamedIn::Fleet => Some(member.claim_keyed_with(Hash::from_hex(naming.expose())?.as_bytes())),
            NamedIn::Process => Some(member.with_token(naming.expose(), usize::MAX)?.key),
        }
    }

    /// Its client by its id alone, whatever it comes with: no secret. Those that name none are one.
    pub(crate) fn client_name(&self, pepper: Option<&Secret>) -> u64 {
        *self.client_name.get_or_init(|| Hash::of(self.presenter.client_id(), pepper).beginning())
    }

    /// The same, where anybody has asked for it.
    pub(crate) fn asked_client_name(&self) -> Option<u64> {
        self.client_name.get().copied()
    }

    /// A client with its credential, by which it is known whatever token it presents: none where it has no credential that
    /// could be compared. Under the pepper, or, without one, for this process alone: nobody is to guess a weak secret.
    pub(crate) fn credential(&self, pepper: Option<&Secret>) -> Option<Hash> {
        let credential = self.entitlement.credential.as_ref().filter(|_| !self.presenter.is_alone)?;
        Some(*self.credential_name.get_or_init(|| match pepper {
            Some(pepper) => self.presenter.name(hmac(pepper.expose().as_bytes()), Some(credential)),
            None => self.presenter.name_in_process(None, Some(credential)),
        }))
    }
}

/// What goes with a request from its token to the one that followed.
#[derive(Debug)]
pub(crate) struct ChainMember {
    /// Who may say that the token was used: a MAC of client and credential, under a key derived from the token.
    pub(crate) holder: Hash,
    /// The request without its token.
    request: Refresh,
}

impl ChainMember {
    /// What the request claims, whatever its token, named under a key.
    pub(crate) fn claim_under(&self, key: &Secret) -> Hash {
        self.claim_keyed_with(key.expose().as_bytes())
    }

    fn claim_keyed_with(&self, key: &[u8]) -> Hash {
        let mut claim = hmac(key);
        update_claim(&mut claim, &self.request);
        Hash(claim.finalize().into_bytes().into())
    }

    /// The same request with a newer token. None where that cannot be one.
    pub(crate) fn with_token(&self, token: &str, max_token: usize) -> Option<CheckedRequest> {
        let refresh = Refresh { token: Secret::from(token), ..self.request.clone() };
        CheckedRequest::of(refresh, max_token).ok()
    }
}

/// Who pays for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payer {
    /// A session that the caller named.
    Session,
    /// The refresh token, which is a session of its own.
    Token,
}

/// Which requests are one flight: only one flight of a name presents its token at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlightName {
    /// All of one token, whatever they claim.
    Token,
    /// Those of one token and one claim: other claims may present the token meanwhile.
    TokenAndClaim,
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

/// What a request is called besides its flight.
struct Names {
    claim: Hash,
    client: Hash,
    holder: Option<Hash>,
}

/// A request that was checked, and what it is called in this process.
pub(crate) struct CheckedRequest {
    key: Hash,
    refresh: Refresh,
}

impl CheckedRequest {
    /// Checks the request and derives its key: the cheap name, which is all that most callers need.
    ///
    /// # Errors
    ///
    /// [`InvalidRefresh`] when the token is empty or longer than `max_token` bytes, or when the session id is empty.
    pub(crate) fn of(mut refresh: Refresh, max_token: usize) -> Result<Self, InvalidRefresh> {
        check_token(refresh.token.expose(), max_token)?;
        if refresh.session.as_ref().is_some_and(|session| session.expose().is_empty()) {
            return Err(InvalidRefresh::EmptySession);
        }
        normalize(&mut refresh.parameters);
        let mut key = KEYS_OF_THIS_PROCESS.clone();
        update_field(&mut key, Some(refresh.token.expose()));
        update_claim(&mut key, &refresh);
        Ok(Self { key: Hash(key.finalize().into()), refresh })
    }

    /// Equal for requests that may share any answer, and for no others. It never leaves the process.
    pub(crate) fn key(&self) -> Hash {
        let key = self.key.of_authentication(self.refresh.authentication);
        match self.refresh.newer_than {
            None => key,
            Some(fence) => key.of_those_who_know(fence),
        }
    }

    /// In which ways its client authenticates.
    pub(crate) fn authentication(&self) -> Authentication {
        self.refresh.authentication
    }

    /// Nobody waits for it.
    pub(crate) fn is_background(&self) -> bool {
        self.refresh.is_background
    }

    /// The fence of the answer that the caller has already.
    pub(crate) fn newer_than(&self) -> Option<u64> {
        self.refresh.newer_than
    }

    /// The names the fleet knows it by.
    pub(crate) fn in_fleet(self, pepper: Option<&Secret>, name: FlightName) -> Identity {
        let mut claim = claim_key(&self.refresh.token, pepper);
        let holder = credential_in_chain(&self.refresh).map(|client| {
            let mut holder = claim.clone();
            update_holder(&mut holder, client);
            Hash(holder.finalize().into_bytes().into())
        });
        let presenter = Presenter::of(&self.refresh, NamedIn::Fleet);
        let client = presenter.name(claim.clone(), self.credential());
        update_claim(&mut claim, &self.refresh);
        let claim = Hash(claim.finalize().into_bytes().into());
        self.identity(Names { claim, client, holder }, presenter, pepper, name)
    }

    /// The names it has where no other process hears of its claim: the key is as good, and is there already.
    pub(crate) fn in_process(self, pepper: Option<&Secret>, name: FlightName) -> Identity {
        let claim = self.key;
        let holder = credential_in_chain(&self.refresh).map(|client| {
            let mut holder = KEYS_OF_THIS_PROCESS.clone();
            update_field(&mut holder, Some(self.refresh.token.expose()));
            update_holder(&mut holder, client);
            Hash(holder.finalize().into())
        });
        let presenter = Presenter::of(&self.refresh, NamedIn::Process);
        let client = presenter.name_in_process(Some(self.refresh.token.expose()), self.credential());
        self.identity(Names { claim, client, holder }, presenter, pepper, name)
    }

    /// The same request, for which no answer is held beyond the time that it is fresh for.
    pub(crate) fn unchained(mut self) -> Self {
        self.refresh.presents = Presents::ItsOwn;
        self
    }

    fn credential(&self) -> Option<&Secret> {
        self.refresh.client.as_ref().and_then(|client| client.credential.as_ref())
    }

    fn identity(self, names: Names, presenter: Presenter, pepper: Option<&Secret>, name: FlightName) -> Identity {
        let Names { claim, client: client_name, holder } = names;
        let chain = holder.map(|holder| {
            let request = Refresh { token: Secret::from(String::new()), ..self.refresh.clone() };
            Box::new(ChainMember { holder, request })
        });
        let account = match &self.refresh.session {
            Some(session) => presenter.account_of(session, &self.refresh, pepper),
            // What differs with every request is no account: all of its client have one.
            None if presenter.is_alone => client_name,
            None => claim,
        };
        let account = account.beginning();
        let Refresh { token, session, client, revoking, .. } = self.refresh;
        let of_token = Hash::of(token.expose(), pepper);
        let flight = match name {
            FlightName::Token => of_token,
            FlightName::TokenAndClaim => Hash::of(&format!("{of_token} {claim}"), pepper),
        };
        let (session, payer) = match &session {
            Some(session) => (Hash::of(session.expose(), pepper), Payer::Session),
            None => (of_token, Payer::Token),
        };
        let credential = client.and_then(|client| client.credential);
        Identity {
            flight,
            session,
            payer,
            account,
            claim,
            client: client_name,
            presenter,
            credential_name: OnceLock::new(),
            client_name: OnceLock::new(),
            entitlement: Entitlement { token, credential },
            chain,
            revoking,
        }
    }
}

#[cfg(test)]
impl Identity {
    pub(crate) fn of(refresh: Refresh, pepper: Option<&Secret>) -> Result<Self, InvalidRefresh> {
        CheckedRequest::of(refresh, crate::config::Config::default().max_token)
            .map(|request| request.in_fleet(pepper, FlightName::Token))
    }
}

/// What a token is made of is the provider's business: it goes there as it came, and nowhere else.
fn check_token(token: &str, most: usize) -> Result<(), InvalidRefresh> {
    match token.len() {
        0 => Err(InvalidRefresh::EmptyToken),
        bytes if bytes > most => Err(InvalidRefresh::LongToken { bytes, most }),
        _ => Ok(()),
    }
}

/// The client, where it has a credential and goes along chains. A request that nobody else's can be equal to does not.
fn credential_in_chain(refresh: &Refresh) -> Option<&Client> {
    let goes_along = refresh.presents == Presents::TheGiven && refresh.sharing == Sharing::Equal;
    refresh.client.as_ref().filter(|client| goes_along && client.credential.is_some())
}

/// What tells a holder of a token apart. No claim begins with this byte.
fn update_holder(holder: &mut impl digest::Update, client: &Client) {
    holder.update(&[2]);
    update_field(holder, Some(&client.id));
    update_field(holder, client.credential.as_ref().map(Secret::expose));
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sha2::Sha256;

    use super::*;

    fn identity(refresh: Refresh) -> Identity {
        Identity::of(refresh, None).expect("a valid refresh")
    }

    /// By which the fleet tells requests apart, and by which this process does.
    fn names(refresh: Refresh) -> [Hash; 2] {
        [identity(refresh.clone()).claim, CheckedRequest::of(refresh, 100).expect("a valid refresh").key()]
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
        let request = CheckedRequest::of(Refresh::new("t"), 100).expect("valid");
        let key = request.key();

        let identity = request.in_process(None, FlightName::Token);

        assert_eq!(identity.claim, key);
        let mut guess = Sha256::new();
        update_field(&mut guess, Some("t"));
        for field in [None, None, None] {
            update_field(&mut guess, field);
        }
        assert_ne!(key.as_bytes()[..], guess.finalize()[..]);
    }

    #[test]
    fn reusable_token_is_a_flight_for_each_claim_and_one_session() {
        let names = |refresh| {
            CheckedRequest::of(refresh, crate::config::Config::default().max_token)
                .expect("valid")
                .in_fleet(None, FlightName::TokenAndClaim)
        };
        let (one, same) = (
            names(Refresh::new("t").parameters([("scope", "a")])),
            names(Refresh::new("t").parameters([("scope", "a")])),
        );
        let other = names(Refresh::new("t").parameters([("scope", "b")]));

        assert_eq!(one.flight, same.flight);
        assert_ne!(one.flight, other.flight);
        assert_eq!((one.session, one.payer), (other.session, Payer::Token));
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
    fn claim_is_told_by_what_names_it_with_an_older_token() {
        let refresh = |token, scope| Refresh::new(token).client("app", "pw").parameters([("scope", scope)]);
        let refresh = |token, scope| refresh(token, scope).token_from_attempt();
        let pepper = Secret::from("p".repeat(32));
        let named = |token, scope| {
            let request = || CheckedRequest::of(refresh(token, scope), 100).expect("valid");
            [request().in_fleet(Some(&pepper), FlightName::Token), request().in_process(None, FlightName::Token)]
        };
        let (older, newer, other) = (named("one", "b a"), named("two", "a b"), named("two", "c"));

        for ((older, newer), other) in older.iter().zip(&newer).zip(&other) {
            let naming = older.naming(Some(&pepper));

            assert_eq!(newer.claim_called_by(&naming), Some(older.claim));
            assert_ne!(other.claim_called_by(&naming), Some(older.claim));
        }
        assert!(!older[0].naming(Some(&pepper)).expose().contains("one"), "no token leaves the process");
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
        let checked = |refresh| CheckedRequest::of(refresh, 5).map(drop);

        assert_eq!(checked(Refresh::new("")), Err(InvalidRefresh::EmptyToken));
        assert_eq!(checked(Refresh::new("123456")), Err(InvalidRefresh::LongToken { bytes: 6, most: 5 }));
        assert_eq!(checked(Refresh::new("12345")), Ok(()));
        assert_eq!(checked(Refresh::new("a\n\u{e9}\0")), Ok(()), "the provider's to judge");
        assert_eq!(checked(Refresh::new("t").session("")), Err(InvalidRefresh::EmptySession));
    }
}
