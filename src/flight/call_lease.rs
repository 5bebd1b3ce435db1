//! The leader's lease as the call of a flight sees it: whether the token may still be sent.
//!
//! The leader's task renews the lease and says here what came of it; the call asks before it sends anything.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::outcome::ProviderFailure;
use crate::own_lease::{LeaseAge, OwnLease};
use crate::token_response::TokenResponse;

/// Here, because the flight and its call share this already.
#[derive(Debug, Default)]
pub(crate) struct CallLease {
    state: Mutex<State>,
    /// Told when a renewal was answered, and when the lead is over.
    answered: Notify,
    /// Told when the call waits for a renewal.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// None: this flight does not lead, or not any more.
    lease: Option<OwnLease>,
    /// How many renewals were asked for, and how many of them have an answer or will have none.
    asked: u64,
    answered: u64,
    /// The call was told not to send.
    has_refused: bool,
    /// Why the call gives its lead back, where it does.
    given_back: Option<&'static str>,
    unseen: Option<Box<Answer>>,
}

type Answer = Result<TokenResponse, ProviderFailure>;

impl CallLease {
    /// The flight leads from now on.
    pub(crate) fn begin(&self, lease: OwnLease) {
        *self.state() = State { lease: Some(lease), ..State::default() };
    }

    /// The leader asks for a renewal.
    pub(crate) fn renewal_asked(&self) {
        self.state().asked += 1;
    }

    /// The renewal was answered, or failed; `lease` is what is left. None where another flight leads.
    pub(crate) fn renewal_answered(&self, lease: Option<OwnLease>) {
        let mut state = self.state();
        state.answered = state.asked;
        if state.lease.is_some() {
            state.lease = lease;
        }
        drop(state);
        self.answered.notify_waiters();
    }

    /// The leader is done: nothing more is to be sent.
    pub(crate) fn end(&self) {
        self.state().lease = None;
        self.answered.notify_waiters();
    }

    /// How old the lease is. Over where the flight does not lead.
    pub(crate) fn age(&self) -> LeaseAge {
        let lease = self.state().lease;
        lease.map_or(LeaseAge::Over, |lease| lease.age())
    }

    /// Waits until the call waits for a renewal.
    pub(crate) async fn renewal_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether the token may be sent: at once where the lease stands, else as the next renewal says.
    ///
    /// # Errors
    ///
    /// Why it must not be.
    pub(crate) async fn may_send(&self) -> Result<(), &'static str> {
        let asked_before = self.state().asked;
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            // First registered, then looked: an answer that comes between the two would otherwise be missed.
            answered.as_mut().enable();
            let (lease, answers) = {
                let state = self.state();
                (state.lease, state.answered)
            };
            let Some(lease) = lease else { return Err(self.refuse("the lease was lost before anything was sent")) };
            if lease.age() != LeaseAge::Over {
                return Ok(());
            }
            // One that was asked for earlier says nothing of now.
            if answers > asked_before {
                return Err(self.refuse("the lease was over before anything was sent, and could not be renewed"));
            }
            self.wanted.notify_one();
            answered.await;
        }
    }

    /// Whether the call was told not to send: that it sent nothing then says nothing of the way to the provider.
    pub(crate) fn has_refused(&self) -> bool {
        self.state().has_refused
    }

    /// The call sends nothing, and leaves no outcome. Answers why, again.
    pub(crate) fn give_back(&self, why: &'static str) -> &'static str {
        self.state().given_back = Some(why);
        self.refuse(why)
    }

    /// Why the call gives its lead back, where it does.
    pub(crate) fn given_back(&self) -> Option<&'static str> {
        self.state().given_back
    }

    /// The call was over when its leader was dropped, which had not seen that yet.
    pub(crate) fn leave_unseen(&self, answer: Answer) {
        self.state().unseen = Some(Box::new(answer));
    }

    /// What the call has brought that its leader had not seen.
    pub(crate) fn take_unseen(&self) -> Option<Answer> {
        self.state().unseen.take().map(|answer| *answer)
    }

    fn refuse(&self, why: &'static str) -> &'static str {
        self.state().has_refused = true;
        why
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("BUG: nothing panics with this lock held")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::moment::{Moment, suspend};

    const S: Duration = Duration::from_secs(1);

    fn lease() -> OwnLease {
        OwnLease::new(Moment::now(), 10 * S)
    }

    /// A call that asks after a suspension, and has asked for a renewal.
    async fn suspended() -> (Arc<CallLease>, tokio::task::JoinHandle<Result<(), &'static str>>) {
        let call = Arc::<CallLease>::default();
        call.begin(lease());
        suspend(10 * S);
        let asking = Arc::clone(&call);
        let asked = tokio::spawn(async move { asking.may_send().await });
        call.renewal_wanted().await;
        assert!(!asked.is_finished());
        (call, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn token_is_sent_at_once_while_the_lease_stands() {
        let call = CallLease::default();
        call.begin(lease());
        tokio::time::advance(9 * S).await;

        assert_eq!(call.may_send().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_that_is_granted_lets_it_be_sent() {
        let (call, asked) = suspended().await;

        call.renewal_asked();
        call.renewal_answered(Some(lease()));

        assert_eq!(asked.await.expect("no panic"), Ok(()));
        assert!(!call.has_refused());
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_that_fails_or_is_refused_forbids_it() {
        for left in [Some(OwnLease::new(Moment::now(), Duration::ZERO)), None] {
            let (call, asked) = suspended().await;

            call.renewal_asked();
            call.renewal_answered(left);

            asked.await.expect("no panic").expect_err("others may lead");
            assert!(call.has_refused());
        }
    }

    /// It was granted, but for a time that is over.
    #[tokio::test(start_paused = true)]
    async fn renewal_from_before_the_suspension_decides_nothing() {
        let call = Arc::<CallLease>::default();
        let before = lease();
        call.begin(before);
        call.renewal_asked();
        suspend(10 * S);
        let asking = Arc::clone(&call);
        let asked = tokio::spawn(async move { asking.may_send().await });
        call.renewal_wanted().await;

        call.renewal_answered(Some(before));
        call.renewal_wanted().await;
        call.renewal_asked();
        call.renewal_answered(Some(lease()));

        assert_eq!(asked.await.expect("no panic"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_outlives_its_leader_is_told_so() {
        let (call, asked) = suspended().await;

        call.end();
        call.renewal_answered(Some(lease()));

        asked.await.expect("no panic").expect_err("nobody leads");
    }
}
