//! What Redis holds of a login, by the fields of its keys. A token's flight is its number.

use super::super::sizes::{CALLERS, TOKENS};
use super::name::Name;

/// So many entries are kept of a family here.
const ENTRIES: usize = 10;
/// So many logins the tokens of one may be taken for.
const FAMILIES: usize = 5;

/// Until when something is there, in steps of time. What has none is over in a moment, as an outcome that has landed is.
pub type Life = u8;

/// What became of a token, as far as its record tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Nobody has presented it, as far as is known.
    #[default]
    None,
    /// A flight leads it.
    Leading,
    /// Its leader is gone.
    Lost,
    /// The provider rotated it.
    Rotated,
}

/// `flight:<flight>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// `state`, `token_state`.
    pub stage: Stage,
    /// `claim`.
    pub claim: Name,
    /// `generation`, 0 for none; with `holder`.
    pub generation: u8,
    /// `used`.
    pub used: u8,
    /// `given_until`.
    pub given: Life,
    /// `given_at`: the server at which it was.
    pub epoch: u8,
    /// `before`.
    pub has_before: bool,
    /// `to`.
    pub to: Name,
    /// `family`: the token that it is named after, 0 for none.
    pub family: u8,
    /// `family_key`: the token that was presented when the key was made, 0 for none.
    pub key: u8,
    /// Its end.
    pub life: Life,
}

/// `held:<flight>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// `claim`.
    pub claim: Name,
    /// `generation`.
    pub generation: u8,
    /// `used`.
    pub used: u8,
    /// `next`.
    pub next: u8,
    /// `before`.
    pub has_before: bool,
    /// The access token in it is good.
    pub is_good: bool,
    /// Its end.
    pub life: Life,
}

/// `e:<entry>`, and what `answers:<id>` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// `came`.
    pub came: u8,
    /// `came_claim`.
    pub came_claim: Name,
    /// `given`.
    pub given: u8,
    /// `given_claim`.
    pub given_claim: Name,
    /// The key under which its answer is sealed, 0 for no answer.
    pub key: u8,
    /// The token in that answer.
    pub answer: u8,
    /// `good_until`.
    pub is_good: bool,
    /// `holds_ms`.
    pub holds: Life,
    /// `ends`.
    pub life: Life,
}

impl Entry {
    /// Of a claim that came with the token at this place.
    pub fn new(name: Name, came: u8, came_claim: Name, holds: Life) -> Self {
        let (given, given_claim) = (0, Name::NONE);
        Self { name, came, came_claim, given, given_claim, key: 0, answer: 0, is_good: false, holds, life: holds }
    }

    /// Whether its claim is called so with the token that it came with, or with the one that it was given.
    pub fn is_called(&self, name: Name) -> bool {
        name.is_some() && (self.came_claim == name || self.given_claim == name)
    }
}

/// The newest token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Newest {
    /// Its place.
    pub place: u8,
    /// Its flight.
    pub token: u8,
    /// The key under which it is sealed.
    pub key: u8,
}

/// `family:<id>`, `answers:<id>`, `order:<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// The token that it is named after.
    pub id: u8,
    /// `newest`, `newest_token`.
    pub newest: Option<Newest>,
    /// `used`.
    pub used: u8,
    /// `called`: the caller whose turn it is.
    pub called: Option<u8>,
    /// `e:<entry>`, by their names.
    pub entries: [Option<Entry>; ENTRIES],
    /// `at:<place>`: the token, 0 for none.
    pub at: [u8; TOKENS + 1],
    /// `named:<place>`: the token by whose key claims are named there that have presented none, 0 for none.
    pub named: [u8; TOKENS + 1],
    /// Who waits, in order: the caller's number and 1, 0 for no more.
    pub order: [u8; CALLERS],
    /// How the claims of those that wait are called with the tokens that they came with, by the caller's number.
    pub waiting: [Name; CALLERS],
    /// Its end.
    pub life: Life,
}

impl Family {
    /// One without claims.
    pub fn new(id: u8) -> Self {
        let (entries, at, order) = ([None; ENTRIES], [0; TOKENS + 1], [0; CALLERS]);
        Self {
            id,
            newest: None,
            used: 0,
            called: None,
            entries,
            at,
            named: at,
            order,
            waiting: [Name::NONE; CALLERS],
            life: 0,
        }
    }

    /// `is:<claim>`.
    pub fn entry_of(&self, name: Name) -> Option<Entry> {
        self.entries.iter().flatten().find(|entry| entry.is_called(name)).copied()
    }

    /// `e:<entry>`.
    pub fn entry(&self, name: Name) -> Option<Entry> {
        self.entries.iter().flatten().find(|entry| entry.name == name).copied()
    }

