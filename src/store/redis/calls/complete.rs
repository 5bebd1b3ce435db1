//! `complete.lua`: lands an outcome, frees lease, permit and probe, moves the circuit and tells the waiting pods.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Calls;
use super::land_family::LandInFamily;
use super::reply::Reply;
use super::words::{Caller, Lead, NONE, ms, packed};
use crate::admission::moved::{Moved, TripReason};
use crate::identity::Hash;
use crate::outcome::{Class, LONGEST_RETRY_AFTER, ProviderHealth, TokenState};
use crate::retention::Retention;
use crate::store::contract::{Coming, StoreError};
use crate::store::redis::call::Call;
use crate::store::redis::sealed::SealedOutcome;

/// What it is told of a flight; the outcome is sealed already.
pub(crate) struct Complete {
    pub(crate) flight: Hash,
    pub(crate) session: Hash,
    pub(crate) claim: Hash,
    pub(crate) client: Hash,
    pub(crate) client_name: u64,
    pub(crate) account: u64,
    /// As [`Roll`](crate::store::redis::roll::Roll) says.
    pub(crate) standing: String,
    pub(crate) noted: String,
    pub(crate) attempt: Uuid,
    pub(crate) fence: u64,
    pub(crate) granted: Instant,
    pub(crate) answered: Instant,
    /// A `begin` or a renewal of the attempt had no answer: it may arrive yet, and is to change nothing.
    pub(crate) is_unanswered: bool,
    /// Nobody is to be told yet. Until that is over: what is landed again then is told.
    pub(crate) is_untold: AtomicBool,
    /// Of the outcome itself, also where it is too large to be shared: what became of the token stays true.
    pub(crate) class: Class,
    pub(crate) token: TokenState,
    pub(crate) retention: Retention,
    pub(crate) is_charged: bool,
    /// How many flights the session may lead in a window, if that is more than the setting.
    pub(crate) allowed: Option<u32>,
    pub(crate) health: ProviderHealth,
    pub(crate) sealed: Vec<u8>,
    /// Where the answer is held until somebody has used it.
    pub(crate) held: Option<HeldNext>,
    /// The provider called the token dead: what is held for it may be over, of this holder.
    pub(crate) ends_held: Option<Hash>,
    /// Where several claims come with tokens of the login.
    pub(crate) family: Option<LandInFamily>,
}

/// The holders of a token and of the one that followed it.
pub(crate) struct HeldNext {
    /// As what its leader came to the token.
    pub(crate) coming: Coming,
    pub(crate) holder: Hash,
    /// The flight of the token that followed.
    pub(crate) next: Hash,
    pub(crate) next_holder: Hash,
    /// What the caller claims, as it is called with the token that followed.
    pub(crate) next_claim: Hash,
    /// For how long that is known from now on.
    pub(crate) known_for: Duration,
}

impl HeldNext {
    fn text(&self) -> String {
        let Self { coming, holder, next, next_holder, next_claim, known_for } = self;
        let as_what = match coming {
            Coming::Taking { from } | Coming::Walking { from } | Coming::Claiming { from } => from.to_string(),
            Coming::Unchained | Coming::Directly | Coming::Past | Coming::InTurn => "direct".to_owned(),
        };
        format!("{as_what} {holder} {next} {next_holder} {next_claim} {}", ms(*known_for))
    }
}

/// What it replies.
#[derive(Debug)]
pub(crate) enum CompleteReply {
    Landed {
        /// Its client has ended the session meanwhile: nobody is to be handed what it holds.
        is_ended: bool,
        /// So many answers that were held made way.
        evicted: u64,
        /// It speaks against the provider, and its caller is not known.
        of_stranger: bool,
        /// How it moved the circuit, where it did.
        moved: Option<Moved>,
    },
    Stands {
        sealed: SealedOutcome,
        /// Nobody was told of it yet.
        is_untold: bool,
    },
    Stale,
}

