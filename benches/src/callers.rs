//! What callers of a pod do, for whatever counts its cost: they lead refreshes, and they join one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use refresh_coordinator::{Refresh, RefreshCoordinator, TokenResponse};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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

/// One pod leads so many refreshes, and for as many of them as `late` says somebody comes to another pod when they have landed.
pub async fn come_late(pod: &RefreshCoordinator, other: &RefreshCoordinator, led: u64, late: u64) {
    let first = NEXT.fetch_add(led, Ordering::Relaxed);
    for number in first..first + led {
        let tokens = answer();
        pod.refresh(Refresh::new(token("late", number)), async move |_| Ok(tokens)).await.expect("tokens");
    }
    for number in first..first + late {
        let refresh = Refresh::new(token("late", number));
        other.refresh(refresh, async |_| unreachable!("it has landed")).await.expect("tokens");
    }
}

/// A refresh that one pod leads and others wait for: the provider has not answered.
pub struct Held {
    callers: JoinSet<()>,
    answers: Arc<Semaphore>,
}

impl Held {
    /// A caller of one pod leads, then one of each other pod joins, one after the other.
    pub async fn begin(pod: &RefreshCoordinator, others: &[RefreshCoordinator]) -> Self {
        let token = token("held", NEXT.fetch_add(1, Ordering::Relaxed));
        let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let mut callers = JoinSet::new();
        let (leads, refresh, tokens) = (pod.clone(), Refresh::new(token.clone()), answer());
        let provider = (Arc::clone(&asked), Arc::clone(&answers));
        callers.spawn(async move {
            let call = async move |_| {
                let (asked, answers) = provider;
                asked.add_permits(1);
                answers.acquire().await.expect("not closed").forget();
                Ok(tokens)
            };
            leads.refresh(refresh, call).await.expect("tokens");
        });
        asked.acquire().await.expect("not closed").forget();
        for other in others {
            let joined = other.metrics().joined_fleet;
            let (joins, refresh) = (other.clone(), Refresh::new(token.clone()));
            callers.spawn(async move {
                joins.refresh(refresh, async |_| unreachable!("another pod leads")).await.expect("tokens");
            });
            while other.metrics().joined_fleet == joined {
                tokio::task::yield_now().await;
            }
        }
        Self { callers, answers }
    }

    /// The provider answers, and all callers have it.
    pub async fn end(mut self) {
        self.answers.add_permits(1);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no panic");
        }
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
