//! All providers of a process: which one a request is for, and whether they are ready.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use refresh_coordinator_cli::BadSetting;
use tokio::task::JoinSet;

use crate::place::host_of;
use crate::provider::{Planned, Provider};

/// Those that are served at a moment.
#[derive(Debug)]
pub(crate) struct Providers {
    /// The first one that a request fits is meant.
    all: Vec<Arc<Provider>>,
    /// Whether the host of a request counts.
    has_hosts: bool,
}

/// More names say no more.
const NAMED: usize = 16;

impl Providers {
    pub(crate) fn new(mut all: Vec<Arc<Provider>>) -> Self {
        all.sort_by_key(|provider| std::cmp::Reverse(provider.place.precision()));
        let has_hosts = all.iter().any(|provider| provider.place.has_host());
        Self { all, has_hosts }
    }

    /// No two providers may want the same requests, or the same namespace.
    pub(crate) fn can_be_together(planned: &[Planned]) -> Result<(), BadSetting> {
        let name = |planned: &Planned| planned.configured.name().unwrap_or_default().to_owned();
        let (mut places, mut namespaces) = (HashMap::new(), HashMap::new());
        for one in planned {
            if let Some(other) = places.insert(one.place.shown(""), one) {
                return Err(one.configured.explain(BadSetting::new(format!(
                    "it is served at {} as {} is: give one of them another --path or --host",
                    one.place.shown("/token"),
                    name(other)
                ))));
            }
            if let Some(other) = namespaces.insert(&one.config.namespace, one) {
                return Err(one.configured.explain(BadSetting::new(format!(
                    "--namespace is {}, as that of {}: each provider needs its own",
                    one.config.namespace,
                    name(other)
                ))));
            }
        }
        for one in planned {
            let own = [Some("/token"), Some("/revoke"), Some(one.upstream.path()), one.upstream.revocation_path()];
            for below in own.into_iter().flatten() {
                if let Some(other) = planned.iter().find(|other| other.place.takes(&one.place, below)) {
                    return Err(other.configured.explain(BadSetting::new(format!(
                        "it is served at {}, and would be asked at {}, which is a path of {}: give one of them another --path or \
                         --host",
                        other.place.shown(""),
                        one.place.shown(below),
                        name(one)
                    ))));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.all.iter()
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Option<&Arc<Provider>> {
        self.all.iter().find(|provider| provider.config.namespace == namespace)
    }

    /// Whether they come from a file, and have names.
    pub(crate) fn are_named(&self) -> bool {
        self.all.iter().any(|provider| provider.name.is_some())
    }

    /// The provider that a request is for, and the path below its place.
    pub(crate) fn of<'a, T>(&self, request: &'a Request<T>) -> Option<(&Arc<Provider>, &'a str)> {
        let host = if self.has_hosts { host_of(request) } else { None };
        let path = request.uri().path();
        self.all.iter().find_map(|provider| Some((provider, provider.place.below(host.as_deref(), path)?)))
    }

    /// Whether all of them could begin a refresh now; else which of them could not, and why.
    pub(crate) async fn check(&self) -> Result<(), String> {
        const WHY: &str = "the store is out of reach";
        let mut checks = JoinSet::new();
        for (index, provider) in self.all.iter().enumerate() {
            let coordinator = provider.coordinator.clone();
            checks.spawn(async move { (index, coordinator.check_store().await) });
        }
        let mut not_ready = Vec::new();
        while let Some(checked) = checks.join_next().await {
            let Ok((index, checked)) = checked else { return Err("a check ended without an answer".to_owned()) };
            if let Err(error) = checked {
                let provider = self.all[index].name.as_deref();
                tracing::warn!(provider, %error, "not ready");
                not_ready.extend(Some(provider.unwrap_or_default()));
            }
        }
        if not_ready.is_empty() {
            return Ok(());
        }
        if not_ready.len() == self.all.len() {
            return Err(WHY.to_owned());
        }
        not_ready.sort_unstable();
        let more = not_ready.len().saturating_sub(NAMED);
        not_ready.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(format!("{WHY} for {}{more}", not_ready.join(", ")))
    }
}