impl Calls {
    pub(crate) async fn complete(&self, complete: &Complete) -> Result<CompleteReply, StoreError> {
        let Complete { flight, session, retention, .. } = complete;
        let is_chained = complete.held.is_some() || complete.ends_held.is_some();
        let family = complete.family.as_ref().filter(|_| complete.held.is_some());
        let keys = match (is_chained, family) {
            (_, Some(_)) => 7,
            (true, None) => 5,
            (false, None) => 3,
        };
        let mut call = Call::with_payload(&self.scripts.complete, keys, complete.sealed.len());
        call.key(self.keys.lock(flight)).key(self.keys.flight(flight)).key(self.keys.attempts(session));
        if is_chained {
            let next = complete.held.as_ref().map_or(flight, |held| &held.next);
            call.key(self.keys.held(flight)).key(self.keys.flight(next));
        }
        if let Some(family) = family {
            call.key(self.keys.family(&family.id)).key(self.keys.answers(&family.id));
        }
        let Complete { attempt, claim, client, account, client_name, standing, .. } = complete;
        call.arg(self.owner(complete.fence));
        let lead = Lead { attempt: *attempt, claim, client: *client, account: *account };
        call.text(Caller { lead, client_name: *client_name, standing });
        let (health, stay_away) = health_words(complete.health);
        call.arg(complete.class.word()).arg(complete.token.word()).arg(health).arg(&complete.noted);
        // Told when it is sent: a completion may have waited for Redis.
        let age = complete.answered.elapsed();
        let took = complete.answered.saturating_duration_since(complete.granted);
        let numbers = packed([
            complete.fence,
            ms(age),
            ms(took),
            ms(retention.fresh),
            ms(retention.kept),
            ms_or_none(retention.lives),
            ms_or_none(stay_away),
            complete.allowed.unwrap_or(0).into(),
            complete.is_charged.into(),
            complete.is_unanswered.into(),
            complete.is_untold.load(Ordering::SeqCst).into(),
        ]);
        call.joined(&[numbers.as_flattened(), &self.complete_settings]);
        call.arg(&complete.sealed);
        if is_chained {
            let dead = || complete.ends_held.map_or(String::new(), |holder| format!("dead {holder}"));
            call.arg(complete.held.as_ref().map_or_else(dead, HeldNext::text));
        }
        for argument in family.iter().flat_map(|family| family.arguments()) {
            call.arg(argument);
        }
        read(&self.run("complete", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<CompleteReply, StoreError> {
    Ok(match reply.word()? {
        "landed" if reply.len() == 1 => {
            CompleteReply::Landed { is_ended: false, evicted: 0, of_stranger: false, moved: None }
        }
        word @ ("landed" | "ended") => CompleteReply::Landed {
            is_ended: word == "ended",
            evicted: reply.field(1)?,
            of_stranger: reply.field::<String>(2)? == "stranger",
            moved: if reply.len() > 3 {
                Some(read_moved(&reply.field::<String>(3)?).ok_or_else(|| reply.unknown())?)
            } else {
                None
            },
        },
        "stands" => CompleteReply::Stands { sealed: reply.sealed_outcome()?, is_untold: reply.len() > 5 },
        "stale" => CompleteReply::Stale,
        _ => return Err(reply.unknown()),
    })
}

/// `closed`, or `opened <because> <ms> <client>`.
fn read_moved(words: &str) -> Option<Moved> {
    let words: Vec<_> = words.split(' ').collect();
    match words[..] {
        ["closed"] => Some(Moved::Closed),
        ["opened", because, ms, client] => Some(Moved::Opened {
            reason: TripReason::from_word(because)?,
            pause: Duration::from_millis(ms.parse().ok()?),
            client: (client != "all").then(|| client.to_owned()),
        }),
        _ => None,
    }
}

/// The word for what an outcome says of the provider, and the time that belongs to it.
fn health_words(health: ProviderHealth) -> (&'static str, Option<Duration>) {
    match health {
        ProviderHealth::Healthy => ("healthy", None),
        ProviderHealth::Failing => ("failing", None),
        ProviderHealth::Neutral => ("neutral", None),
        ProviderHealth::SessionLimited(retry_after) => ("session_limited", retry_after.map(believed)),
        ProviderHealth::FleetLimited(retry_after) => ("fleet_limited", Some(believed(retry_after))),
    }
}

/// Above 2^53 ms it would count as none.
fn believed(retry_after: Duration) -> Duration {
    retry_after.min(LONGEST_RETRY_AFTER)
}

fn ms_or_none(span: Option<Duration>) -> u64 {
    span.map_or(NONE, ms)
}
