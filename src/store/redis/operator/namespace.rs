//! What is left of a namespace in Redis, and how that is forgotten: by SCAN, within limits.

use std::time::Duration;

use super::{Operator, READ};
use crate::error::ConnectError;

/// So many keys Redis looks at for one SCAN: less than a millisecond of its one thread.
const AT_ONCE: u32 = 1000;

const SHOW_RULE: &str = "+@read +time +memory|usage";

/// What stands in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceSeen {
    /// Its register, in the order of their ids.
    pub pods: Vec<PodSeen>,
    /// The last fence that was given; none where that was never one, or Redis has forgotten it.
    pub last_fence: Option<String>,
    /// Tokens of which something is known.
    pub records: u64,
    /// Flights that are led now.
    pub led: u64,
    /// Flights that wait for a permit.
    pub queued: u64,
    /// Permits that are out.
    pub permits_out: u64,
    /// Sessions of which attempts are counted, or that the provider asked to stay away.
    pub sessions: u64,
    /// Those of them that are refused now.
    pub sessions_held: u64,
    /// New tokens that are held, because nobody has used them yet.
    pub answers_held: u64,
    /// Keys in all.
    pub keys: u64,
    /// What they take of Redis' memory, in bytes, roughly: large keys are sampled. None where the user may not ask.
    pub bytes: Option<u64>,
    /// Whether all keys of the server were looked at. Else there may be more.
    pub is_all: bool,
}

/// A pod in the register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PodSeen {
    /// Its id.
    pub pod: String,
    /// For how long it counts as living, unless it writes itself down again; none where that is over.
    pub lives_for: Option<Duration>,
    /// What it goes by, in words: `provider=idp.example lease=10000 ...`.
    pub settings: String,
}

/// What became of forgetting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forgotten {
    /// No pod lives: all that was found is removed, but for the last fence and which server gave it.
    Removed {
        /// How many keys were.
        keys: u64,
        /// Whether all keys of the server were looked at. Else some may be left.
        is_all: bool,
    },
    /// Pods live in it, somebody listens, or a flight is led: nothing is removed from then on.
    InUse {
        /// How many keys were removed before that.
        keys: u64,
        /// How many pods stand in the register as living.
        pods: u64,
        /// How many connections listen for the namespace.
        listeners: u64,
        /// How many flights were led before anything was removed.
        led: u64,
    },
}

