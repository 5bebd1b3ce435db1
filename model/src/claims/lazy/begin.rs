//! `begin.lua` and `abandon.lua`, with `lib/held.lua` and `lib/follows.lua`.

use super::super::host::Host;
use super::super::rules::Rule;
use super::super::sizes::CLAIMS;
use super::name::Name;
use super::redis::{Held, Life, Record, Stage};

/// As what a flight comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coming {
    /// With the token itself.
    #[default]
    Direct,
    /// With an older one, and with an access token that is good.
    Take,
    /// With an older one, to present this.
    Walk,
    /// With the token itself, whatever is held.
    Past,
    /// With the token itself, in its turn.
    Turn,
    /// With an older one, in its turn.
    Claim,
}

/// What `begin` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Whose flight asks.
    pub flight: u8,
    /// The claim.
    pub claim: u8,
    /// The token that is asked about.
    pub token: u8,
    /// As what it comes.
    pub coming: Coming,
    /// The place that a walker comes from.
    pub from: u8,
    /// It has joined a leader of this token.
    pub has_joined: bool,
}

impl Ask {
    /// The claim, as it is called with the token.
    pub fn name(&self) -> Name {
        Name::with(self.claim, self.token)
    }
}

/// What `begin` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `lead`.
    Lead,
    /// `join`.
    Join,
    /// `landed`.
    Landed,
    /// `held`: the token in it, the place of this one, and whether the access token is good.
    Held(Held),
    /// `claims`.
    Claims,
    /// `token_lost`, as under `uncertain = never`.
    TokenLost,
    /// `unused`.
    Unused,
    /// `used`.
    Used,
    /// `broken`.
    Broken,
}

