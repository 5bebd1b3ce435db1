//! A claim whose answer was lost on the way comes again, and presents the token in that: claims that come meanwhile go on from there.

use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator, RefreshError, Refreshed};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::on_both_stores;
use crate::provider::Provider;
use crate::support;
use crate::support::fleet::quick;
use crate::support::wait::until;

const S: Duration = Duration::from_secs(1);

/// Who waits for a lease waits long.
fn slow() -> Config {
    let quick = quick().with_keep_outcome(Duration::ZERO).with_refresh_timeout(60 * S).with_wait_timeout(60 * S);
    quick.with_lease(40 * S).with_store_timeout(40 * S)
}

fn asks(caller: &Caller, pod: &RefreshCoordinator) -> JoinHandle<Result<Refreshed, RefreshError>> {
    let (caller, pod) = (caller.clone(), pod.clone());
    tokio::spawn(async move { caller.asks(&pod).await })
}

on_both_stores! {
    async fn claims_that_wait_for_a_walker_are_called_when_it_lands_and_all_go_on_by_turns(fleet: [3], slow()) {
        // Its access tokens are over at once.
        let provider = Provider::new(Duration::ZERO, Duration::ZERO);
        let mut callers = Caller::three(&provider, "f.1");
        callers[0].asks(&fleet.pods[0]).await.expect("an answer, which is lost");
        provider.hold();
        let walks = asks(&callers[0], &fleet.pods[0]);
        provider.asked(2).await;
        let waiting = [1, 2].map(|number| asks(&callers[number], &fleet.pods[number]));
        for pod in &fleet.pods[1..] {
            until("it waits", async || pod.metrics().joined_fleet == 1).await;
        }

        let since = Instant::now();
        provider.release();
        callers[0].keeps(&walks.await.expect("no panic"));
        callers[0].goes_on(&fleet.pods[0]).await;
        for (caller, waits) in callers[1..].iter_mut().zip(waiting) {
            caller.keeps(&waits.await.expect("no panic"));
        }

        assert!(since.elapsed() < 20 * S, "{:?}", since.elapsed());
        for round in 0..6 {
            callers[round % 3].goes_on(&fleet.pods[round % 2]).await;
        }
        assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    }
}
