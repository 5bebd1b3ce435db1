//! How a pod comes to its store: first whether it may take part, then the register of living pods, then its subscription;
//! last what goes on beside its flights.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::RedisStore;
use super::access::RedisTarget;
use super::agreement::Agreement;
use super::broken_keys::BrokenKeys;
use super::calls::{Calls, Faults};
use super::completer::Completer;
use super::enrolment::Enrolment;
use super::fences::Fences;
use super::half_open::HalfOpen;
use super::handover::{Forgotten, Handover};
use super::inbox::Inbox;
use super::keeper::Keeper;
use super::keys::Keys;
use super::lanes::Lanes;
use super::large::LargeAnswers;
use super::locator::Locator;
use super::looker::Looker;
use super::nodes::{Nodes, idle};
use super::not_enrolled::NotEnrolled;
use super::outage::Outage;
use super::preflight::Preflight;
use super::prober::Prober;
use super::register::Register;
use super::replicas::Replicas;
use super::roll::Roll;
use super::switches::Switches;
use super::taken_rights::TakenRights;
use super::tasks::Tasks;
use super::unlanded::Unlanded;
use super::waiters::Waiters;
use crate::config::Config;
use crate::error::ConnectError;
use crate::metrics::Counters;

impl RedisStore {
    /// Connects one namespace over connections of its own.
    pub(crate) async fn connect(
        target: impl Into<RedisTarget>,
        pod: &str,
        config: Arc<Config>,
        counters: Arc<Counters>,
    ) -> Result<Self, ConnectError> {
        let name = format!("refresh-coordinator:{}:{pod}", config.namespace);
        let nodes = Nodes::of(target.into(), name, &config).await?;
        Self::open(Arc::new(nodes), pod, config, counters).await
    }

    /// Connects a namespace over the connections that all namespaces of a process share.
    pub(crate) async fn open(
        nodes: Arc<Nodes>,
        pod: &str,
        config: Arc<Config>,
        counters: Arc<Counters>,
    ) -> Result<Self, ConnectError> {
        let keys = Arc::new(Keys::new(&config.namespace));
        let (pubsub, sentinels) = (nodes.pubsub, nodes.sentinels);
        let preflight = Arc::new(Preflight {
            namespace: config.namespace.clone(),
            keys: Arc::clone(&keys),
            address: nodes.address.clone(),
            pubsub,
            waits_for_replicas: config.wait_replicas > 0,
        });

        let gaps = Arc::new(watch::Sender::new(0));
        let outage = Arc::new(Outage::new(Arc::clone(&gaps), config.store_timeout, &config.namespace, pod));
        let lanes = Arc::new(Lanes::new(nodes, keys.slot(), config.store_patience()));
        let broken_keys = Arc::new(BrokenKeys::new(Arc::clone(&lanes), Arc::clone(&keys)));
        let taken_rights = Arc::new(TakenRights::default());
        let calls = Arc::new(Calls::new(
            pod,
            Arc::clone(&lanes),
            Faults {
                outage: Arc::clone(&outage),
                broken_keys: Arc::clone(&broken_keys),
                taken_rights: Arc::clone(&taken_rights),
            },
            Arc::clone(&keys),
            Arc::clone(&config),
            pubsub,
        ));
        let fences = Arc::new(Fences::default());
        let register = Arc::new(Register::new(&config));
        let agreement =
            Arc::new(Agreement::new(Arc::clone(&preflight), Arc::clone(&calls), Arc::clone(&register), config.lease));
        let forgotten = Arc::new(Forgotten::default());
        let locator = Arc::new(Locator::new(Arc::clone(&lanes), config.lease));
        let enrolment = Arc::new(Enrolment {
            lanes: Arc::clone(&lanes),
            preflight: Arc::clone(&preflight),
            calls: Arc::clone(&calls),
            pod: pod.to_owned(),
            agreement: Arc::clone(&agreement),
            fences: Arc::clone(&fences),
            locator: Arc::clone(&locator),
            is_done: watch::Sender::new(false),
        });
        let is_enrolled = match enrolment.enrol().await {
            Ok(()) => true,
            Err(NotEnrolled { error, is_away: true }) if config.start_without_redis => {
                warn!(%error, "this pod starts without redis, and takes part when it is in reach");
                outage.begin(&error.to_string());
                false
            }
            Err(NotEnrolled { error, .. }) => return Err(error),
        };

        let inbox = Arc::new(Inbox {
            lanes: Arc::clone(&lanes),
            pubsub,
            keys: Arc::clone(&keys),
            pod: pod.to_owned(),
            forgotten: Arc::clone(&forgotten),
            waiters: Arc::new(Waiters::new(&fences)),
            counters: Arc::clone(&counters),
            prove_every: idle(&config),
            is_enrolled: enrolment.is_done.subscribe(),
            first: Mutex::default(),
            subscribed: Arc::default(),
            gaps,
            echoed: watch::Sender::default(),
        });
        if is_enrolled {
            match inbox.subscribe(None).await {
                Ok(subscription) => {
                    *inbox.first.lock().expect("BUG: nothing panics with this lock held") = Some(subscription);
                }
                Err(error) => {
                    // A pod that cannot take part leaves no trace of its settings.
                    agreement.leave().await;
                    return Err(preflight.refused(&error));
                }
            }
        }
        let found = Found { locator, forgotten, register, sentinels, keys };
        Ok(Admitted {
            config,
            counters,
            calls,
            broken_keys,
            taken_rights,
            outage,
            fences,
            found,
            inbox,
            agreement,
            enrolment,
        }
        .start())
    }
}

