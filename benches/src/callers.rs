//! What callers of a pod do, for whatever counts its cost: they lead refreshes, and they join one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use refresh_coordinator::{Refresh, RefreshCoordinator, TokenResponse};
use tokio::sync::Semaphore;

use crate::pods::{answer, token};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Refreshes that nobody else asks for, and what the provider answers: made before anything is counted.
pub fn refreshes(flights: usize) -> Vec<(Refresh, TokenResponse)> {
    (0..flights).map(|_| (Refresh::new(token("led", NEXT.fetch_add(1, Ordering::Relaxed))), answer())).collect()
}

/// One caller leads these refreshes, one after the other.
pub async fn lead(pod: &RefreshCoordinator, refreshes: Vec<(Refresh, TokenResponse)>) {
    for (refresh, tokens) in refreshes {
        pod.refresh(refresh, async move |_| Ok(tokens)).await.expect("tokens");
    }
}

/// So many callers ask for one token at once: the first one leads, all others join it. The provider answers when all
/// of them wait, and after `all_wait` was called.
pub async fn join(pod: &RefreshCoordinator, callers: usize, all_wait: impl FnOnce()) {
    let token = token("joined", NEXT.fetch_add(1, Ordering::Relaxed));
    let gate = Arc::new(Semaphore::new(0));
    let back = Arc::new(AtomicU64::new(0));
    let tokens = Arc::new(answer());
    let before = pod.metrics().callers;
    for _ in 0..callers {
        let (pod, token, gate, tokens, back) =
            (pod.clone(), token.clone(), Arc::clone(&gate), Arc::clone(&tokens), Arc::clone(&back));
        // Gives back what it holds when it is done, as a request does.
        tokio::spawn(async move {
            let call = async move |_| {
                gate.acquire().await.expect("not closed").forget();
                Ok(Arc::unwrap_or_clone(tokens))
            };
            pod.refresh(Refresh::new(token), call).await.expect("tokens");
            back.fetch_add(1, Ordering::Relaxed);
        });
    }
    while pod.metrics().callers < before + callers as u64 {
        tokio::task::yield_now().await;
    }
    all_wait();
    gate.add_permits(1);
    while back.load(Ordering::Relaxed) < callers as u64 {
        tokio::task::yield_now().await;
    }
}
