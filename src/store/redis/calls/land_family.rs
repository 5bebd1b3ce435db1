//! What `complete.lua` is told of a login that several claims come with, for the claim whose answer lands.

use super::words::ms;
use crate::config::Config;
use crate::identity::{Hash, Identity};
use crate::outcome::Outcome;
use crate::retention;
use crate::store::contract::Given;
use crate::store::contract::{Ask, Lease, Origin};

/// The last arguments, sealed already.
pub(crate) struct LandInFamily {
    pub(crate) id: Hash,
    words: String,
    own_key: Vec<u8>,
    here_key: Vec<u8>,
    next_key: Vec<u8>,
    newest_token: Vec<u8>,
    answer: Vec<u8>,
    before: Vec<u8>,
    naming: Vec<u8>,
    called: String,
}

impl LandInFamily {
    /// Of an outcome that gave the token of `next`. None where this flight does not come along with other claims, or its answer gave none.
    pub(crate) fn of(ask: &Ask, lease: &Lease, outcome: &Outcome, next: &Identity, config: &Config) -> Option<Self> {
        let (Some(origin), Outcome::Success(tokens)) = (&ask.origin, outcome) else { return None };
        let Origin { family, flight, claim, holder, place, newest, own_key, own_naming, before, .. } = &**origin;
        let credential = &ask.identity.entitlement;
        let given = Given { claim: next.claim, attempt: lease.attempt, fence: lease.fence };
        let known_for = config.claim_is_known_for(tokens.expires_in());
        let good = ms(retention::good_for(tokens, config));
        // What may be used again stands where it stood.
        let given_place = if next.flight == ask.identity.flight { *newest } else { newest + 1 };
        Some(Self {
            id: family.id,
            words: format!(
                "{} {flight} {holder} {claim} {} {place} {newest} {good} {}",
                family.id,
                family.entry_of(&ask.identity)?,
                ms(known_for)
            ),
            naming: [own_naming.as_slice(), &family.seal_naming(&ask.identity, config)].concat(),
            called: origin.called_with(&ask.identity).iter().map(Hash::to_string).collect::<Vec<_>>().join(" "),
            own_key: own_key.clone(),
            here_key: family.key_for(&ask.identity, config),
            next_key: family.key_for(next, config),
            newest_token: family.seal_token(given_place, &next.entitlement.token, credential, config),
            answer: family.seal_answer(&given, outcome, credential, config),
            before: before.as_ref().map_or(Vec::new(), |(claim, landed)| {
                let Outcome::Success(tokens) = &*landed.outcome else { return Vec::new() };
                let given = Given { claim: *claim, attempt: lease.attempt, fence: landed.fence };
                let good = retention::good_for(tokens, config).saturating_sub(landed.age);
                let known_for = config.claim_is_known_for(tokens.expires_in());
                let [age, good, known_for] = [landed.age, good, known_for].map(ms);
                let head = format!("{claim} {} {} {age} {good} {known_for}\n", landed.fence, lease.attempt);
                [head.as_bytes(), &family.seal_answer(&given, &landed.outcome, credential, config)].concat()
            }),
        })
    }

    pub(crate) fn arguments(&self) -> [&[u8]; 9] {
        let Self { words, own_key, here_key, next_key, newest_token, answer, before, naming, called, .. } = self;
        [words.as_bytes(), own_key, here_key, next_key, newest_token, answer, before, naming, called.as_bytes()]
    }
}
