//! Sessions whose rows are behind: this pod has newer tokens, and the store has not taken them so far. What such a row holds was rotated,
//! and is not presented by this pod.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::access_token::AccessToken;
use super::claim::Claim;
use super::held::Held;

type Tried<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Tokens that a row lacks.
pub(super) trait Pending: Send + Sync {
    /// Whether they are written, or not worth it any more.
    fn is_done(&self) -> bool;

    /// The fence of what brought them, and whose access token is among them.
    fn brought_by(&self) -> (Option<u64>, &Claim);

    /// Whether they are of the login that the row holds now: another user may have logged in meanwhile under the same session.
    fn is_of_login_of(&self, held: &Held) -> bool;

    /// Whether this refresh token was rotated by what brought them.
    fn has_rotated(&self, token: &str) -> bool;

    /// The access token of this claim among them.
    fn access_token(&self, claim: &Claim) -> Option<AccessToken>;

    /// Tries to write them. Answers whether nothing is left to do.
    fn try_again(&self) -> Tried<'_>;
}

/// By session. What was written or given up is left out.
#[derive(Default)]
pub(super) struct Unwritten(Mutex<HashMap<String, Vec<Weak<dyn Pending>>>>);

impl Unwritten {
    /// Notes them, unless another caller of their flight has done so. Answers whether it did.
    pub(super) fn note(&self, session: &str, new: &Arc<dyn Pending>) -> bool {
        let mut sessions = self.sessions();
        sessions.retain(|_, noted| {
            noted.retain(|noted| noted.upgrade().is_some_and(|noted| !noted.is_done()));
            !noted.is_empty()
        });
        let noted = sessions.entry(session.to_owned()).or_default();
        if noted.iter().filter_map(Weak::upgrade).any(|noted| noted.brought_by() == new.brought_by()) {
            return false;
        }
        noted.push(Arc::downgrade(new));
        true
    }

    /// What the row lacks, oldest first.
    pub(super) fn of(&self, session: &str) -> Vec<Arc<dyn Pending>> {
        let sessions = self.sessions();
        let noted = sessions.get(session).into_iter().flatten().filter_map(Weak::upgrade);
        noted.filter(|noted| !noted.is_done()).collect()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Vec<Weak<dyn Pending>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
