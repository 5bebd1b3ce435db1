//! The task that forgets what is over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::{MemoryPod, Namespace};
use crate::config::Config;

impl MemoryPod {
    /// Redis expires keys itself; here a task does, for as long as anybody holds the store.
    pub(super) fn start_cleanup(&self) {
        if !self.namespace.has_cleanup.swap(true, Ordering::Relaxed) {
            let cleanup = Cleanup(Arc::downgrade(&self.namespace));
            tokio::spawn(cleanup.run(Arc::clone(&self.config)));
        }
    }
}

/// Forgets what is over, for as long as anybody holds the store and the runtime it was started on lives.
struct Cleanup(Weak<Namespace>);

impl Cleanup {
    async fn run(self, config: Arc<Config>) {
        loop {
            tokio::time::sleep(config.cleanup_interval).await;
            let Some(namespace) = self.0.upgrade() else { return };
            let now = Instant::now();
            namespace.held.retain(|_, held| !held.is_over(now));
            namespace.ended.forget(now);
            namespace.flights.retain(|_, record| {
                record.forget_answer(now, config.wait_timeout);
                !record.is_over(now)
            });
            // One that is held here may be written into yet.
            namespace.families.retain(|_, family| {
                let is_held = Arc::strong_count(family) > 1;
                is_held || !family.lock().is_done_with(now)
            });
            namespace.gates.lock().expect("BUG: nothing panics with this lock held").clean_up(now, &config);
        }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(namespace) = self.0.upgrade() {
            // The next `begin` starts another, on a runtime that lives.
            namespace.has_cleanup.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::store::memory::MemoryStore;
    use crate::store::suite::chains::{held, to};
    use crate::store::suite::claims::turn::{claim, two_claims, waits};
    use crate::store::suite::stage::*;

    /// Requests in which nothing is twice the same, each answered in another way.
    #[tokio::test(start_paused = true)]
    async fn what_sixty_thousand_made_up_tokens_leave_in_memory_is_bounded_and_soon_gone() {
        const MADE_UP: usize = 60_000;
        let pod = MemoryStore::new().pod(Arc::new(Config::default()));
        let (namespace, pod) = (Arc::clone(&pod.namespace), Store::Memory(pod));
        fly(&pod, &anybody(), &success("somebody is known")).await;
        let ends = [denied("invalid_grant"), denied("invalid_client"), unknown(), limited(Some(10 * S)), busy(10 * S)];

        for number in 0..MADE_UP {
            let refresh = Refresh::new(format!("made-up-{number}")).session(format!("session-{}", number / 2));
            let refresh = refresh.client(format!("client-{number}"), format!("guess-{number}"));
            let refresh = refresh.parameters([(format!("name-{number}"), format!("value-{number}"))]);
            fly(&pod, &ask_as(refresh), &ends[number % ends.len()]).await;
        }
        let left = namespace.flights.len();
        tokio::time::sleep(Config::default().uncertain_memory + Duration::from_secs(15 * 60)).await;

        assert!(left <= MADE_UP + 1, "{left} flights");
        assert_eq!((namespace.flights.len(), namespace.held.len()), (0, 0));
        let gates = format!("{:?}", namespace.gates.lock().expect("nobody panicked"));
        assert!(gates.len() < 1000, "{gates:.2000}");
    }

    #[tokio::test]
    async fn made_up_scopes_that_are_denied_are_forgotten_at_the_next_cleanup() {
        let stage = Stage::in_memory(held());
        let Store::Memory(pod) = &stage.b else { panic!("in memory") };
        let namespace = &pod.namespace;

        for token in 0..20 {
            let token = format!("token-{token}");
            let first = claim(&stage, &token, "0");
            let lease = lead(&stage.a, &first).await;
            for scope in 1..64 {
                waits(&stage, &mut claim(&stage, &token, &scope.to_string())).await;
            }
            complete(&stage.a, &lease, &first, &denied("invalid_scope")).await;
        }
        assert_eq!(namespace.families.len(), 20);
        tokio::time::sleep(stage.config.wait_timeout + stage.config.cleanup_interval).await;

        let left = [namespace.flights.len(), namespace.held.len(), namespace.families.len()];
        assert_eq!(left, [0, 0, 0]);
    }

    #[tokio::test]
    async fn claims_that_come_with_a_made_up_token_are_soon_forgotten_and_those_with_a_real_one_are_not() {
        let stage = Stage::in_memory(held());
        let Store::Memory(pod) = &stage.b else { panic!("in memory") };
        let soon = stage.config.unproven_claim_is_known_for() + 2 * stage.config.cleanup_interval;
        let first = claim(&stage, "one", "a");
        let lease = lead(&stage.a, &first).await;
        waits(&stage, &mut claim(&stage, "one", "b")).await;
        complete(&stage.a, &lease, &first, &to("two")).await;
        let made_up = claim(&stage, "made up", "a");
        let lease = lead(&stage.a, &made_up).await;
        waits(&stage, &mut claim(&stage, "made up", "b")).await;
        stage.a.abandon(&lease, &made_up).await.expect("an answer");
        assert_eq!(pod.namespace.families.len(), 2);

        tokio::time::sleep(soon).await;

        assert_eq!(pod.namespace.families.len(), 1, "those of a real token are owed what follows");
    }

    #[tokio::test]
    async fn login_of_several_claims_leaves_no_token_in_clear_and_is_gone_when_nobody_is_owed_anything() {
        let stage = Stage::in_memory(held());
        let Store::Memory(pod) = &stage.b else { panic!("in memory") };
        let namespace = &pod.namespace;

        two_claims(&stage).await;
        tokio::time::sleep(stage.config.cleanup_interval + Duration::from_secs(5)).await;

        assert!(namespace.flights.len() >= 2 && namespace.families.len() == 1, "the claims are owed what follows");
        let in_clear = namespace.flights.iter().filter(|record| record.landed(Instant::now()).is_some()).count();
        assert_eq!(in_clear, 0);
        let known = stage.config.claim_is_known_for(Some(Duration::from_secs(3600)));
        tokio::time::sleep(known + 2 * stage.config.cleanup_interval).await;
        let left = [namespace.flights.len(), namespace.held.len(), namespace.families.len()];
        assert_eq!(left, [0, 0, 0]);
    }
}
