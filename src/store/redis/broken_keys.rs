//! Keys that hold what they should not: another type, text for a number, a lock without a fence. Somebody wrote into the
//! namespace, and what a script needs of it cannot be guessed.
//!
//! The flights that need such a key are refused. The pod says which key it is and why, and is not ready until the key is
//! right again or gone: it looks by itself whenever it is asked whether it is ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::call::Call;
use super::failed::{Failed, Unanswered};
use super::keys::{Holds, Keys};
use super::lanes::Lanes;
use super::verdict::Verdict;
use crate::store::contract::StoreError;

/// So many are remembered, and looked at for one call; of more the first are forgotten.
const AT_MOST: usize = 24;
/// Between two lines of the log, and after a search that found nothing.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct BrokenKeys {
    lanes: Arc<Lanes>,
    keys: Arc<Keys>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    keys: Vec<String>,
    /// When nothing was found, and when something was logged.
    fruitless: Option<Instant>,
    logged: Option<Instant>,
}

impl BrokenKeys {
    pub(super) fn new(lanes: Arc<Lanes>, keys: Arc<Keys>) -> Self {
        Self { lanes, keys, found: Mutex::default() }
    }

    /// After a call that failed as a whole: finds the key that it failed for, remembers it and says so in the log, once a
    /// second at most. What it answers names the key.
    pub(super) async fn search(&self, script: &'static str, call: &Call<'_>, unanswered: Unanswered) -> StoreError {
        let StoreError { reason, may_have_run } = unanswered.error;
        // What scripts spell by themselves is none of the call's.
        let keys = || {
            let mut keys = call.keys();
            keys.extend(keys.iter().filter_map(|key| self.keys.waits_beside(key)).collect::<Vec<_>>());
            keys.extend(self.keys.of_namespace().map(str::to_owned));
            keys.push(self.keys.line("strangers"));
            keys.sort();
            keys.dedup();
            keys
        };
        let broken = if self.is_search_due() { self.first_broken(keys()).await } else { None };
        if self.is_log_due() {
            let key = broken.as_deref().unwrap_or("none is known to be broken");
            error!(script, key, reason, "a script fails: set the key right or delete it");
        }
        let key = broken.map_or(String::new(), |key| format!("{key}: "));
        StoreError { reason: format!("{key}the script {script} fails: {reason}"), may_have_run }
    }

    /// Those that are known first: mostly it is one of them again.
    async fn first_broken(&self, mut keys: Vec<String>) -> Option<String> {
        {
            let found = self.found();
            keys.sort_by_key(|key| !found.keys.contains(key));
        }
        for key in keys.into_iter().take(AT_MOST) {
            if let Ok(Some(why)) = self.examine(&key).await {
                let broken = format!("{key} {why}");
                self.remember(key);
                return Some(broken);
            }
        }
        self.found().fruitless = Some(Instant::now());
        None
    }

    fn remember(&self, key: String) {
        let mut found = self.found();
        if !found.keys.contains(&key) {
            found.keys.push(key);
        }
        let too_many = found.keys.len().saturating_sub(AT_MOST);
        found.keys.drain(..too_many);
    }

    fn is_search_due(&self) -> bool {
        self.found().fruitless.is_none_or(|searched| searched.elapsed() >= PAUSE)
    }

    fn is_log_due(&self) -> bool {
        let mut found = self.found();
        let is_due = found.logged.is_none_or(|logged| logged.elapsed() >= PAUSE);
        if is_due {
            found.logged = Some(Instant::now());
        }
        is_due
    }

    /// Whether every key that was found broken is right again or gone.
    ///
    /// # Errors
    ///
    /// Names one that is not, or what kept this pod from looking.
    pub(super) async fn are_healed(&self) -> Result<(), StoreError> {
        let keys = self.found().keys.clone();
        for key in keys {
            match self.examine(&key).await {
                Ok(None) => {
                    info!(key, "a key that was broken is right again or gone");
                    self.found().keys.retain(|broken| *broken != key);
                }
                Ok(Some(reason)) => return Err(StoreError::did_not_run(format!("{key} {reason}"))),
                Err(failed) => {
                    let reason = failed.said().unwrap_or_else(|| "redis did not answer".to_owned());
                    return Err(StoreError::did_not_run(reason));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a key. None: nothing is, or it is gone. By commands that the scripts use, too.
    async fn examine(&self, key: &str) -> Result<Option<String>, Failed> {
        let holds = self.keys.holds(key);
        let read = match holds {
            Holds::Anything => return Ok(None),
            Holds::Number | Holds::Owner | Holds::Text => self.get(key).await.map(|text| match text {
                Some(text) if holds == Holds::Number && !is_number(&text) => Some("holds no number".to_owned()),
                Some(text) if holds == Holds::Owner && !is_owner(&text) => Some("names no fence".to_owned()),
                _ => None,
            }),
            Holds::Set => self.read::<Vec<String>>(&["ZRANGE", key, "0", "0"]).await.map(|_| None),
            Holds::Fields(numbers) => self.read::<Vec<(String, Vec<u8>)>>(&["HGETALL", key]).await.map(|fields| {
                let text = fields.into_iter().find(|(field, value)| {
                    let is_meant = numbers.contains(&field.as_str());
                    is_meant && std::str::from_utf8(value).map_or(true, |text| !is_number(text))
                });
                text.map(|(field, _)| format!("holds no number in the field {field}"))
            }),
        };
        match read {
            Err(Failed::Refused { verdict: Verdict::Wrong, error }) if error.code() == Some("WRONGTYPE") => {
                Ok(Some(format!("is not a {}", holds.type_name())))
            }
            read => read,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<String>, Failed> {
        let bytes = self.read::<Option<Vec<u8>>>(&["GET", key]).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn read<T: redis::FromRedisValue>(&self, command: &[&str]) -> Result<T, Failed> {
        self.lanes.once(&Call::command(command[0], &command[1..])).await
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().expect("BUG: nothing panics with this lock held")
    }
}

/// As Lua's `tonumber` would have it, but for hexadecimal digits, which no script writes.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `<pod>/<fence>`
fn is_owner(text: &str) -> bool {
    text.rsplit_once('/').is_some_and(|(_, fence)| !fence.is_empty() && fence.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_owners_are_told_from_text() {
        for number in ["0", "17", "1790000000123", "-1", "1.5"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "x", "1x", "nan", "inf"] {
            assert!(!is_number(text), "{text}");
        }
        assert!(is_owner("pod/7"));
        for text in ["", "pod", "pod/", "pod/x", "pod/7x"] {
            assert!(!is_owner(text), "{text}");
        }
    }
}
