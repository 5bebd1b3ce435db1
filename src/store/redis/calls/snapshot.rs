//! `snapshot.lua`: tells a pod how the fleet stands, by the script that an operator asks.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{FromRedisValue, Script};

use super::Calls;
use super::reply::Reply;
use crate::admission::circuit::CircuitState;
use crate::admission::overview::Overview;
use crate::identity::Hash;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// Loaded where it is asked for first: no refresh needs it.
static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../../../lua/snapshot.lua")));

impl Calls {
    /// How the fleet stands, beside its circuit. No list of flights is asked for.
    pub(crate) async fn overview(&self, circuit: CircuitState) -> Result<Overview, StoreError> {
        // Of one flight and its session nothing is asked: nobody has this name.
        let nobody = Hash::of_probe("overview");
        let keys = &self.keys;
        let mut call = Call::new(&SNAPSHOT, 10);
        call.key(keys.lock(&nobody)).key(keys.flight(&nobody)).key(keys.fence()).key(keys.incarnation());
        call.key(keys.attempts(&nobody)).key(keys.permits()).key(keys.budget()).key(keys.queue());
        call.key(keys.circuit()).key(keys.meta()).arg(0);
        read(&self.run("snapshot", &call).await?, circuit)
    }
}

fn read(reply: &Reply, circuit: CircuitState) -> Result<Overview, StoreError> {
    let now: u64 = named(reply, "at")?;
    // It is empty where no flight waits.
    let oldest: Option<u64> = named::<String>(reply, "oldest_ms")?.parse().ok();
    let meta: HashMap<String, String> = named(reply, "meta")?;
    let incarnation: Option<String> = named(reply, "incarnation")?;
    let mut pods: Vec<_> = meta.iter().filter_map(|(field, entry)| living(field, entry, now)).collect();
    pods.sort_unstable();
    Ok(Overview {
        circuit,
        permits_out: named(reply, "permits_out")?,
        queued: named(reply, "queued")?,
        oldest_queued: oldest.map(|since| Duration::from_millis(now.saturating_sub(since))),
        recovering_for: incarnation.and_then(|noted| recovering(&noted, now)),
        pods: Some(pods),
    })
}

fn named<T: FromRedisValue>(reply: &Reply, name: &str) -> Result<T, StoreError> {
    let mut names = (0..reply.len()).step_by(2);
    let at = names.find(|index| reply.field::<String>(*index).is_ok_and(|told| told == name));
    reply.field(at.ok_or_else(|| reply.unknown())? + 1)
}

/// The pod of an entry of the register, unless that is over.
fn living(field: &str, entry: &str, now: u64) -> Option<String> {
    let pod = field.strip_prefix("pod:")?;
    let ends: u64 = entry.strip_prefix("ends=")?.split(' ').next()?.parse().ok()?;
    (ends > now).then(|| pod.to_owned())
}

/// What is left of a recovery: no more than the whole of it, should the clock of Redis have been set back.
fn recovering(noted: &str, now: u64) -> Option<Duration> {
    let mut words = noted.split(' ').skip(1).map(str::parse);
    let (Some(Ok(until)), Some(Ok(span))) = (words.next(), words.next()) else { return None };
    let left = u64::saturating_sub(until, now).min(span);
    (left > 0).then(|| Duration::from_millis(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_of_the_register_counts_until_it_ends() {
        assert_eq!(living("pod:a", "ends=11 lease=1", 10), Some("a".to_owned()));
        assert_eq!(living("pod:a", "ends=10 lease=1", 10), None);
        assert_eq!(living("protocol", "2", 10), None);
    }

    #[test]
    fn recovery_has_an_end_whatever_the_clock_says() {
        assert_eq!(recovering("ab 15000 10000", 10_000), Some(Duration::from_secs(5)));
        assert_eq!(recovering("ab 90000 10000", 10_000), Some(Duration::from_secs(10)));
        assert_eq!(recovering("ab 10000 10000", 10_000), None);
    }
}
