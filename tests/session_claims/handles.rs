//! What a handle of a claim does by itself.

use std::time::Duration;

use refresh_coordinator::tokens::MemoryTokens;
use refresh_coordinator::{OtherClaims, RefreshCoordinator, Verdict};
use tokio::time::Instant;

use crate::provider::{Provider, Tokens};
use crate::support::wait::until;
use crate::{Clock, claims, config, login, of, row, token};

#[tokio::test]
async fn audience_that_is_refused_ends_no_session() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse), Clock::stands());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = clock.of(provider.access(&pod, store.clone()));
    store.put("s", login("f.1", clock.now()));

    let told = of(&own, "forbidden").token("s").await.expect_err("refused");

    assert_eq!(told.verdict(), Verdict::Misconfigured { error: "invalid_target".to_owned() });
    assert_eq!(token(&of(&own, "billing"), "s").await, "billing of f.2");
    assert_eq!(claims(&row(&store, "s").await), ["billing"]);
}

#[tokio::test]
async fn claim_that_is_due_goes_on_from_the_token_that_another_one_was_given_meanwhile() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse), Clock::stands());
    let config = config().with_other_claims(OtherClaims::Refuse);
    let pod = RefreshCoordinator::in_memory(config).expect("possible settings");
    let own = clock.of(provider.access(&pod, store.clone())).patience(Duration::from_secs(60));
    let (billing, mail) = (of(&own, "billing"), of(&own, "mail"));
    store.put("s", login("f.1", clock.now()));
    assert_eq!(token(&mail, "s").await, "mail of f.2");
    clock.goes_on(290);
    provider.hold();
    let asks = |handle| tokio::spawn(async move { token(&handle, "s").await });
    let first = asks(billing);
    provider.asked(2).await;
    let second = asks(mail);
    until("it waits for the other claim", async || pod.metrics().joined_fleet == 1).await;

    provider.release();

    assert_eq!(
        (first.await.expect("no panics").as_str(), second.await.expect("no panics").as_str()),
        ("billing of f.3", "mail of f.4")
    );
    assert_eq!(provider.twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn each_handle_keeps_its_own_sessions_fresh_and_no_caller_waits() {
    let (store, provider) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse));
    let (wall, started) = (std::time::SystemTime::now(), Instant::now());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = provider.access(&pod, store.clone()).clock(move || wall + started.elapsed());
    let (billing, mail) = (of(&own, "billing").keep_fresh(), of(&own, "mail").keep_fresh());
    let own = own.keep_fresh();
    store.put("s", login("f.1", wall));
    for handle in [&billing, &mail] {
        token(handle, "s").await;
    }

    let began = provider.presentations();
    for _ in 0..30 {
        for handle in [&own, &billing, &mail] {
            let asked = Instant::now();
            token(handle, "s").await;
            assert_eq!(asked.elapsed(), Duration::ZERO, "it waited");
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
    }

    // A token of 300 s is refreshed when 50 s to 60 s are left: four times within these 1,200 s.
    assert_eq!((provider.presentations() - began, provider.twice().len()), (3 * 4, 0));
    assert_eq!(claims(&row(&store, "s").await), ["billing", "mail"]);
}

#[tokio::test]
async fn name_that_no_row_could_hold_is_refused() {
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = Provider::of(Tokens::Kept).access(&pod, MemoryTokens::new());

    for name in [String::new(), "n".repeat(65), "two\nlines".to_owned()] {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| of(&own, &name)));
        let told = made.map(drop).expect_err("refused");
        let told = told.downcast_ref::<String>().expect("a reason");
        assert!(told.starts_with("the name of a claim has 1 to 64 bytes and no control characters"), "{told}");
    }
    drop(of(&own, &"n".repeat(64)));
}
