//! Of which tokens which clients have ended the session: what the fields `ended:<client>` of a record are in Redis.
//!
//! Apart from the records, because most processes end few sessions, and there are as many records as sessions.

use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::record::FlightRecord;
use crate::identity::Hash;

/// So many clients may end the session of one token: more are made up, and the mark that is over first makes way.
const MOST_MARKS: usize = 16;

/// Of which token which clients have ended the session, and until when that is remembered. Locked after a flight's record, never
/// before.
#[derive(Debug, Default)]
pub(super) struct EndedSessions {
    marks: DashMap<Hash, Vec<(Hash, Instant)>, RandomState>,
    /// Every flight asks.
    is_used: AtomicBool,
}

impl EndedSessions {
    pub(super) fn has(&self, flight: Hash, client: Hash, now: Instant) -> bool {
        let is_marked = |(marked, until): &(Hash, Instant)| *marked == client && *until > now;
        self.is_used.load(Ordering::SeqCst) && self.marks.get(&flight).is_some_and(|marks| marks.iter().any(is_marked))
    }

    /// Whether any client has.
    pub(super) fn has_any(&self, flight: Hash, now: Instant) -> bool {
        let is_on = |(_, until): &(Hash, Instant)| *until > now;
        self.is_used.load(Ordering::SeqCst) && self.marks.get(&flight).is_some_and(|marks| marks.iter().any(is_on))
    }

    /// Keeps a record for as long as the session of its token is known to have ended.
    pub(super) fn keep(&self, flight: Hash, record: &mut FlightRecord) {
        if self.is_used.load(Ordering::SeqCst)
            && let Some(marks) = self.marks.get(&flight)
        {
            record.ends = marks.iter().map(|(_, until)| *until).fold(record.ends, Instant::max);
        }
    }

    pub(super) fn forget(&self, now: Instant) {
        self.marks.retain(|_, marks| marks.iter().any(|(_, until)| *until > now));
    }

    /// `leads` is whose flight it is: that mark makes way for none.
    pub(super) fn note(&self, flight: Hash, client: Hash, leads: Option<Hash>, ends: Instant) {
        let mut marks = self.marks.entry(flight).or_default();
        match marks.iter_mut().find(|(marked, _)| *marked == client) {
            // Told again, it ends no earlier.
            Some((_, until)) => *until = ends.max(*until),
            None => {
                let others = marks.iter().enumerate().filter(|(_, (marked, _))| Some(*marked) != leads);
                let oldest = others.min_by_key(|(_, (_, until))| *until).map(|(at, _)| at);
                if let Some(oldest) = oldest.filter(|_| marks.len() >= MOST_MARKS) {
                    marks.swap_remove(oldest);
                }
                marks.push((client, ends));
            }
        }
        self.is_used.store(true, Ordering::SeqCst);
    }
}