/// What a pod knows of its server and of the other pods.
struct Found {
    locator: Arc<Locator>,
    forgotten: Arc<Forgotten>,
    register: Arc<Register>,
    /// How many sentinels there are.
    sentinels: usize,
    keys: Arc<Keys>,
}

/// A pod that takes part, or will when Redis is in reach.
struct Admitted {
    config: Arc<Config>,
    counters: Arc<Counters>,
    calls: Arc<Calls>,
    broken_keys: Arc<BrokenKeys>,
    taken_rights: Arc<TakenRights>,
    outage: Arc<Outage>,
    fences: Arc<Fences>,
    found: Found,
    inbox: Arc<Inbox>,
    agreement: Arc<Agreement>,
    enrolment: Arc<Enrolment>,
}

impl Admitted {
    /// Starts what goes on beside the flights, until the store is closed.
    fn start(self) -> RedisStore {
        let Self {
            config,
            counters,
            calls,
            broken_keys,
            taken_rights,
            outage,
            fences,
            found,
            inbox,
            agreement,
            enrolment,
        } = self;
        let Found { locator, forgotten, register, sentinels, keys } = found;
        let closed = CancellationToken::new();
        // Random per pod: 0 to a twentieth of the lease.
        let jitter = config.lease.mul_f64(f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0 / 20.0);
        let looker = Arc::new(Looker {
            inbox: Arc::clone(&inbox),
            calls: Arc::clone(&calls),
            counters: Arc::clone(&counters),
            config: Arc::clone(&config),
            jitter,
        });
        let keeper = Arc::new(Keeper {
            calls: Arc::clone(&calls),
            locator: Arc::clone(&locator),
            register: Arc::clone(&register),
            config: Arc::clone(&config),
            kept: Mutex::default(),
            landings: 0.into(),
        });
        let handover = Arc::new(Handover {
            forgotten: Arc::clone(&forgotten),
            locator: Arc::clone(&locator),
            keeper: Arc::clone(&keeper),
            gaps: Arc::clone(&inbox.gaps),
        });
        let prober = Arc::new(Prober {
            outage: Arc::clone(&outage),
            calls: Arc::clone(&calls),
            fences: Arc::clone(&fences),
            enrolment,
        });
        let unlanded = Unlanded::new(Arc::clone(&keeper), Arc::clone(&outage), inbox.gaps.subscribe());
        let unlanded = Arc::new(unlanded);
        let roll = Arc::new(Roll::new(config.pepper.clone()));
        let replicas = Arc::new(Replicas::new(Arc::clone(&inbox.lanes), keys, &config));
        let completer = Arc::new(Completer {
            config: Arc::clone(&config),
            counters: Arc::clone(&counters),
            outage: Arc::clone(&outage),
            unlanded: Arc::clone(&unlanded),
            keeper,
            register,
            large: LargeAnswers::default(),
            roll: Arc::clone(&roll),
            replicas: Arc::clone(&replicas),
            half_open: HalfOpen { calls: Arc::clone(&calls), config: Arc::clone(&config), closed: closed.clone() },
        });
        let mut tasks = Self::tasks(&counters, &closed, &inbox, looker, &prober, &agreement);
        tasks.start("locator", {
            let locator = Arc::clone(&locator);
            move |closed| Arc::clone(&locator).run(closed)
        });
        let is_first = AtomicBool::new(true);
        tasks.start("handover", move |closed| {
            // Started again: what it was told meanwhile, or had begun to land, nobody knows.
            if !is_first.swap(false, Ordering::Relaxed) {
                handover.forgotten.is_told();
            }
            Arc::clone(&handover).run(closed)
        });
        tasks.start("unlanded", move |closed| Arc::clone(&unlanded).run(closed));
        if sentinels > 0 {
            let (lanes, locator) = (Arc::clone(&inbox.lanes), Arc::clone(&locator));
            let switches = Arc::new(Switches { lanes, locator });
            tasks.start("switches", move |closed| Arc::clone(&switches).run(closed));
        }
        let waiters = Arc::clone(&inbox.waiters);
        RedisStore {
            config,
            counters,
            calls,
            broken_keys,
            taken_rights,
            inbox,
            waiters,
            fences,
            locator,
            forgotten,
            agreement,
            outage,
            prober,
            completer,
            replicas,
            roll,
            jitter,
            tasks,
            closed,
        }
    }

