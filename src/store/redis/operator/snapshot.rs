//! What `inspect` tells, field by field, as JSON.

use std::collections::{BTreeMap, HashMap};

use redis::{FromRedisValue, Value};
use serde::Serialize;

use super::{Operator, READ, RedisName};
use crate::error::ConnectError;

/// Fields are named as in lua/README.md, and are the texts that stand in Redis.
#[derive(Serialize)]
struct Snapshot {
    namespace: String,
    /// Redis' time in ms, as all stamps.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flight: Option<FlightSeen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionSeen>,
    circuit: Fields,
    permits: Members,
    budget: Option<String>,
    /// The clients whose flights wait, and the turn of each.
    queue: Members,
    /// Those flights.
    waiting: BTreeMap<String, Members>,
    incarnation: Option<String>,
    fence: Option<String>,
    meta: Fields,
}

type Fields = BTreeMap<String, String>;
/// Members of a sorted set, with their scores.
type Scored = Vec<(String, f64)>;

#[derive(Serialize)]
struct FlightSeen {
    name: String,
    /// The leader, while its lease lasts.
    lock: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_left_ms: Option<i64>,
    record: Fields,
}

#[derive(Serialize)]
struct SessionSeen {
    name: String,
    attempts: Fields,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_in_ms: Option<i64>,
}

#[derive(Serialize)]
struct Members {
    count: u64,
    /// The first of them, with their scores.
    first: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    member: String,
    score: f64,
}

impl Members {
    fn of(count: u64, first: Scored) -> Self {
        Self { count, first: first.into_iter().map(|(member, score)| Member { member, score }).collect() }
    }
}

impl Operator {
    /// What [`inspect`](Self::inspect) tells, as JSON: the keys of the namespace by their names and fields in lua/README.md,
    /// without outcomes. Of `permits` and `queue` the first `shown` members, and as many flights of each of these clients.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect).
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn inspect_json(
        &mut self,
        flight: Option<RedisName>,
        session: Option<RedisName>,
        shown: u32,
    ) -> Result<String, ConnectError> {
        let keys = self.all_keys(flight, session);
        let script = include_str!("../../../../lua/snapshot.lua");
        let told: HashMap<String, Value> = self.ask(script, &keys, &[shown.to_string()], READ).await?;
        let mut told = Told(told);
        let told_flight = FlightSeen {
            name: flight.map(|name| name.to_string()).unwrap_or_default(),
            lock: told.take("lock"),
            lease_left_ms: told.left("lease_left_ms"),
            record: told.take("flight"),
        };
        let told_session = SessionSeen {
            name: session.or(flight).map(|name| name.to_string()).unwrap_or_default(),
            attempts: told.take("attempts"),
            forgotten_in_ms: told.left("attempts_left_ms"),
        };
        let snapshot = Snapshot {
            namespace: self.namespace.clone(),
            at: told.take("at"),
            flight: flight.map(|_| told_flight),
            session: session.or(flight).map(|_| told_session),
            circuit: told.take("circuit"),
            permits: told.members("permits", "permits_count"),
            budget: told.take("budget"),
            queue: told.members("queue", "queue_count"),
            waiting: told.waiting(),
            incarnation: told.take("incarnation"),
            fence: told.take("fence"),
            meta: told.take("meta"),
        };
        Ok(serde_json::to_string_pretty(&snapshot).expect("BUG: texts and numbers are JSON"))
    }
}

struct Told(HashMap<String, Value>);

impl Told {
    /// What the script says of a name. It says something of each.
    fn take<T: FromRedisValue>(&mut self, name: &str) -> T {
        let value = self.0.remove(name).unwrap_or(Value::Nil);
        redis::from_redis_value(value).unwrap_or_else(|error| panic!("BUG: snapshot.lua says of {name}: {error}"))
    }

    /// What is left of a key: none where there is no such key, or it has no end.
    fn left(&mut self, name: &str) -> Option<i64> {
        Some(self.take(name)).filter(|left| *left >= 0)
    }

    fn members(&mut self, name: &str, count: &str) -> Members {
        let first = self.take(name);
        Members::of(self.take(count), first)
    }

    fn waiting(&mut self) -> BTreeMap<String, Members> {
        let clients: Vec<(String, u64, Scored)> = self.take("waiting");
        clients.into_iter().map(|(client, count, first)| (client, Members::of(count, first))).collect()
    }
}
