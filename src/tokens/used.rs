//! Which sessions this pod has handed tokens out for lately, and when each is to be refreshed before its end.

use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// So many sessions are kept fresh by a pod; those above are refreshed when somebody asks.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct UsedSessions(Mutex<HashMap<String, Session>>);

struct Session {
    due: SystemTime,
    /// Somebody asked since it was refreshed last.
    is_used: bool,
    /// It is being refreshed.
    is_taken: bool,
}

/// A session that is being refreshed, until this is dropped. It is not due again meanwhile, however long that takes.
pub(super) struct Taken {
    used: Arc<UsedSessions>,
    pub(super) session: String,
}

impl UsedSessions {
    /// Somebody was handed an access token, which is to be refreshed at `due`.
    pub(super) fn used(&self, session: &str, due: SystemTime) {
        let mut sessions = self.sessions();
        if let Some(known) = sessions.get_mut(session) {
            // What was put off stays so, though callers go on with the old token.
            (known.due, known.is_used) = (known.due.max(due), true);
        } else if sessions.len() < MOST {
            sessions.insert(session.to_owned(), Session { due, is_used: true, is_taken: false });
        }
    }

    /// The session has ended.
    pub(super) fn forget(&self, session: &str) {
        self.sessions().remove(session);
    }

    /// The sessions that are due, `most` of them at most: those that have been for longest. One that nobody has used since it was
    /// refreshed last is forgotten instead.
    pub(super) fn take_due(self: &Arc<Self>, now: SystemTime, most: usize) -> Vec<Taken> {
        let mut sessions = self.sessions();
        sessions.retain(|_, known| known.due > now || known.is_used || known.is_taken);
        // The latest of those that were picked is on top, and makes way for an earlier one.
        let mut first = BinaryHeap::with_capacity(most + 1);
        for (session, known) in &*sessions {
            if known.due <= now && !known.is_taken {
                first.push((known.due, session));
                if first.len() > most {
                    first.pop();
                }
            }
        }
        let first: Vec<String> = first.into_sorted_vec().into_iter().map(|(_, session)| session.clone()).collect();
        for session in &first {
            if let Some(known) = sessions.get_mut(session) {
                (known.is_used, known.is_taken) = (false, true);
            }
        }
        first.into_iter().map(|session| Taken { used: Arc::clone(self), session }).collect()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// It was refreshed, or looked at. Nobody has used what it holds now.
    pub(super) fn looked_at(&self, due: SystemTime) {
        if let Some(known) = self.used.sessions().get_mut(&self.session) {
            known.due = known.due.max(due);
        }
    }

    /// It could not be refreshed yet, though it was used.
    pub(super) fn is_due_again(&self, at: SystemTime) {
        if let Some(known) = self.used.sessions().get_mut(&self.session) {
            (known.due, known.is_used) = (at, true);
        }
    }

    /// It has ended.
    pub(super) fn is_over(&self) {
        self.used.forget(&self.session);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(known) = self.used.sessions().get_mut(&self.session) {
            known.is_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn names(taken: &[Taken]) -> Vec<&str> {
        taken.iter().map(|taken| taken.session.as_str()).collect()
    }

    #[test]
    fn session_is_due_once_and_forgotten_when_nobody_uses_it() {
        let (used, now) = (Arc::<UsedSessions>::default(), SystemTime::now());
        used.used("a", now + S);
        used.used("b", now + 3 * S);

        assert!(used.take_due(now, 9).is_empty());
        let taken = used.take_due(now + S, 9);
        assert_eq!(names(&taken), ["a"]);
        taken[0].looked_at(now + 2 * S);
        drop(taken);
        assert!(used.take_due(now + 2 * S, 9).is_empty(), "nobody has used it");
        assert_eq!(names(&used.take_due(now + 4 * S, 9)), ["b"]);
        used.used("b", now + 5 * S);
        assert_eq!(names(&used.take_due(now + 5 * S, 9)), ["b"]);
    }

    #[test]
    fn session_that_is_being_refreshed_is_neither_due_again_nor_forgotten() {
        let (used, now) = (Arc::<UsedSessions>::default(), SystemTime::now());
        used.used("a", now);
        let taken = used.take_due(now, 9);

        assert!(used.take_due(now + 9 * S, 9).is_empty());
        taken[0].is_due_again(now + 10 * S);
        assert!(used.take_due(now + 10 * S, 9).is_empty());
        drop(taken);
        let taken = used.take_due(now + 10 * S, 9);
        assert_eq!(names(&taken), ["a"]);
        taken[0].is_over();
        drop(taken);
        assert!(used.take_due(now + 10 * S, 9).is_empty());
    }

    #[test]
    fn those_that_have_been_due_for_longest_are_taken_first() {
        let (used, now) = (Arc::<UsedSessions>::default(), SystemTime::now());
        for number in [7, 2, 9, 4, 0, 3, 8, 1, 6, 5] {
            used.used(&number.to_string(), now + number * S);
        }
        let taken = used.take_due(now + 8 * S, 3);
        assert_eq!(names(&taken), ["0", "1", "2"]);
        assert_eq!(names(&used.take_due(now + 8 * S, 9)), ["3", "4", "5", "6", "7", "8"]);
    }
}
