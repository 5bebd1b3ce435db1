//! Which sessions this pod has handed tokens out for lately, and when each is to be refreshed before its end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// So many sessions are kept fresh by a pod; those above are refreshed when somebody asks.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct UsedSessions(Mutex<HashMap<String, Session>>);

struct Session {
    due: SystemTime,
    /// Somebody asked since it was refreshed last.
    is_used: bool,
}

impl UsedSessions {
    /// Somebody was handed an access token, which is to be refreshed at `due`.
    pub(super) fn used(&self, session: &str, due: SystemTime) {
        let mut sessions = self.sessions();
        if let Some(known) = sessions.get_mut(session) {
            // What was put off stays so, though callers go on with the old token.
            *known = Session { due: known.due.max(due), is_used: true };
        } else if sessions.len() < MOST {
            sessions.insert(session.to_owned(), Session { due, is_used: true });
        }
    }

    /// The session was refreshed, or looked at. Nobody has used what it holds now.
    pub(super) fn looked_at(&self, session: &str, due: SystemTime) {
        if let Some(known) = self.sessions().get_mut(session) {
            known.due = known.due.max(due);
        }
    }

    /// It could not be refreshed yet, though it was used.
    pub(super) fn is_due_again(&self, session: &str, at: SystemTime) {
        if let Some(known) = self.sessions().get_mut(session) {
            *known = Session { due: at, is_used: true };
        }
    }

    /// The session has ended.
    pub(super) fn forget(&self, session: &str) {
        self.sessions().remove(session);
    }

    /// The sessions that are due. One that nobody has used since it was refreshed last is forgotten instead.
    pub(super) fn take_due(&self, now: SystemTime) -> Vec<String> {
        let mut due = Vec::new();
        self.sessions().retain(|session, known| {
            if known.due > now {
                return true;
            }
            if known.is_used {
                known.is_used = false;
                due.push(session.clone());
                return true;
            }
            false
        });
        due
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn session_is_due_once_and_forgotten_when_nobody_uses_it() {
        let (used, now, s) = (UsedSessions::default(), SystemTime::now(), Duration::from_secs(1));
        used.used("a", now + s);
        used.used("b", now + 3 * s);

        assert!(used.take_due(now).is_empty());
        assert_eq!(used.take_due(now + s), ["a"]);
        used.looked_at("a", now + 2 * s);
        assert!(used.take_due(now + 2 * s).is_empty(), "nobody has used it");
        used.looked_at("a", now);
        assert_eq!(used.take_due(now + 4 * s), ["b"]);
        used.used("b", now + 5 * s);
        assert_eq!(used.take_due(now + 5 * s), ["b"]);
    }
}
