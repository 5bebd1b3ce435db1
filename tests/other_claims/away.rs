//! A claim that was away is served when it comes back: what is kept for it outlives its access token by `keep_until_used`.

use std::time::Duration;

use refresh_coordinator::Config;

use crate::caller::Caller;
use crate::provider::Provider;
use crate::support::fleet::{Fleet, quick};

const S: Duration = Duration::from_secs(1);

/// The life of an access token, longer than the hour that one counts for whose life is not known, and `keep_until_used` beyond.
const LIFE: Duration = Duration::from_secs(5400);
const KEPT: Duration = Duration::from_secs(3600);

/// How often the other claim refreshes meanwhile.
const MEANWHILE: usize = 20;

fn config(kept: Duration) -> Config {
    quick().with_keep_outcome(Duration::ZERO).with_keep_until_used(kept)
}

/// One claim goes on once, the other `MEANWHILE` times; each keeps its own token.
async fn one_rests(fleet: &Fleet, provider: &Provider) -> [Caller; 2] {
    let mut callers = ["rests", "goes-on"].map(|scope| Caller::new(provider, scope, "f.1"));
    let [rests, goes_on] = &mut callers;
    rests.goes_on(&fleet.pods[0]).await;
    for round in 0..MEANWHILE {
        goes_on.goes_on(&fleet.pods[round % 2]).await;
    }
    callers
}

#[tokio::test(start_paused = true)]
async fn claim_is_served_that_was_away_until_shortly_before_the_end_of_what_is_kept_for_it() {
    let provider = Provider::new(LIFE, Duration::ZERO);
    let fleet = Fleet::in_memory(2, &config(KEPT));
    let [mut rests, mut goes_on] = one_rests(&fleet, &provider).await;

    tokio::time::sleep(LIFE + KEPT - 10 * S).await;
    rests.goes_on(&fleet.pods[1]).await;
    goes_on.goes_on(&fleet.pods[0]).await;

    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    assert_eq!(provider.presented().len(), MEANWHILE + 3);
}

/// Longer than its access token lives, and than `keep_until_used`, but not than both together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_that_was_away_for_longer_than_its_access_token_lives_is_served_over_redis() {
    let provider = Provider::new(2 * S, Duration::ZERO);
    let fleet = Fleet::on_redis(2, &config(3 * S)).await;
    let [mut rests, mut goes_on] = one_rests(&fleet, &provider).await;

    fleet.redis().wait(3 * S + S / 2).await;
    rests.goes_on(&fleet.pods[1]).await;
    goes_on.goes_on(&fleet.pods[0]).await;

    assert_eq!((provider.twice(), provider.lost()), (vec![], vec![]));
    assert_eq!(provider.presented().len(), MEANWHILE + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_a_claim_outlives_its_access_token_and_ends() {
    let provider = Provider::new(LIFE, Duration::ZERO);
    let config = config(KEPT);
    let fleet = Fleet::on_redis(2, &config).await;
    one_rests(&fleet, &provider).await;

    let of_login = fleet.redis().keys(&format!("rc:{{{}}}:family:*", config.namespace)).await;
    assert_eq!(of_login.len(), 1, "{of_login:?}");
    let life = async |key: &str| {
        let left = fleet.redis().cli(&["PTTL", key]).await.parse::<i64>().expect("a number");
        Duration::from_millis(u64::try_from(left).unwrap_or_else(|_| panic!("{key} has no end, or is none: {left}")))
    };
    // The token that the resting claim keeps, the one that the other was given last, and that which it came with.
    let mut kept = of_login;
    for token in ["f.2", &format!("f.{}", MEANWHILE + 1), &format!("f.{}", MEANWHILE + 2)] {
        kept.push(format!("rc:{{{}}}:flight:{}", config.namespace, sha256(token)));
    }
    for key in &kept {
        let left = life(key).await;
        // A minute for a test on a busy machine.
        assert!(left > LIFE + KEPT - 60 * S, "{key} lives {left:?} only");
        assert!(left <= LIFE + KEPT + 60 * S, "{key} lives {left:?}");
    }
}

pub(crate) fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
