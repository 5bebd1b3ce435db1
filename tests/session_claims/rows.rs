//! What stands in a session's row, and what another release or another login makes of it.

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator::tokens::{MemoryTokens, SessionTokens};

use crate::provider::{Provider, Tokens};
use crate::{Clock, claims, config, login, of, row, token};

#[tokio::test(start_paused = true)]
async fn access_token_of_a_claim_is_kept_while_others_are_refreshed_and_left_out_when_it_is_over() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse), Clock::stands());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = clock.of(provider.access(&pod, store.clone()));
    let (billing, mail) = (of(&own, "billing"), of(&own, "mail"));
    provider.lives("billing", 1000);
    store.put("s", login("f.1", clock.now()));

    assert_eq!(token(&billing, "s").await, "billing of f.2");
    clock.goes_on(290);
    assert_eq!(token(&own, "s").await, "login of f.3");
    assert_eq!(token(&mail, "s").await, "mail of f.4");
    assert_eq!(token(&billing, "s").await, "billing of f.2");
    clock.goes_on(290);
    assert_eq!(token(&own, "s").await, "login of f.5");
    assert_eq!(claims(&row(&store, "s").await), ["billing", "mail"], "both live");
    clock.goes_on(290);
    assert_eq!(token(&own, "s").await, "login of f.6");

    assert_eq!(claims(&row(&store, "s").await), ["billing"]);
    assert_eq!((token(&billing, "s").await.as_str(), provider.presentations()), ("billing of f.2", 5));
    assert_eq!(provider.twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn session_that_an_older_release_wrote_is_read_and_given_claims() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse), Clock::stands());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = clock.of(provider.access(&pod, store.clone()));
    let older = r#"{"access_token":"old","refresh_token":"f.1","expires_at_ms":1,"lifetime_ms":300000,"fence":3}"#;
    store.put("s", SessionTokens::from_text(older).expect("it is read"));

    assert_eq!(token(&of(&own, "billing"), "s").await, "billing of f.2");
    assert_eq!(token(&own, "s").await, "login of f.3");

    assert_eq!((claims(&row(&store, "s").await), provider.presentations()), (vec!["billing"], 2));
}

#[tokio::test(start_paused = true)]
async fn login_of_another_user_meanwhile_is_given_nothing_of_the_one_before() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::SingleUse), Clock::stands());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let billing = of(&clock.of(provider.access(&pod, store.clone())), "billing");
    store.put("s", login("f.1", clock.now()));
    provider.hold();
    let asked = tokio::spawn({
        let billing = billing.clone();
        async move { token(&billing, "s").await }
    });
    provider.asked(1).await;

    store.put("s", login("g.1", clock.now()));
    provider.release();

    assert_eq!(asked.await.expect("no panics"), "billing of g.2");
    let held = row(&store, "s").await;
    assert_eq!((claims(&held), held.refresh_token().expose()), (vec!["billing"], "g.2"));
}
