//! Refreshes before anybody has to wait: a task of each pod, for the sessions that the pod has handed tokens out for.
//!
//! Pods do not divide sessions among themselves: each looks only at those that it has served, reads one again when it is due, and
//! finds it fresh where another pod was earlier. Two that come at once share a flight, as any callers do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::debug;

use super::access::AccessTokens;
use super::error::TokenError;
use super::grant::Grant;
use super::settings::Urgency;
use super::store::TokenStore;
use super::used::{Taken, UsedSessions};
use crate::error::{RefreshError, Refusal};

/// How often a pod looks which sessions are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When it tries again what callers left no permit for.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// So many sessions a pod refreshes at once: the permits of the fleet are for callers that wait.
const AT_ONCE: usize = 2;

/// So many it takes at a look, those first that have been due for longest: which these are may be another matter when they are done.
const AT_A_LOOK: usize = 64;

impl<S: TokenStore> AccessTokens<S> {
    /// Refreshes sessions before their access tokens are about to end, so that callers need not wait for the provider. Call it
    /// last: it starts a task of this runtime, which ends when the coordinator is closed.
    ///
    /// * A session is refreshed once per life of its access token over all pods, ahead of callers by two thirds to the whole of
    ///   [`refresh_before`](Self::refresh_before). The spread keeps sessions from being due at the same moment.
    /// * A pod looks after the sessions that it has handed tokens out for, 100,000 at most, two at a time. One that nobody has
    ///   used since its last refresh is left alone.
    /// * It is a background refresh ([`Refresh::background`](crate::Refresh::background)): callers come first, and it is not counted
    ///   as an attempt of its session. Where callers leave it no permit, it is tried again every few seconds until a caller would
    ///   refresh the session anyway; what fails otherwise is left to a caller.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn keep_fresh(mut self) -> Self {
        let used = Arc::<UsedSessions>::default();
        self.used = Some(Arc::clone(&used));
        let (tokens, closing) = (self.clone(), self.coordinator.closing());
        tokio::spawn(async move { closing.run_until_cancelled(tokens.keep_all_fresh(&used)).await });
        self
    }

    async fn keep_all_fresh(&self, used: &Arc<UsedSessions>) {
        // One that takes long holds its place and nothing else up.
        let mut under_way = JoinSet::new();
        loop {
            let taken = used.take_due(self.settings.now(), AT_A_LOOK);
            let are_all = taken.len() < AT_A_LOOK;
            for session in taken {
                if under_way.len() >= AT_ONCE {
                    _ = under_way.join_next().await;
                }
                let tokens = self.clone();
                under_way.spawn(async move { tokens.keep_one_fresh(&session).await });
            }
            if are_all {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn keep_one_fresh(&self, taken: &Taken) {
        let session = taken.session.as_str();
        let held = match self.load(session).await {
            Ok(Some(held)) => held,
            Ok(None) => return taken.is_over(),
            // A caller will see to it.
            Err(error) => return debug!(%error, "a session could not be read to keep it fresh"),
        };
        let now = self.settings.now();
        let fresh_until = held.grant().map_or(now, |grant| self.fresh_until(session, grant));
        if fresh_until > now {
            // Another pod was earlier.
            return taken.looked_at(fresh_until);
        }
        let (ends, due_for_callers) =
            held.grant().map_or((now, now), |grant| (grant.expires_at, grant.expires_at - self.settings.before(grant)));
        match self.refreshed(session, held, Urgency::Background).await {
            Ok(token) => taken.looked_at(self.fresh_until(session, token.grant())),
            // Callers leave it no permit: nothing was sent.
            Err(TokenError::Refresh(RefreshError::Refused(Refusal::Budget { .. })))
                if self.settings.now() + AGAIN_AFTER < due_for_callers =>
            {
                taken.is_due_again(self.settings.now() + AGAIN_AFTER);
            }
            // A caller will see to it, and is charged for it: what fails is not tried again and again while nobody waits.
            Err(error) => {
                debug!(%error, "a session could not be kept fresh");
                taken.looked_at(ends);
            }
        }
    }

    /// Until when this pod leaves the session alone. Sessions differ, by their names, and claims of one session by theirs.
    pub(super) fn fresh_until(&self, session: &str, grant: &Grant) -> SystemTime {
        let before = self.settings.before(grant);
        // FNV-1a: any hash that is the same in all pods.
        let spread = session
            .bytes()
            .chain(self.claim.name().bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let earlier = before * 2 / 3 + before.mul_f64((spread % 1000) as f64 / 3000.0);
        grant.expires_at - (before + earlier).min(grant.lifetime / 2)
    }
}
