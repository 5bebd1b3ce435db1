//! Which flights are led now, and which have lost their leader: by SCAN, within limits.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Operator, RedisName};
use crate::error::ConnectError;

/// So many keys Redis looks at for one SCAN: less than a millisecond of its one thread.
const AT_ONCE: u32 = 1000;

/// What a walk over the flights of a namespace has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Flights {
    /// In no order.
    pub flights: Vec<SeenFlight>,
    /// Whether all keys were looked at. Else there may be more flights.
    pub is_all: bool,
}

/// A flight as it stood for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenFlight {
    /// What its token is called.
    pub name: RedisName,
    /// The leader, `<pod>/<fence>/<lease in ms>`.
    pub owner: String,
    /// What is left of the leader's lease; none where that is over without an outcome: the leader is lost.
    pub lease_left: Option<Duration>,
    /// How long ago it started, by Redis' clock.
    pub started_ago: Duration,
}

type Record = (Option<String>, Option<String>, Option<u64>);

impl Operator {
    /// The flights that are led. With `also_lost` also those that have neither a leader nor an outcome: for these every record of the
    /// namespace is read. Ends when `most` are found, or some `keys` keys of the server were looked at.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect). The user needs the right to `SCAN`, beside those of a pod.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn flights(&mut self, also_lost: bool, most: usize, keys: u64) -> Result<Flights, ConnectError> {
        let any = self.keys.pattern();
        let kind = if also_lost { "flight:" } else { "lock:" };
        let pattern = format!("{}{kind}*", any.trim_end_matches('*'));
        // A key may come twice in a walk.
        let mut listed = BTreeSet::new();
        let (mut flights, mut looked_at, mut cursor) = (Vec::new(), 0, 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(AT_ONCE);
            let scanned = scan.query_async(&mut self.connection).await;
            let (next, found): (u64, Vec<String>) =
                scanned.map_err(|error| self.failed(&error, "+scan +get +pttl +hmget +time"))?;
            looked_at += u64::from(AT_ONCE);
            let names = found.iter().filter_map(|key| key[pattern.len() - 1..].parse().ok()).collect::<Vec<_>>();
            flights.extend(self.seen(&names).await?.into_iter().filter(|flight| listed.insert(flight.name)));
            cursor = next;
            if cursor == 0 || looked_at >= keys || flights.len() >= most {
                break;
            }
        }
        let is_all = cursor == 0 && flights.len() <= most;
        flights.truncate(most);
        Ok(Flights { flights, is_all })
    }

    /// Those of these that are led or lost.
    async fn seen(&mut self, names: &[RedisName]) -> Result<Vec<SeenFlight>, ConnectError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME");
        for RedisName(name) in names {
            let (lock, flight) = (self.keys.lock(name), self.keys.flight(name));
            pipeline.cmd("GET").arg(lock).cmd("PTTL").arg(lock);
            pipeline.cmd("HMGET").arg(flight).arg("state").arg("owner").arg("started");
        }
        let told: redis::RedisResult<Vec<redis::Value>> = pipeline.query_async(&mut self.connection).await;
        let mut told = told.map_err(|error| self.failed(&error, "+scan +get +pttl +hmget +time"))?.into_iter();
        let mut next = || told.next().unwrap_or(redis::Value::Nil);
        let (seconds, micros): (u64, u64) = read(next());
        let now = seconds * 1000 + micros / 1000;
        let mut seen = Vec::new();
        for name in names {
            let (lock, left): (Option<String>, i64) = (read(next()), read(next()));
            let (state, owner, started): Record = read(next());
            let is_lost = matches!(state.as_deref(), Some("leading" | "lost"));
            let (owner, lease_left) = match (lock, owner) {
                (Some(owner), _) => (owner, Some(Duration::from_millis(left.try_into().unwrap_or(0)))),
                // A lead that was given back has no pod: nothing is held by it.
                (None, Some(owner)) if is_lost && !owner.starts_with("-/") => (owner, None),
                (None, _) => continue,
            };
            let started_ago = Duration::from_millis(now.saturating_sub(started.unwrap_or(now)));
            seen.push(SeenFlight { name: *name, owner, lease_left, started_ago });
        }
        Ok(seen)
    }
}

/// What a command of Redis answers has one form.
fn read<T: redis::FromRedisValue>(value: redis::Value) -> T {
    redis::from_redis_value(value).unwrap_or_else(|error| panic!("BUG: redis answers otherwise: {error}"))
}
