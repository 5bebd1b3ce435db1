//! Which flight is next for a permit.
//!
//! The flights of each client that is known stand in a line of their own, so that a client that refreshes very many tokens at once
//! delays itself and no other: the line with the smallest share of the permits is served first, among equals the one that got a
//! permit longest ago, and within a line who came first. All callers that are not known have one line together, after the others.
//!
//! In Redis: `queue` and `queue:<client>`; `lua/lib/lines.lua`.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use uuid::Uuid;

use super::concerned::ClientName;

/// Who waits. `W` wakes a waiting flight; None is the one that asks at this moment.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    /// None of them is empty.
    lines: BTreeMap<Line, Waiting<W>>,
}

/// Strangers come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    Client(ClientName),
    Strangers,
}

/// A flight, by when it came first and by its attempt.
pub(crate) type Place = (Instant, Uuid);

/// A pod, among those that share the budget.
pub(crate) type PodNumber = u64;

pub(crate) trait Wake {
    /// Wakes a flight; false when nobody is there to be woken.
    fn wake(self) -> bool;
    /// The pod of the flight.
    fn pod(&self) -> PodNumber;
}

/// How many permits each client has, of those that count.
pub(crate) type Shares = BTreeMap<ClientName, usize>;

#[derive(Debug)]
struct Waiting<W> {
    /// The line with the lowest got no permit for longest.
    turn: u64,
    places: BTreeMap<Place, Option<W>>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { lines: BTreeMap::new() }
    }
}

impl<W: Wake> Queue<W> {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Flights that wait.
    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(|line| line.places.len()).sum()
    }

    /// Since when the flight waits that waits longest.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let firsts = self.lines.values().filter_map(|waiting| waiting.places.keys().next());
        firsts.map(|(since, _)| *since).min()
    }

    /// Whether flights of several known clients wait.
    pub(crate) fn is_shared(&self) -> bool {
        self.lines.keys().filter(|line| **line != Line::Strangers).count() > 1
    }

    /// The line in which a flight stands, whatever its client is now.
    pub(crate) fn line_of(&self, place: Place) -> Option<Line> {
        self.lines.iter().find(|(_, waiting)| waiting.places.contains_key(&place)).map(|(line, _)| *line)
    }

    /// A client that begins to queue comes after all others.
    pub(crate) fn enter(&mut self, line: Line, place: Place, waker: Option<W>) {
        let turn = self.last_turn() + 1;
        let waiting = self.lines.entry(line).or_insert_with(|| Waiting { turn, places: BTreeMap::new() });
        waiting.places.insert(place, waker);
    }

    pub(crate) fn leave(&mut self, place: Place) {
        if let Some(line) = self.line_of(place) {
            self.remove(line, place);
        }
    }

    /// All flights of these pods leave. Answers what wakes them.
    pub(crate) fn leave_all(&mut self, pods: &BTreeSet<PodNumber>) -> Vec<W> {
        let is_of_them = |waker: &Option<W>| waker.as_ref().is_some_and(|waker| pods.contains(&waker.pod()));
        let waiting = self.lines.iter().flat_map(|(line, waiting)| waiting.places.iter().map(|at| (*line, at)));
        let places: Vec<_> =
            waiting.filter(|(_, (_, waker))| is_of_them(waker)).map(|(line, at)| (line, *at.0)).collect();
        places.into_iter().filter_map(|(line, place)| self.remove(line, place)).collect()
    }

    /// The line that is served next.
    pub(crate) fn next(&self, shares: &Shares) -> Option<Line> {
        let rank = |line: &Line, turn| match line {
            Line::Client(client) => (shares.get(client).copied().unwrap_or(0), turn),
            Line::Strangers => (usize::MAX, u64::MAX),
        };
        self.lines.iter().min_by_key(|(line, waiting)| rank(line, waiting.turn)).map(|(line, _)| *line)
    }

    /// The first of a line leaves it.
    pub(crate) fn call_first(&mut self, line: Line) -> Option<(Place, Option<W>)> {
        let waiting = self.lines.get_mut(&line)?;
        let first = waiting.places.pop_first();
        if waiting.places.is_empty() {
            self.lines.remove(&line);
        }
        first
    }

    /// The line got a permit: now it is the last.
    pub(crate) fn has_been_served(&mut self, line: Line) {
        let turn = self.last_turn() + 1;
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.turn = turn;
        }
    }

    fn last_turn(&self) -> u64 {
        self.lines.values().map(|waiting| waiting.turn).max().unwrap_or(0)
    }

    fn remove(&mut self, line: Line, place: Place) -> Option<W> {
        let waiting = self.lines.get_mut(&line)?;
        let waker = waiting.places.remove(&place).flatten();
        if waiting.places.is_empty() {
            self.lines.remove(&line);
        }
        waker
    }
}
