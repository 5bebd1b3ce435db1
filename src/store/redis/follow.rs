//! `follow` over Redis: where a flight goes on whose token other claims of its client come with, by what the script replies.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::RedisStore;
use super::calls::follow::FollowReply;
use super::sealed::next_identity;
use super::waiters::Ticket;
use crate::identity::Hash;
use crate::secret::Secret;
use crate::store::contract::{self, Ask, Family, NAMING, Origin, StoreError, StoredOutcome};

type Followed = contract::Followed<Ticket>;

/// A question, and that of its caller's own token where its turn has led it on from there.
#[derive(Clone, Copy)]
struct Asking<'a> {
    ask: &'a Ask,
    own: Option<&'a Ask>,
}

impl RedisStore {
    /// `own` is the question of its caller's own token, where its turn has led it on from there.
    pub(crate) async fn follow(&self, ask: &Ask, own: Option<&Ask>, may_lead: bool) -> Result<Followed, StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        let (identity, asking) = (&ask.identity, Asking { ask, own });
        // First the ticket, then the question: a call that comes between the two finds somebody waiting.
        let ticket = self.waiters.ticket_for_turn(identity.flight, own.unwrap_or(ask).attempt);
        let opened = match self.calls.follow(ask, own, may_lead).await? {
            FollowReply::Wait { look } => return Ok(self.wait_for_turn(look, ticket)),
            FollowReply::Forgotten => return Ok(Followed::Forgotten),
            FollowReply::Unused => return Ok(Followed::Unused),
            FollowReply::Spent => return Ok(Followed::Spent),
            FollowReply::Full => return Ok(Followed::Full),
            FollowReply::Ended => return Ok(Followed::Ended),
            FollowReply::Own { id, key, place, named } => (self.family(ask, id, &key))
                .map(|family| Followed::Own(self.origin(asking, family, [place, place], &named, None))),
            FollowReply::Other { id, key, place, named, claim, sealed, next } => {
                self.fences.see(sealed.fence);
                let landed = self.opener(ask).of_claim(claim).open(&sealed);
                let family = self.family(ask, id, &key);
                (family.zip(landed))
                    .and_then(|(family, landed)| self.other(asking, family, [place, next], &named, (claim, landed)))
            }
            FollowReply::Newest { id, key, place, named, newest, token } => {
                self.open_newest(ask, id, &key, newest, &token).map(|(family, token)| {
                    let origin = self.origin(asking, family, [place, newest], &named, None);
                    Followed::Newest { token, origin }
                })
            }
            FollowReply::Given { id, key, given, age, sealed } => {
                self.fences.see(given.fence);
                Family::open(id, &key, identity, &self.config)
                    .and_then(|family| family.open_answer(&given, &sealed, &identity.entitlement, &self.config))
                    .ok()
                    .map(|outcome| {
                        Followed::Given(StoredOutcome { outcome: Arc::new(outcome), fence: given.fence, age })
                    })
            }
        };
        Ok(opened.unwrap_or_else(|| {
            // Somebody wrote into Redis. Nobody is handed it.
            self.counters.unopened.add_one();
            warn!(flight = %identity.flight, "what redis holds of the login of a token does not open");
            Followed::Spent
        }))
    }

    fn wait_for_turn(&self, look: Duration, mut ticket: Ticket) -> Followed {
        ticket.wait_until(Instant::now() + look + self.jitter);
        Followed::Wait(ticket)
    }

    /// Of the key that is sealed for the caller's token; a new one where there is none yet.
    fn family(&self, ask: &Ask, id: Hash, key: &[u8]) -> Option<Family> {
        if key.is_empty() {
            return Some(Family::new(id));
        }
        Family::open(id, key, &ask.identity, &self.config).ok()
    }

    /// What another claim was given for the caller's token: the token in it is presented, and the family made.
    fn other(
        &self,
        asking: Asking<'_>,
        family: Family,
        places: [u64; 2],
        named: &[u8],
        (claim, landed): (Hash, StoredOutcome),
    ) -> Option<Followed> {
        let next = next_identity(&asking.ask.identity, &landed.outcome, &self.config)?;
        let token = next.entitlement.token;
        let origin = self.origin(asking, family, places, named, Some((claim, landed)));
        Some(Followed::Newest { token, origin })
    }

    pub(super) fn open_newest(
        &self,
        ask: &Ask,
        id: Hash,
        key: &[u8],
        newest: u64,
        token: &[u8],
    ) -> Option<(Family, Secret)> {
        let identity = &ask.identity;
        let family = Family::open(id, key, identity, &self.config).ok()?;
        let token = family.open_token(newest, token, &identity.entitlement, &self.config).ok()?;
        Some((family, token))
    }

    fn origin(
        &self,
        Asking { ask, own }: Asking<'_>,
        family: Family,
        [place, newest]: [u64; 2],
        named: &[u8],
        before: Option<(Hash, StoredOutcome)>,
    ) -> Box<Origin> {
        let identity = &own.unwrap_or(ask).identity;
        let place = ask.origin.as_ref().filter(|_| own.is_some()).map_or(place, |origin| origin.place);
        let holder = identity.chain.as_ref().map_or(identity.flight, |member| member.holder);
        let own_key = family.key_for(identity, &self.config);
        let own_naming = family.seal_naming(identity, &self.config);
        let called = named.chunks(NAMING).filter_map(|sealed| family.claim_called_by(sealed, identity, &self.config));
        let (flight, claim, called) = (identity.flight, identity.claim, called.collect());
        Box::new(Origin { family, flight, claim, holder, place, newest, own_key, own_naming, before, called })
    }
}
