//! Sessions whose rows are behind: this pod has newer tokens, and the store has not taken them so far. What such a row holds was rotated,
//! and is not presented by this pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::writing::Writing;

/// By session. What was written or given up is left out.
pub(super) struct Unwritten<S>(Mutex<HashMap<String, Vec<Weak<Writing<S>>>>>);

impl<S> Unwritten<S> {
    /// Notes it, unless another caller of its flight has done so. Answers whether it did.
    pub(super) fn note(&self, session: &str, writing: &Arc<Writing<S>>) -> bool {
        let mut sessions = self.sessions();
        sessions.retain(|_, noted| {
            noted.retain(|noted| noted.upgrade().is_some_and(|noted| noted.done().is_none()));
            !noted.is_empty()
        });
        let noted = sessions.entry(session.to_owned()).or_default();
        if noted.iter().filter_map(Weak::upgrade).any(|noted| noted.is_of_the_same_flight(writing)) {
            return false;
        }
        noted.push(Arc::downgrade(writing));
        true
    }

    /// What the row lacks, oldest first.
    pub(super) fn of(&self, session: &str) -> Vec<Arc<Writing<S>>> {
        let sessions = self.sessions();
        let noted = sessions.get(session).into_iter().flatten().filter_map(Weak::upgrade);
        noted.filter(|noted| noted.done().is_none()).collect()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Vec<Weak<Writing<S>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Default for Unwritten<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
