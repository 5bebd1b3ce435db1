//! Breakers of this pod for callers that are not known: what befalls them says nothing of the provider, but one kind of
//! request that the provider fails at again and again is to leave it in peace, too.
//!
//! By the kind of request, all but the token: a stranger that makes requests up closes the way to no others than those like
//! its own. Bounded: the kind that failed longest ago makes way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::circuit::quiet;
use crate::config::Config;
use crate::error::Refusal;
use crate::outcome::{LONGEST_RETRY_AFTER, ProviderHealth};

/// So many kinds are remembered.
const MOST_KINDS: usize = 1000;

#[derive(Clone, Copy, Debug)]
struct Breaker {
    /// In a row.
    failures: u32,
    failed_at: Instant,
    until: Option<Instant>,
}

/// The breakers, by the kind of request.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    breakers: Mutex<HashMap<u64, Breaker, RandomState>>,
    /// As long as there is none, no flight needs the lock.
    has_any: AtomicBool,
}

impl Strangers {
    /// Why a stranger may not lead with such a request, if it may not. When the time is over it is tried again; one more
    /// failure starts the time anew.
    pub(crate) fn refusal(&self, kind: u64, now: Instant) -> Option<Refusal> {
        if !self.has_any.load(Ordering::Relaxed) {
            return None;
        }
        let retry_after = self.lock().get(&kind)?.until?.saturating_duration_since(now);
        (!retry_after.is_zero()).then_some(Refusal::CircuitOpen { retry_after })
    }

    /// The flight of a stranger has ended, or another such request succeeded. Answers for how long its kind is refused, where that
    /// begins now.
    pub(crate) fn learn(&self, kind: u64, health: ProviderHealth, now: Instant, config: &Config) -> Option<Duration> {
        if health == ProviderHealth::Healthy && !self.has_any.load(Ordering::Relaxed) {
            return None;
        }
        let open_for = |breaker: &Breaker| match health {
            ProviderHealth::Failing => {
                (breaker.failures >= config.breaker.max_failures).then_some(config.breaker.open_duration)
            }
            ProviderHealth::FleetLimited(retry_after) => Some(retry_after.min(LONGEST_RETRY_AFTER)),
            ProviderHealth::Healthy | ProviderHealth::Neutral | ProviderHealth::SessionLimited(_) => None,
        };
        let mut breakers = self.lock();
        let mut begins = None;
        match health {
            ProviderHealth::Healthy => {
                breakers.remove(&kind);
            }
            ProviderHealth::Neutral | ProviderHealth::SessionLimited(_) => {}
            ProviderHealth::Failing | ProviderHealth::FleetLimited(_) => {
                make_room(&mut breakers, kind);
                let breaker = breakers.entry(kind).or_insert(Breaker { failures: 0, failed_at: now, until: None });
                if now >= breaker.until.unwrap_or(breaker.failed_at) + quiet(config) {
                    breaker.failures = 0;
                }
                breaker.failures = breaker.failures.saturating_add(u32::from(health == ProviderHealth::Failing));
                breaker.failed_at = now;
                let pause = open_for(breaker);
                begins = pause.filter(|_| breaker.until.is_none_or(|until| until <= now));
                breaker.until = pause.map(|pause: Duration| now + pause).or(breaker.until);
            }
        }
        self.has_any.store(!breakers.is_empty(), Ordering::Relaxed);
        begins
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Breaker, RandomState>> {
        self.breakers.lock().expect("BUG: nothing panics with this lock held")
    }
}

fn make_room(breakers: &mut HashMap<u64, Breaker, RandomState>, kind: u64) {
    if breakers.len() >= MOST_KINDS && !breakers.contains_key(&kind) {
        let oldest = breakers.iter().min_by_key(|(_, breaker)| breaker.failed_at).map(|(kind, _)| *kind);
        oldest.and_then(|oldest| breakers.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn kind_that_fails_in_a_row_is_refused_for_a_while_and_no_other_is() {
        let (strangers, config, now) = (Strangers::default(), Config::default(), Instant::now());
        let mut begun = Vec::new();
        for _ in 0..config.breaker.max_failures {
            assert_eq!(strangers.refusal(1, now), None);
            begun.extend(strangers.learn(1, ProviderHealth::Failing, now, &config));
        }
        begun.extend(strangers.learn(1, ProviderHealth::Failing, now, &config));
        assert_eq!(begun, [30 * S], "it begins once");

        assert_eq!(strangers.refusal(1, now + S), Some(Refusal::CircuitOpen { retry_after: 29 * S }));
        assert_eq!((strangers.refusal(2, now), strangers.refusal(1, now + 30 * S)), (None, None));
        let again = strangers.learn(1, ProviderHealth::Failing, now + 30 * S, &config);
        assert!(again.is_some() && strangers.refusal(1, now + 31 * S).is_some(), "one more");
        strangers.learn(1, ProviderHealth::Healthy, now + 60 * S, &config);
        strangers.learn(1, ProviderHealth::Failing, now + 60 * S, &config);
        assert_eq!(strangers.refusal(1, now + 61 * S), None);
    }

    #[test]
    fn provider_that_asks_everybody_to_stay_away_is_obeyed_at_once_and_for_five_minutes_at_most() {
        let (strangers, config, now) = (Strangers::default(), Config::default(), Instant::now());

        strangers.learn(1, ProviderHealth::FleetLimited(3600 * S), now, &config);

        assert_eq!(strangers.refusal(1, now), Some(Refusal::CircuitOpen { retry_after: 300 * S }));
    }

    #[test]
    fn kinds_are_bounded() {
        let (strangers, config, now) = (Strangers::default(), Config::default(), Instant::now());

        for kind in 0..60_000 {
            strangers.learn(kind, ProviderHealth::Failing, now + Duration::from_millis(kind), &config);
        }

        assert_eq!(strangers.lock().len(), MOST_KINDS);
    }
}
