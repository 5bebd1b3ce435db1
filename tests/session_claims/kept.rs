//! A provider that keeps its refresh token: several access tokens for one, and no rotation tells which is newer.

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator::tokens::MemoryTokens;

use crate::provider::{Provider, Tokens};
use crate::support::session_stores::StaleOnce;
use crate::{Clock, claims, config, login, of, row, token};

#[tokio::test(start_paused = true)]
async fn claims_of_a_token_that_is_kept_take_turns_and_lose_nothing_of_each_other() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::Kept), Clock::stands());
    let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
    let own = clock.of(provider.access(&pod, store.clone()));
    let (billing, mail) = (of(&own, "billing"), of(&own, "mail"));
    // Both end before the login's own.
    provider.lives("billing", 100);
    provider.lives("mail", 200);
    store.put("s", login("f.1", clock.now()));

    assert_eq!(token(&billing, "s").await, "billing of f.2");
    assert_eq!(token(&mail, "s").await, "mail of f.3");
    assert_eq!(token(&billing, "s").await, "billing of f.2", "it is held");
    assert_eq!((token(&own, "s").await.as_str(), provider.presentations()), ("login", 2));

    clock.goes_on(95);
    assert_eq!(token(&billing, "s").await, "billing of f.4", "it is not handed the one that it has");
    assert_eq!(token(&mail, "s").await, "mail of f.3", "kept while billing was refreshed");
    clock.goes_on(95);
    assert_eq!(token(&mail, "s").await, "mail of f.5");
    assert_eq!(token(&billing, "s").await, "billing of f.6");
    clock.goes_on(90);
    assert_eq!(token(&own, "s").await, "login of f.7");
    assert_eq!(token(&mail, "s").await, "mail of f.5");

    let held = row(&store, "s").await;
    assert_eq!((claims(&held), held.refresh_token().expose()), (vec!["billing", "mail"], "f.1"));
    assert_eq!((held.access_token().expose(), provider.presentations()), ("login of f.7", 6));
}

#[tokio::test(start_paused = true)]
async fn claims_of_a_token_that_is_kept_lose_nothing_when_all_come_at_once_for_twenty_rounds() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::Kept), Clock::stands());
    let shared = refresh_coordinator::MemoryStore::new();
    let config = config();
    let pods = [(); 3].map(|()| {
        let pod = RefreshCoordinator::in_memory_shared(&shared, config.clone()).expect("possible settings");
        clock.of(provider.access(&pod, store.clone()))
    });
    store.put("s", login("f.1", clock.now()));
    let audiences = ["billing", "files", "mail"];

    for round in 1..=20 {
        clock.goes_on(400);
        let asked = audiences.iter().flat_map(|audience| pods.iter().map(move |pod| (*audience, of(pod, audience))));
        let asked = asked.map(|(audience, handle)| {
            tokio::spawn(async move { assert!(token(&handle, "s").await.starts_with(&format!("{audience} of "))) })
        });
        for asked in asked.collect::<Vec<_>>() {
            asked.await.expect("its own audience");
        }
        assert_eq!((claims(&row(&store, "s").await), provider.presentations()), (audiences.to_vec(), 3 * round));
    }
}

#[tokio::test(start_paused = true)]
async fn coordinator_that_has_forgotten_asks_for_nothing_that_the_session_holds() {
    let (store, provider, clock) = (MemoryTokens::new(), Provider::of(Tokens::Kept), Clock::stands());
    let pod = || RefreshCoordinator::in_memory(config()).expect("possible settings");
    store.put("s", login("f.1", clock.now()));
    let stale = row(&store, "s").await;
    assert_eq!(token(&of(&clock.of(provider.access(&pod(), store.clone())), "billing"), "s").await, "billing of f.2");

    // A tab that read the session before that, at a pod that knows of nothing.
    let late = clock.of(provider.access(&pod(), StaleOnce::new(stale, store.clone())));

    assert_eq!(token(&of(&late, "billing"), "s").await, "billing of f.2");
    assert_eq!(provider.presentations(), 1);
}
