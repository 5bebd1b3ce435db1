//! A session store of an application's own that goes by the rule of older releases: when the login's own access token ends.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use refresh_coordinator::tokens::{SessionTokens, Swap, TokenStore};
use refresh_coordinator::{RefreshCoordinator, Secret};

use crate::provider::{Provider, Tokens};
use crate::{Clock, claims, config, login, of, row, token};

#[derive(Clone, Default)]
struct Older(Arc<Mutex<HashMap<String, SessionTokens>>>);

impl TokenStore for Older {
    type Error = Infallible;

    async fn load(&self, session: &str) -> Result<Option<SessionTokens>, Infallible> {
        Ok(self.0.lock().expect("no panics").get(session).cloned())
    }

    async fn swap(&self, session: &str, walked: &[Secret], new: &SessionTokens) -> Result<Swap, Infallible> {
        let mut sessions = self.0.lock().expect("no panics");
        let Some(held) = sessions.get_mut(session) else { return Ok(Swap::Gone) };
        let is_walked = walked.iter().any(|token| token.expose() == held.refresh_token().expose());
        let is_other = held.refresh_token().expose() != new.refresh_token().expose();
        if is_walked && (is_other || held.expires_at_ms() < new.expires_at_ms()) {
            *held = new.clone();
            return Ok(Swap::Written);
        }
        Ok(Swap::Newer(held.clone()))
    }

    async fn end(&self, session: &str, _refused: &[Secret]) -> Result<Swap, Infallible> {
        let ended = self.0.lock().expect("no panics").remove(session);
        Ok(if ended.is_some() { Swap::Written } else { Swap::Gone })
    }
}

#[tokio::test(start_paused = true)]
async fn store_that_compares_ends_of_access_tokens_keeps_claims_of_rotated_tokens_and_serves_others() {
    for (tokens, held) in [(Tokens::SingleUse, vec!["billing", "mail"]), (Tokens::Kept, vec![])] {
        let (store, provider, clock) = (Older::default(), Provider::of(tokens), Clock::stands());
        let pod = RefreshCoordinator::in_memory(config()).expect("possible settings");
        let own = clock.of(provider.access(&pod, store.clone()));
        store.0.lock().expect("no panics").insert("s".to_owned(), login("f.1", clock.now()));

        assert_eq!(token(&of(&own, "billing"), "s").await, "billing of f.2");
        assert_eq!(token(&of(&own, "mail"), "s").await, "mail of f.3");
        assert!(token(&of(&own, "billing"), "s").await.starts_with("billing of "));
        assert_eq!(token(&own, "s").await, "login");

        assert_eq!(claims(&row(&store, "s").await), held, "{tokens:?}");
    }
}
