//! What a flight does at such a store: the way of `src/coordinator/way/`.

use super::super::judge;
use super::super::rules::Rule;
use super::super::scene::Scene;
use super::super::scripts::Ask as OwnAsk;
use super::super::sizes::bit;
use super::super::world::Step;
use super::begin::{Ask, Coming, Reply};
use super::course::{Course, Walk};
use super::follow::Followed;
use super::land::Landing;
use super::redis::Held;

impl Scene<'_> {
    fn course(&mut self) -> &mut Course {
        &mut self.flight().course
    }

    /// The flight asks about this token now.
    fn asks(&mut self, token: u8, coming: Coming, from: u8) {
        let flight = self.flight();
        (flight.ask.token, flight.ask.is_past, flight.step) = (token, coming == Coming::Past, Step::Asking);
        let course = &mut flight.course;
        (course.coming, course.from, course.has_joined, course.is_following) = (coming, from, false, false);
    }

    /// The flight asks.
    pub fn ask_lazily(&mut self) {
        let flight = *self.flight();
        if flight.course.is_following { self.follow() } else { self.begin() }
    }

    /// What the judge knows of the token that the flight asks about, where that is its caller's own.
    fn is_looked_at(&mut self) -> Option<(bool, bool)> {
        let (flight, rested) = (*self.flight(), self.world.callers[self.caller].rested);
        if flight.ask.token != flight.ask.own || flight.ask.is_past {
            return None;
        }
        let (is_owed, is_left_behind, is_stray) = judge::look(self.world, &flight.ask, rested, true);
        let has_come = self.world.known.ever_rightful[usize::from(flight.ask.claim)] & bit(flight.ask.own) != 0;
        let flight = self.flight();
        flight.is_owed = is_owed;
        if flight.looks == 0 {
            (flight.is_left_behind, flight.is_stray) = (is_left_behind, is_stray && !has_come);
        }
        // That somebody came with a later one may be lost with a server. Its flight knows.
        let own = flight.ask.own;
        let is_used = !is_owed && self.world.flights().any(|it| it.is_leading() && it.ask.own > own);
        Some((is_left_behind, is_stray || is_used))
    }

    /// Its caller's token is used.
    fn uses(&mut self) {
        let OwnAsk { claim, own, token, .. } = self.flight().ask;
        if token == own {
            let came = &mut self.world.db.came[usize::from(claim)];
            *came = (*came).max(own);
        }
    }

    /// It came with its own token, as far as Redis can know.
    fn has_come(&mut self, seen: Option<(bool, bool)>) {
        let (OwnAsk { claim, own, .. }, Some((false, false))) = (self.flight().ask, seen) else { return };
        let claim = usize::from(claim);
        self.world.known.ever_rightful[claim] |= bit(own);
        let is_given = self.world.known.ever_given[claim] & bit(own) != 0;
        let db = &mut self.world.db;
        db.rightful[claim] = db.rightful[claim].max(own);
        if is_given {
            db.known_by[claim] = db.known_by[claim].max(own);
        }
    }

    fn begin(&mut self) {
        let seen = self.is_looked_at();
        let (flight, terms) = (*self.flight(), self.terms());
        let ask = flight.course.question(&flight.ask);
        let reply = self.world.run(terms, |host| host.begin_lazily(&ask));
        if reply != Reply::Claims {
            // Who joins is noted by the family when it comes again; who has its turn was noted before.
            if !matches!(reply, Reply::Join | Reply::Landed) && ask.coming != Coming::Turn {
                self.uses();
            }
            self.has_come(seen);
            self.looks();
        }
        match reply {
            Reply::Lead => self.flight().step = Step::Led,
            Reply::Join => {
                let flight = self.flight();
                (flight.step, flight.course.has_joined) = (Step::Waiting, true);
            }
            Reply::Landed => self.ends_with(ask.token + 1),
            Reply::Held(held) => self.walks_on(held),
            Reply::TokenLost => self.end(None),
            Reply::Claims => self.follows(),
            Reply::Unused => self.takes_what_it_found(),
            Reply::Used => self.chain_over(false),
            Reply::Broken => self.chain_over(true),
        }
    }

    fn looks(&mut self) {
        let flight = self.flight();
        flight.looks += 1;
        let flight = *flight;
        judge::looks(self.world, &flight);
    }

    /// The answer is held for its claim: it looks at the token in it.
    fn walks_on(&mut self, held: Held) {
        let Course { walk, from, .. } = *self.course();
        let from = if walk.is_some() { from } else { held.generation };
        self.course().walk = Some(Walk { next: held.next, is_good: held.is_good, is_long: walk.is_some() });
        self.asks(held.next, if held.is_good { Coming::Take } else { Coming::Walk }, from);
        if self.rules.has(Rule::AsksAtOnce) {
            self.begin();
        }
    }

    fn takes_what_it_found(&mut self) {
        let walk = self.course().walk.expect("BUG: only a walk asks whether a token was used");
        if walk.is_long {
            self.leaves(walk.next, walk.is_good);
        }
        self.end(Some(walk.next));
    }

    /// What is held for its own token from now on.
    fn leaves(&mut self, next: u8, is_good: bool) {
        let (flight, terms) = (*self.flight(), self.terms());
        let own = Ask { token: flight.ask.own, ..flight.course.question(&flight.ask) };
        self.world.run(terms, |host| host.tip_lazily(&own, next, is_good));
    }

    fn ends_with(&mut self, token: u8) {
        if self.course().walk.is_some() {
            self.leaves(token, true);
        }
        self.end(Some(token));
    }

    /// Other claims come with the token.
    fn follows(&mut self) {
        let flight = *self.flight();
        let course = flight.course;
        let is_newest = course.coming == Coming::Claim && course.origin.is_some_and(|it| it.before.is_none());
        if let (true, Some(own)) = (is_newest && course.presented_since != flight.ask.token, course.led_on) {
            self.course().presented_since = flight.ask.token;
            return self.asks_own_again(own);
        }
        self.course().is_following = true;
        if self.rules.has(Rule::AsksAtOnce) {
            self.follow();
        }
    }

    fn asks_own_again(&mut self, (token, coming, from): (u8, Coming, u8)) {
        self.course().led_on = None;
        self.asks(token, if coming == Coming::Turn { Coming::Direct } else { coming }, from);
    }

    fn follow(&mut self) {
        let seen = self.is_looked_at();
        let (flight, terms) = (*self.flight(), self.terms());
        let (ask, own) = (flight.course.question(&flight.ask), flight.course.own_in_turn());
        let followed = self.world.run(terms, |host| host.follow_lazily(&ask, own));
        self.uses();
        self.has_come(seen);
        self.looks();
        match followed {
            Followed::Wait => self.flight().step = Step::Waiting,
            Followed::Given(token) => self.end(Some(token)),
            Followed::Newest(token, origin) => {
                let course = self.course();
                course.origin = Some(origin);
                course.led_on.get_or_insert((ask.token, ask.coming, ask.from));
                self.asks(token, Coming::Claim, origin.place);
            }
            Followed::Own(origin) => {
                self.course().origin = Some(origin);
                self.asks(ask.token, Coming::Turn, ask.from);
            }
            Followed::Unused => self.takes_what_it_found(),
            Followed::Spent => self.chain_over(false),
            Followed::Full => self.end(None),
        }
    }

    fn chain_over(&mut self, is_broken: bool) {
        let flight = *self.flight();
        if let Some(own) = self.course().led_on.take()
            && flight.course.presented_since != flight.ask.token
        {
            self.course().presented_since = flight.ask.token;
            return self.asks_own_again(own);
        }
        match flight.course.walk {
            Some(walk) if is_broken && walk.is_good => self.end(Some(walk.next)),
            _ => {
                (self.course().walk, self.course().origin) = (None, None);
                self.asks(flight.ask.own, Coming::Past, 0);
            }
        }
    }

    /// The provider has left the token as it was.
    pub fn abandon_lazily(&mut self) {
        let (flight, terms) = (*self.flight(), self.terms());
        self.world.run(terms, |host| host.abandon_lazily(&flight.course.question(&flight.ask)));
        let (claim, keys) = (usize::from(flight.ask.claim), &self.world.db.lazy);
        let is_member = keys.record(flight.ask.token).is_some_and(|it| it.family > 0);
        if flight.ask.token == flight.ask.own && !is_member {
            // A claim whose refresh came to nothing is not known yet.
            let rightful = &mut self.world.db.rightful[claim];
            *rightful = (*rightful).min(self.world.known.given[claim]);
        }
        self.end(flight.course.walk.filter(|walk| walk.is_good).map(|walk| walk.next));
    }

    /// The outcome lands.
    pub fn land(&mut self) -> Landing {
        let (flight, terms, epoch) = (*self.flight(), self.terms(), self.world.server);
        let landing = Landing { ask: flight.course.question(&flight.ask), origin: flight.course.origin, epoch };
        self.world.run(terms, |host| host.complete_lazily(&landing, false, false));
        landing
    }

    /// The caller is handed what landed. How far the way from its own token goes its pod tells afterwards.
    pub fn landed(&mut self, token: u8) {
        if self.course().walk.is_some() {
            let flight = *self.flight();
            let own = Ask { token: flight.ask.own, ..flight.course.question(&flight.ask) };
            self.world.callers[self.caller].leaves = Some((own, token));
        }
        self.end(Some(token));
    }

    /// Its pod tells that.
    pub fn leave(&mut self) {
        let terms = self.terms();
        if let Some((own, next)) = self.world.callers[self.caller].leaves.take() {
            self.world.run(terms, |host| host.tip_lazily(&own, next, true));
        }
    }
}