impl Host<'_> {
    /// For how long an answer is held, `keep_until_used`.
    pub(super) fn until_used(&self) -> Life {
        if self.is_long { 1 } else { 2 }
    }

    /// For how long a claim is known of which nothing is known but that it came: an hour longer.
    pub(super) fn entry_life(&self) -> Life {
        if self.is_long { 1 } else { 2 }
    }

    /// For how long a claim is known that was given an answer: that long after the access token.
    pub(super) fn known_life(&self) -> Life {
        if self.has(Rule::OutlivesAccess) { 2 } else { 1 }
    }

    /// So many claims a family knows.
    pub(super) fn most_claims(&self) -> usize {
        if self.places < CLAIMS { self.places } else { usize::MAX }
    }

    pub(super) fn login_life(&self, record: &Record) -> Life {
        self.db.lazy.family(record.family).map_or(0, |family| family.life)
    }

    /// `note_use` and `note_next`.
    fn note_use(&mut self, ask: &Ask, is_led: bool) {
        let is_own = matches!(ask.coming, Coming::Direct | Coming::Past | Coming::Turn);
        let used = |generation: u8| if is_own { generation } else { ask.from };
        if let Some(record) = self.db.lazy.record(ask.token).filter(|record| record.generation > 0) {
            self.db.lazy.write(ask.token).used = record.used.max(used(record.generation));
        }
        if is_led {
            return;
        }
        let Some(held) = self.db.lazy.hold(ask.token) else { return };
        held.used = held.used.max(used(held.generation));
        let held = *held;
        let next = self.db.lazy.record(held.next).filter(|next| next.has_before);
        if let Some(next) = next.filter(|_| is_own && held.next == ask.token + 1) {
            self.db.lazy.write(held.next).used = next.used.max(held.used);
        }
    }

    /// Whether the login of the token knows of no newer one.
    fn is_newest(&self, record: &Record, token: u8) -> bool {
        let newest = self.db.lazy.family(record.family).and_then(|family| family.newest);
        newest.is_none_or(|newest| newest.token == token)
    }

    /// `goes_among_claims`.
    fn goes_among_claims(&self, ask: &Ask, record: &Record, held: Option<Held>) -> bool {
        let (name, is_member) = (ask.name(), record.family > 0);
        let is_rotated = held.is_some() || record.stage == Stage::Rotated;
        match ask.coming {
            Coming::Past => false,
            _ if record.stage == Stage::Leading => record.claim != name,
            Coming::Turn | Coming::Claim => is_rotated || (is_member && !self.is_newest(record, ask.token)),
            _ if is_member => true,
            coming => match held {
                Some(held) => {
                    let is_unused = held.used <= held.generation || !self.has(Rule::StrangerNeedsUnused);
                    held.claim != name && is_unused
                }
                None if is_rotated => false,
                None => {
                    let is_others = record.to.is_some() && record.to != name && record.generation > 0;
                    coming == Coming::Direct && is_others && self.has(Rule::ToIsTold)
                }
            },
        }
    }

    /// `begin.lua`.
    pub fn begin_lazily(&mut self, ask: &Ask) -> Reply {
        let is_led = self.db.lazy.is_led(ask.token);
        self.note_use(ask, is_led);
        let is_known = self.db.lazy.record(ask.token).is_some();
        let record = self.db.lazy.record(ask.token).unwrap_or_default();
        let held = self.db.lazy.held(ask.token).filter(|_| !is_led);
        let is_walker = matches!(ask.coming, Coming::Take | Coming::Walk | Coming::Claim);
        let is_claiming = ask.coming == Coming::Claim;
        let of_record = (record.generation > 0).then_some(record.used);
        let link = of_record.max(held.map(|held| held.used));
        let ended = match link {
            None if is_walker && !is_claiming => Some(Reply::Broken),
            Some(used) if is_walker && !is_claiming && used > ask.from => Some(Reply::Used),
            _ => None,
        };
        if let (Some(ended), false, 0) = (ended, ask.has_joined, record.family) {
            return ended;
        }
        let is_spent = record.stage == Stage::Rotated;
        if is_spent && record.claim == ask.name() && ask.has_joined {
            return Reply::Landed;
        }
        if self.goes_among_claims(ask, &record, held) {
            return Reply::Claims;
        }
        if is_led {
            return Reply::Join;
        }
        if let Some(ended) = ended {
            return ended;
        }
        if ask.coming == Coming::Take && held.is_none() && !is_spent {
            return Reply::Unused;
        }
        if let Some(held) = held.filter(|held| held.claim == ask.name() && ask.coming != Coming::Past) {
            return Reply::Held(held);
        }
        let is_rotated = held.is_some() || is_spent;
        if is_walker && (is_rotated || (record.given == 0 && !is_claiming)) {
            return Reply::Broken;
        }
        if is_walker && !is_claiming && record.epoch < self.server {
            return Reply::Broken;
        }
        if is_walker && record.stage == Stage::Lost {
            return Reply::TokenLost;
        }
        let life = self.until_used().max(record.given).max(self.login_life(&record));
        self.lead_lazily(ask, if is_known { life.max(record.life) } else { life });
        Reply::Lead
    }

    fn lead_lazily(&mut self, ask: &Ask, life: Life) {
        let record = self.db.lazy.write(ask.token);
        (record.stage, record.claim, record.life) = (Stage::Leading, ask.name(), life);
    }

    /// `renew.lua`: puts a lead back that Redis does not hold.
    pub fn put_back_lazily(&mut self, ask: &Ask) {
        let record = self.db.lazy.record(ask.token).unwrap_or_default();
        if record.stage != Stage::Rotated {
            self.lead_lazily(ask, record.life.max(self.until_used()));
        }
    }

    /// `abandon.lua`, and `undo_lead`.
    pub fn abandon_lazily(&mut self, ask: &Ask) {
        let Some(record) = self.db.lazy.record(ask.token).filter(|it| it.stage == Stage::Leading) else { return };
        let life = self.login_life(&record).max(record.given);
        let it = self.db.lazy.write(ask.token);
        (it.stage, it.claim, it.life) = (Stage::None, Name::NONE, life);
        self.wake_family(record.family);
    }

    /// `wake_family`.
    pub(super) fn wake_family(&mut self, id: u8) {
        if let Some(mut family) = self.db.lazy.family(id) {
            family.called = None;
            family.call_next();
            self.db.lazy.set_family(family);
        }
    }
}