impl Operator {
    /// What stands in the namespace, of its first `most` keys that the server has, those of other namespaces counted. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect). The user needs the right to `SCAN`, beside those of a pod.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn namespace(&mut self, most: u64) -> Result<NamespaceSeen, ConnectError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME").cmd("HGETALL").arg(self.keys.meta()).cmd("GET").arg(self.keys.fence());
        pipeline.cmd("ZCARD").arg(self.keys.permits());
        let told: redis::RedisResult<AtOnce> = pipeline.query_async(&mut self.connection).await;
        let ((seconds, micros), register, last_fence, permits_out) =
            told.map_err(|error| self.failed(&error, SHOW_RULE))?;
        let now = seconds * 1000 + micros / 1000;
        let mut pods: Vec<_> = register.iter().filter_map(|(field, entry)| pod_of(field, entry, now)).collect();
        pods.sort_unstable();
        let mut seen = NamespaceSeen { pods, last_fence, permits_out, bytes: Some(0), ..NamespaceSeen::default() };
        let mut walk = Walk::new(most);
        while let Some(found) = self.next_of(&mut walk).await? {
            self.count(&found, now, &mut seen).await?;
        }
        seen.is_all = walk.is_all();
        Ok(seen)
    }

    /// Removes what stands in the namespace, as long as no pod lives there: judged anew for each thousand keys, in the step that
    /// removes them. The last fence stays, so that none is given again, and so does which server gave it: else a leader that has slept
    /// meanwhile would be taken for one that Redis has lost, and be put back.
    ///
    /// **What is known of its tokens is lost.** A caller that comes with a token that was rotated is not handed what is held: its
    /// token goes to the provider, which may take that for theft.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect). The user needs the rights to `SCAN` and `UNLINK`, beside those of a pod, the right to its
    /// channels among them.
    ///
    /// # Cancellation
    ///
    /// Some may be removed. To forget again begins anew, with what is left.
    pub async fn forget(&mut self, most: u64) -> Result<Forgotten, ConnectError> {
        // First without any, so that a namespace in use is seen before anything is looked for.
        let (word, _, pods, listeners) = self.run_forget(Vec::new()).await?;
        let led = if word == "free" { self.led(most).await? } else { 0 };
        if word != "free" || led > 0 {
            return Ok(Forgotten::InUse { keys: 0, pods, listeners, led });
        }
        let mut walk = Walk::new(most);
        let mut removed = 0;
        while let Some(found) = self.next_of(&mut walk).await? {
            let (word, now_removed, pods, listeners) = self.run_forget(found).await?;
            removed += now_removed;
            if word != "free" {
                return Ok(Forgotten::InUse { keys: removed, pods, listeners, led: 0 });
            }
        }
        Ok(Forgotten::Removed { keys: removed, is_all: walk.is_all() })
    }

    /// How many flights are led. A pod whose entry is lost, and that does not listen, is known by them alone.
    async fn led(&mut self, most: u64) -> Result<u64, ConnectError> {
        let locks = self.keys.pattern().replace('*', "lock:");
        let (mut walk, mut led) = (Walk::new(most), 0);
        while let Some(found) = self.next_of(&mut walk).await? {
            led += found.iter().filter(|key| key.starts_with(&locks)).count() as u64;
        }
        Ok(led)
    }

    async fn run_forget(&mut self, found: Vec<String>) -> Result<(String, u64, u64, u64), ConnectError> {
        let publish = self.pubsub.publish();
        let script = include_str!("../../../../lua/forget.lua").replace("'PUBLISH'", &format!("'{publish}'"));
        let rule = format!("{READ} +scan +unlink +{} &{}", publish.to_lowercase(), self.keys.pattern());
        let stay = [self.keys.fence().to_owned(), self.keys.pattern().replace('*', "incarnation")];
        let mut keys = vec![self.keys.meta().to_owned()];
        keys.extend(found.into_iter().filter(|key| !stay.contains(key)));
        let fleet = [self.keys.fleet().to_owned()];
        self.ask(&script, &keys, &fleet, &rule).await
    }

    /// The next keys of the namespace. None when all, or as many as may be, were looked at.
    async fn next_of(&mut self, walk: &mut Walk) -> Result<Option<Vec<String>>, ConnectError> {
        let Some(cursor) = walk.cursor.filter(|_| walk.left > 0) else { return Ok(None) };
        let pattern = self.keys.pattern();
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(AT_ONCE);
        let scanned = scan.query_async(&mut self.connection).await;
        let (next, mut found): (u64, Vec<String>) =
            scanned.map_err(|error| self.failed(&error, &format!("{READ} +scan")))?;
        // Whatever a pattern may mean to Redis.
        found.retain(|key| key.starts_with(pattern.trim_end_matches('*')));
        walk.left = walk.left.saturating_sub(AT_ONCE.into());
        walk.cursor = (next != 0).then_some(next);
        Ok(Some(found))
    }

    /// Adds these keys to what was seen.
    async fn count(&mut self, found: &[String], now: u64, seen: &mut NamespaceSeen) -> Result<(), ConnectError> {
        if found.is_empty() {
            return Ok(());
        }
        let beginning = self.keys.pattern().len() - 1;
        let kind = |key: &str| key[beginning..].split_once(':').map(|(kind, _)| kind.to_owned()).unwrap_or_default();
        let (mut lines, mut sessions) = (redis::pipe(), redis::pipe());
        for key in found {
            match &*kind(key) {
                "flight" => seen.records += 1,
                "lock" => seen.led += 1,
                "held" => seen.answers_held += 1,
                "queue" => drop(lines.cmd("ZCARD").arg(key)),
                "attempts" => {
                    seen.sessions += 1;
                    sessions.cmd("HGETALL").arg(key);
                }
                _ => {}
            }
        }
        seen.keys += found.len() as u64;
        let queued: Vec<u64> = self.asked(&lines).await?;
        seen.queued += queued.iter().sum::<u64>();
        let accounts: Vec<Vec<(String, String)>> = self.asked(&sessions).await?;
        seen.sessions_held += accounts.iter().filter(|fields| is_held(fields, now)).count() as u64;
        self.weigh(found, seen).await
    }

    /// What each command of a pipeline answers, which may have none.
    async fn asked<T: redis::FromRedisValue>(&mut self, pipeline: &redis::Pipeline) -> Result<Vec<T>, ConnectError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let answered = pipeline.query_async(&mut self.connection).await;
        answered.map_err(|error| self.failed(&error, SHOW_RULE))
    }

    async fn weigh(&mut self, found: &[String], seen: &mut NamespaceSeen) -> Result<(), ConnectError> {
        let Some(bytes) = seen.bytes else { return Ok(()) };
        let mut usage = redis::pipe();
        for key in found {
            usage.cmd("MEMORY").arg("USAGE").arg(key);
        }
        let told: redis::RedisResult<Vec<Option<u64>>> = usage.query_async(&mut self.connection).await;
        seen.bytes = match told {
            // One that has ended meanwhile takes none.
            Ok(each) => Some(bytes + each.iter().flatten().sum::<u64>()),
            Err(error) if super::is_forbidden(&error) => None,
            Err(error) => return Err(self.failed(&error, SHOW_RULE)),
        };
        Ok(())
    }
}

/// What is asked at once: Redis' clock in seconds and the microseconds beyond, the register, the last fence, and how many permits
/// are out.
type AtOnce = ((u64, u64), Vec<(String, String)>, Option<String>, u64);

/// A walk over the keys of a server.
struct Walk {
    /// Where it goes on; none when it is over.
    cursor: Option<u64>,
    /// How many keys may still be looked at.
    left: u64,
}

impl Walk {
    fn new(most: u64) -> Self {
        Self { cursor: Some(0), left: most.max(1) }
    }

    fn is_all(&self) -> bool {
        self.cursor.is_none()
    }
}

/// Whether one of the accounts of a session is refused: each has a field that ends with its name.
fn is_held(fields: &[(String, String)], now: u64) -> bool {
    let is_end = |field: &str| field.starts_with("cooldown_until:") || field.starts_with("held_until:");
    fields.iter().any(|(field, until)| is_end(field) && until.parse::<u64>().is_ok_and(|until| until > now))
}

fn pod_of(field: &str, entry: &str, now: u64) -> Option<PodSeen> {
    let pod = field.strip_prefix("pod:")?.to_owned();
    let (ends, settings) = entry.strip_prefix("ends=")?.split_once(' ')?;
    let left = ends.parse::<u64>().ok()?.saturating_sub(now);
    let lives_for = (left > 0).then(|| Duration::from_millis(left));
    Some(PodSeen { pod, lives_for, settings: settings.to_owned() })
}