    fn tasks(
        counters: &Arc<Counters>,
        closed: &CancellationToken,
        inbox: &Arc<Inbox>,
        looker: Arc<Looker>,
        prober: &Arc<Prober>,
        agreement: &Arc<Agreement>,
    ) -> Tasks {
        let mut tasks = Tasks::new(Arc::clone(counters), inbox.prove_every, closed.clone());
        let lanes = Arc::clone(&inbox.lanes);
        tasks.start("lanes", move |closed| Arc::clone(&lanes).keep_alive(closed));
        let nodes = Arc::clone(&inbox.lanes.nodes);
        tasks.start("certificates", move |closed| {
            let nodes = Arc::clone(&nodes);
            async move { nodes.look_after_certificates(closed).await }
        });
        tasks.start("inbox", {
            let inbox = Arc::clone(inbox);
            move |closed| Arc::clone(&inbox).run(closed)
        });
        let is_first = AtomicBool::new(true);
        tasks.start("looker", move |closed| {
            // Started again: it may have been about to plan when permits are taken back.
            if !is_first.swap(false, Ordering::Relaxed) {
                looker.inbox.waiters.plan_reap(Instant::now());
            }
            Arc::clone(&looker).run(closed)
        });
        let prober = Arc::clone(prober);
        tasks.start("prober", move |closed| Arc::clone(&prober).run(closed));
        let (agreement, gaps, is_first) = (Arc::clone(agreement), Arc::clone(&inbox.gaps), AtomicBool::new(true));
        tasks.start("agreement", move |closed| {
            // Started again: what it missed nobody knows.
            if !is_first.swap(false, Ordering::Relaxed) {
                agreement.may_be_forgotten();
            }
            Arc::clone(&agreement).keep(gaps.subscribe(), closed)
        });
        tasks
    }
}
