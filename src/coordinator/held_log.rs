//! Tells an operator of clients that are held: an account of a session that is refused until a time. One line when that begins, and none
//! for the calls that are refused meanwhile; a line a second at most for each reason, with how many were left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;

use crate::error::Refusal;
use crate::identity::{Hash, Identity};
use crate::told::Told;

/// So many are remembered; the hold that ends first makes way, and is told once more if it is met again.
const MOST: usize = 1024;

/// Two pods, or two answers of the store, may be so far apart about when a hold ends.
const LEEWAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct HeldLog {
    namespace: String,
    pod: String,
    told: Told,
    /// Until when each account is held, as far as this pod has seen.
    until: Mutex<HashMap<Account, Instant>>,
}

/// A session, and which of its claims: a stranger who comes with its token has an account of its own.
type Account = (Hash, u64);

/// Why a session is held, and by which setting.
fn held(refusal: &Refusal) -> Option<(&'static str, &'static str)> {
    match refusal {
        Refusal::CoolingDown { .. } => Some((refusal.reason(), "max_refresh_attempts")),
        Refusal::Limited { .. } => Some((refusal.reason(), "Retry-After of the provider")),
        // These concern more than one session, and have lines of their own.
        Refusal::AnotherClaim { .. }
        | Refusal::Budget { .. }
        | Refusal::CircuitOpen { .. }
        | Refusal::NotReaching { .. }
        | Refusal::MemoryPressure { .. }
        | Refusal::Closing { .. } => None,
    }
}

impl HeldLog {
    pub(super) fn new(namespace: String, pod: String) -> Self {
        Self { namespace, pod, told: Told::default(), until: Mutex::default() }
    }

    /// Tells it where this is the first refusal of a hold.
    pub(super) fn see(&self, refusal: &Refusal, of: &Identity) {
        let Some((reason, setting)) = held(refusal) else { return };
        let lasts = refusal.retry_after();
        if !self.begins((of.session, of.account), Instant::now(), lasts) {
            return;
        }
        let Some(left_out) = self.told.due(reason) else { return };
        let until = SystemTime::now().checked_add(lasts).map(humantime::format_rfc3339_millis);
        warn!(
            namespace = self.namespace,
            pod = self.pod,
            flight = %of.flight,
            session = %of.session,
            account = format_args!("{:016x}", of.account),
            reason,
            setting,
            until = until.map(tracing::field::display),
            left_out,
            "a client is held: its account of the session is refused until then"
        );
    }

    fn begins(&self, account: Account, now: Instant, lasts: Duration) -> bool {
        let mut held = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + lasts;
        if held.get(&account).is_some_and(|known| now < *known + LEEWAY) {
            // What the provider or the fleet has made longer meanwhile is the same hold.
            held.insert(account, until);
            return false;
        }
        if held.len() >= MOST {
            held.retain(|_, known| now < *known + LEEWAY);
        }
        if held.len() >= MOST
            && let Some(first) = held.iter().min_by_key(|(_, known)| **known).map(|(account, _)| *account)
        {
            held.remove(&first);
        }
        held.insert(account, until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn hold_is_told_when_it_begins_and_again_when_another_begins() {
        let (log, now) = (HeldLog::default(), Instant::now());
        let session = Hash::unkeyed("one");
        let (one, other) = ((session, 1), (session, 2));

        assert!(log.begins(one, now, 30 * S), "the first refusal");
        assert!(!log.begins(one, now + S, 29 * S), "the same hold");
        assert!(log.begins(other, now + S, 29 * S), "another claim of the session");
        assert!(!log.begins(one, now + 20 * S, 60 * S), "the same hold, made longer");
        assert!(!log.begins(one, now + 79 * S, S), "it is not over");
        assert!(log.begins(one, now + 90 * S, 30 * S), "another hold");
    }

    #[test]
    fn sessions_without_end_are_remembered_within_bounds() {
        let (log, now) = (HeldLog::default(), Instant::now());

        let account = |name: &str| (Hash::unkeyed(name), 0);
        assert!(log.begins(account("owner"), now, 60 * S));
        for number in 0..5000 {
            assert!(log.begins(account(&number.to_string()), now, S));
        }

        assert!(!log.begins(account("owner"), now, 60 * S), "strangers do not make it be forgotten");
        assert_eq!(log.until.lock().expect("no panic").len(), MOST);
        assert!(log.begins(account("later"), now + 3 * S, S));
        assert_eq!(log.until.lock().expect("no panic").len(), 2);
    }

    #[test]
    fn only_what_holds_a_session_alone_is_a_hold() {
        assert!(
            held(&Refusal::CoolingDown { retry_after: S }).is_some()
                && held(&Refusal::Limited { retry_after: S }).is_some()
        );
        assert!(
            held(&Refusal::CircuitOpen { retry_after: S }).is_none()
                && held(&Refusal::Budget { retry_after: S }).is_none()
        );
    }
}
