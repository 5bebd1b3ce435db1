//! How a pod comes to its store: first whether it may take part, then its subscription, then what all pods agree on;
//! last what goes on beside its flights.

use std::sync::Arc;

use redis::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::RedisStore;
use super::agreement::Agreement;
use super::calls::Calls;
use super::completer::Completer;
use super::fences::Fences;
use super::inbox::{Inbox, Subscription};
use super::keys::Keys;
use super::lanes::{Lanes, with_tcp_settings};
use super::looker::Looker;
use super::outage::Outage;
use super::preflight::Preflight;
use super::prober::Prober;
use super::waiters::Waiters;
use crate::config::Config;
use crate::error::ConnectError;
use crate::metrics::Counters;

impl RedisStore {
    pub(crate) async fn connect(
        client: Client,
        pod: &str,
        config: Arc<Config>,
        counters: Arc<Counters>,
    ) -> Result<Self, ConnectError> {
        let info = with_tcp_settings(client.get_connection_info().clone(), config.store_timeout);
        let keys = Arc::new(Keys::new(&config.namespace));
        let client_name = format!("refresh-coordinator:{}:{pod}", config.namespace);
        let preflight = Preflight {
            namespace: config.namespace.clone(),
            keys: Arc::clone(&keys),
            address: info.addr().to_string(),
        };

        let gaps = Arc::new(watch::Sender::new(0));
        let outage = Arc::new(Outage::new(Arc::clone(&gaps), config.store_timeout));
        let lanes = Lanes::connect(info.clone(), client_name.clone(), config.store_timeout, Arc::clone(&outage))
            .await
            .map_err(|error| preflight.refused(&error))?;
        let lanes = Arc::new(lanes);
        let calls = Arc::new(Calls::new(pod, Arc::clone(&lanes), Arc::clone(&keys), Arc::clone(&config)));
        let fences = Arc::new(Fences::new(preflight.check(&calls).await?));

        let inbox = Arc::new(Inbox {
            client: Inbox::client(info).map_err(|error| preflight.refused(&error))?,
            channel: keys.channel(pod),
            client_name,
            timeout: config.store_timeout,
            waiters: Arc::new(Waiters::new(&fences)),
            counters: Arc::clone(&counters),
            subscribed: false.into(),
            gaps,
        });
        let subscription = inbox.subscribe().await.map_err(|error| preflight.refused(&error))?;
        // Last, so that a pod which cannot take part leaves no trace of its settings.
        preflight.agree(&calls).await?;
        preflight.warn_about_eviction(&lanes).await;
        Ok(Admitted { config, counters, calls, outage, fences, inbox, preflight }.start(subscription))
    }
}

/// A pod that may take part.
struct Admitted {
    config: Arc<Config>,
    counters: Arc<Counters>,
    calls: Arc<Calls>,
    outage: Arc<Outage>,
    fences: Arc<Fences>,
    inbox: Arc<Inbox>,
    preflight: Preflight,
}

impl Admitted {
    /// Starts what goes on beside the flights, until the store is closed.
    fn start(self, subscription: Subscription) -> RedisStore {
        let Self { config, counters, calls, outage, fences, inbox, preflight } = self;
        let closed = CancellationToken::new();
        // Random per pod: 0 to a twentieth of the lease.
        let jitter = config.lease.mul_f64(f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0 / 20.0);
        tokio::spawn(Arc::clone(&inbox).run(subscription, closed.clone()));
        let looker = Looker {
            inbox: Arc::clone(&inbox),
            calls: Arc::clone(&calls),
            counters: Arc::clone(&counters),
            config: Arc::clone(&config),
            jitter,
        };
        tokio::spawn(looker.run(closed.clone()));
        let agreement = Arc::new(Agreement::new(preflight, Arc::clone(&calls)));
        tokio::spawn(Arc::clone(&agreement).keep(inbox.gaps.subscribe(), closed.clone()));
        let prober =
            Arc::new(Prober { outage: Arc::clone(&outage), calls: Arc::clone(&calls), fences: Arc::clone(&fences) });
        tokio::spawn(Arc::clone(&prober).run(closed.clone()));
        let completer = Arc::new(Completer {
            calls: Arc::clone(&calls),
            config: Arc::clone(&config),
            counters: Arc::clone(&counters),
            outage: Arc::clone(&outage),
            gaps: Arc::clone(&inbox.gaps),
            later: TaskTracker::new(),
            closed: closed.clone(),
        });
        let waiters = Arc::clone(&inbox.waiters);
        RedisStore {
            config,
            counters,
            calls,
            inbox,
            waiters,
            fences,
            agreement,
            outage,
            prober,
            completer,
            jitter,
            closed,
        }
    }
}