    /// How many claims there are.
    pub fn count(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// `write_entry`.
    pub fn write(&mut self, entry: Entry) {
        self.forget(entry.name);
        let free = self.entries.iter_mut().find(|place| place.is_none()).expect("BUG: too many entries");
        *free = Some(Entry { life: entry.holds, ..entry });
        self.entries.sort_by_key(|entry| (entry.is_none(), *entry));
    }

    /// `forget_entry`.
    pub fn forget(&mut self, name: Name) {
        for place in &mut self.entries {
            *place = place.filter(|entry| entry.name != name);
        }
        self.entries.sort_by_key(|entry| (entry.is_none(), *entry));
    }

    /// Whether an entry names the place.
    pub fn names(&self, place: u8) -> bool {
        self.entries.iter().flatten().any(|entry| entry.came == place || entry.given == place)
    }

    /// Whether a claim that has presented no token is called as it is with the token at this place.
    pub fn needs_name(&self, place: u8) -> bool {
        self.entries.iter().flatten().filter(|entry| entry.name.token() > 0).any(|entry| {
            (entry.came == place && entry.came_claim.is_some()) || (entry.given == place && entry.given_claim.is_some())
        })
    }

    /// `ZADD NX`.
    pub fn queue(&mut self, flight: u8, name: Name) {
        self.waiting[usize::from(flight)] = name;
        if !self.order.contains(&(flight + 1)) {
            let free = self.order.iter_mut().find(|place| **place == 0);
            *free.expect("BUG: there is a place for each flight") = flight + 1;
        }
    }

    /// `ZREM`.
    pub fn leave(&mut self, flight: u8) {
        self.waiting[usize::from(flight)] = Name::NONE;
        if let Some(place) = self.order.iter().position(|&it| it == flight + 1) {
            self.order[place..].rotate_left(1);
            self.order[CALLERS - 1] = 0;
        }
    }

    /// Who came first.
    pub fn first(&self) -> Option<u8> {
        (self.order[0] > 0).then(|| self.order[0] - 1)
    }

    /// `call_next`.
    pub fn call_next(&mut self) {
        if let Some(first) = self.first() {
            self.leave(first);
            self.called = Some(first);
        }
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keys {
    records: [Option<Record>; TOKENS],
    held: [Option<Held>; TOKENS],
    families: [Option<Family>; FAMILIES],
}

impl Keys {
    /// The record of a token, if there is one. There is no token after the last.
    pub fn record(&self, token: u8) -> Option<Record> {
        self.records.get(usize::from(token) - 1).copied().flatten()
    }

    /// The same, to write to it.
    pub fn write(&mut self, token: u8) -> &mut Record {
        self.records[usize::from(token) - 1].get_or_insert_default()
    }

    /// What is held for a token.
    pub fn held(&self, token: u8) -> Option<Held> {
        self.held[usize::from(token) - 1]
    }

    /// The same, to write it.
    pub fn hold(&mut self, token: u8) -> &mut Option<Held> {
        &mut self.held[usize::from(token) - 1]
    }

    /// Removes the record of a token.
    pub fn lose_record(&mut self, token: u8) {
        self.records[usize::from(token) - 1] = None;
    }

    /// A family.
    pub fn family(&self, id: u8) -> Option<Family> {
        self.families.iter().flatten().find(|family| family.id == id).copied()
    }

    /// Writes a family.
    pub fn set_family(&mut self, family: Family) {
        self.lose_family(family.id);
        let free = self.families.iter_mut().find(|place| place.is_none()).expect("BUG: too many families");
        *free = Some(family);
        self.families.sort_by_key(|family| (family.is_none(), family.map(|it| it.id)));
    }

    /// Removes a family.
    pub fn lose_family(&mut self, id: u8) {
        for place in &mut self.families {
            *place = place.filter(|family| family.id != id);
        }
        self.families.sort_by_key(|family| (family.is_none(), family.map(|it| it.id)));
    }

    /// All families.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().flatten()
    }

    /// The same, to write to them.
    pub fn families_mut(&mut self) -> impl Iterator<Item = &mut Family> {
        self.families.iter_mut().flatten()
    }

    /// Whether a flight leads the token.
    pub fn is_led(&self, token: u8) -> bool {
        token > 0 && self.record(token).is_some_and(|record| record.stage == Stage::Leading)
    }

    /// A step of time.
    pub fn age(&mut self) {
        let live_on = |life: &mut Life| {
            let lives = *life > 1;
            *life = life.saturating_sub(1);
            lives
        };
        for record in &mut self.records {
            *record = record.and_then(|mut it| {
                it.given = it.given.saturating_sub(1);
                live_on(&mut it.life).then_some(it)
            });
        }
        for held in &mut self.held {
            *held = held.and_then(|it| {
                let mut it = Held { is_good: false, ..it };
                live_on(&mut it.life).then_some(it)
            });
        }
        for family in &mut self.families {
            *family = family.and_then(|mut it| {
                for entry in it.entries.iter_mut().flatten() {
                    (entry.is_good, entry.life) = (false, entry.life.saturating_sub(1));
                }
                live_on(&mut it.life).then_some(it)
            });
        }
        self.families.sort_by_key(|family| (family.is_none(), family.map(|it| it.id)));
    }

    /// A moment passes: what has no life is over.
    pub fn settle(&mut self) {
        for record in &mut self.records {
            *record = record.filter(|it| it.life > 0);
        }
    }

    /// Leaders that are gone are lost.
    pub fn lose_leader(&mut self, token: u8) {
        self.write(token).stage = Stage::Lost;
    }
}
