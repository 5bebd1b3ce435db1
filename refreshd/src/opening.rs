//! Takes providers from their settings to the point where callers can be served: all of them, or none.

use std::sync::Arc;

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_cli::BadSetting;
use tokio::task::JoinSet;

use crate::coordination::{Coordination, close};
use crate::provider::{Begins, Planned, Provider};
use crate::recorder;
use crate::signatures::KeySource;

/// A provider that can be reached, and a coordinator for it.
pub(crate) struct Opened {
    planned: Planned,
    coordinator: RefreshCoordinator,
    client_keys: Option<KeySource>,
}

impl Opened {
    /// Serves it from now on.
    pub(crate) fn serve(self) -> Arc<Provider> {
        Provider::new(self.planned, self.coordinator, self.client_keys)
    }

    pub(crate) fn coordinator(&self) -> RefreshCoordinator {
        self.coordinator.clone()
    }
}

/// Looks whether the providers are there, and opens their coordinators, but for those that have one already.
///
/// # Errors
///
/// The first provider that cannot be served, with the reason. What was opened for the others is closed.
pub(crate) async fn open(
    planned: Vec<(Planned, Option<RefreshCoordinator>)>,
    coordination: &Arc<Coordination>,
    begins: Begins,
) -> Result<Vec<Opened>, BadSetting> {
    let mut reaching = JoinSet::new();
    for (planned, coordinator) in planned {
        reaching.spawn(async move {
            let reached =
                recorder::awaited_of_provider(planned.configured.name(), Box::pin(planned.reach(begins))).await;
            reached.map(|client_keys| (planned, coordinator, client_keys))
        });
    }
    let mut reached = Vec::new();
    while let Some(one) = reaching.join_next().await {
        reached.push(one.expect("BUG: nothing panics there")?);
    }

    let mut opening = JoinSet::new();
    for (planned, coordinator, client_keys) in reached {
        let coordination = Arc::clone(coordination);
        opening.spawn(async move {
            let is_new = coordinator.is_none();
            let coordinator = match coordinator {
                Some(coordinator) => coordinator,
                None => {
                    let opening = coordination.open(planned.config.clone());
                    match recorder::awaited_of_provider(planned.configured.name(), opening).await {
                        Ok(coordinator) => coordinator,
                        Err(wrong) => return Err(planned.configured.explain(wrong)),
                    }
                }
            };
            Ok((Opened { planned, coordinator, client_keys }, is_new))
        });
    }
    let (mut opened, mut first_wrong) = (Vec::new(), None);
    while let Some(one) = opening.join_next().await {
        match one.expect("BUG: nothing panics there") {
            Ok(one) => opened.push(one),
            Err(wrong) => first_wrong = first_wrong.or(Some(wrong)),
        }
    }
    if let Some(wrong) = first_wrong {
        let new = opened.iter().filter(|(_, is_new)| *is_new);
        close(new.map(|(opened, _)| opened.coordinator()), std::time::Duration::ZERO).await;
        return Err(wrong);
    }
    Ok(opened.into_iter().map(|(opened, _)| opened).collect())
}
