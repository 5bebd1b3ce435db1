//! The store in Redis: one script per verb, a few lanes to send it over, one subscription for what others land.

use std::sync::Arc;
use std::time::Duration;

use redis::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use uuid::Uuid;

mod agreement;
mod call;
mod completer;
mod fences;
mod inbox;
mod keys;
mod lanes;
mod looker;
mod preflight;
mod outage;
mod prober;
mod records;
mod rules;
mod scripts;
pub(crate) mod url;
mod waiters;

use self::agreement::Agreement;
use self::call::Call;
use self::completer::{Completer, Landing};
use self::fences::Fences;
use self::inbox::Inbox;
use self::keys::Keys;
use self::lanes::{Lanes, with_tcp_settings};
use self::looker::Looker;
pub(crate) use self::outage::Held;
use self::outage::Outage;
use self::preflight::Preflight;
use self::prober::Prober;
use self::records::Opener;
use self::scripts::{BeginReply, CompleteReply, Rejected, Reply, Scripts, before_word, read_begin, read_circuit};
pub(crate) use self::waiters::Ticket;
use self::waiters::{Awaited, Waiters};
use super::contract::{self, Ask, Completion, Gaps, Joined, Landed, Lease, Queued, Renewed, Standing, StoreError};
use crate::admission::circuit::{CircuitState, quiet};
use crate::admission::{FAIR_PAUSE, Terms};
use crate::config::{Config, Uncertain};
use crate::error::{ConnectError, Refusal};
use crate::metrics::Counters;
use crate::outcome::Outcome;

type Begun = contract::Begun<Ticket>;

/// One pod's view of the store.
pub(crate) struct RedisStore {
    pod: String,
    config: Arc<Config>,
    counters: Arc<Counters>,
    keys: Arc<Keys>,
    scripts: Arc<Scripts>,
    lanes: Arc<Lanes>,
    inbox: Arc<Inbox>,
    waiters: Arc<Waiters>,
    fences: Arc<Fences>,
    agreement: Arc<Agreement>,
    outage: Arc<Outage>,
    prober: Arc<Prober>,
    completer: Arc<Completer>,
    /// What was obtained without Redis and has not landed there yet.
    later: TaskTracker,
    /// What begin is told of the configuration.
    settings: Vec<u8>,
    jitter: Duration,
    closed: CancellationToken,
}

impl RedisStore {
    pub(crate) async fn connect(
        client: Client,
        pod: &str,
        config: Arc<Config>,
        counters: Arc<Counters>,
    ) -> Result<Self, ConnectError> {
        let info = with_tcp_settings(client.get_connection_info().clone(), config.store_timeout);
        let keys = Arc::new(Keys::new(&config.namespace));
        let scripts = Arc::new(Scripts::default());
        let client_name = format!("refresh-coordinator:{}:{pod}", config.namespace);
        let preflight = Preflight { keys: Arc::clone(&keys), address: info.addr().to_string() };

        let gaps = Arc::new(watch::Sender::new(0));
        let outage = Arc::new(Outage::new(Arc::clone(&gaps), config.store_timeout));
        let lanes = Lanes::connect(info.clone(), client_name.clone(), config.store_timeout, Arc::clone(&outage))
            .await
            .map_err(|error| preflight.refused(&error))?;
        let lanes = Arc::new(lanes);
        let fences = Arc::new(Fences::new(preflight.check(&lanes, &scripts, pod).await?));

        let waiters = Arc::new(Waiters::default());
        let inbox = Arc::new(Inbox {
            client: Inbox::client(info).map_err(|error| preflight.refused(&error))?,
            channel: keys.channel(pod),
            client_name,
            timeout: config.store_timeout,
            waiters: Arc::clone(&waiters),
            counters: Arc::clone(&counters),
            subscribed: false.into(),
            gaps,
            fences: Arc::clone(&fences),
        });
        let subscription = inbox.subscribe().await.map_err(|error| preflight.refused(&error))?;
        // Last, so that a pod which cannot take part leaves no trace of its settings.
        preflight.agree(&lanes, &scripts, &config).await?;
        preflight.warn_about_eviction(&lanes).await;

        let closed = CancellationToken::new();
        // Random per pod: 0 to a twentieth of the lease.
        let jitter = config.lease.mul_f64(f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0 / 20.0);
        tokio::spawn(Arc::clone(&inbox).run(subscription, closed.clone()));
        let looker = Looker {
            inbox: Arc::clone(&inbox),
            lanes: Arc::clone(&lanes),
            scripts: Arc::clone(&scripts),
            keys: Arc::clone(&keys),
            counters: Arc::clone(&counters),
            config: Arc::clone(&config),
            jitter,
        };
        tokio::spawn(looker.run(closed.clone()));
        let agreement =
            Arc::new(Agreement::new(preflight, Arc::clone(&lanes), Arc::clone(&scripts), Arc::clone(&config)));
        tokio::spawn(Arc::clone(&agreement).keep(inbox.gaps.subscribe(), closed.clone()));
        let prober = Arc::new(Prober {
            outage: Arc::clone(&outage),
            lanes: Arc::clone(&lanes),
            scripts: Arc::clone(&scripts),
            keys: Arc::clone(&keys),
            fences: Arc::clone(&fences),
            config: Arc::clone(&config),
        });
        let completer = Arc::new(Completer {
            pod: pod.to_owned(),
            config: Arc::clone(&config),
            settings: rules::complete_settings(&config),
            keys: Arc::clone(&keys),
            scripts: Arc::clone(&scripts),
            lanes: Arc::clone(&lanes),
        });
        tokio::spawn(Arc::clone(&prober).run(closed.clone()));
        Ok(Self {
            pod: pod.to_owned(),
            settings: rules::begin_settings(&config),
            config,
            counters,
            keys,
            scripts,
            lanes,
            inbox,
            waiters,
            fences,
            agreement,
            outage,
            prober,
            completer,
            later: TaskTracker::new(),
            jitter,
            closed,
        })
    }

    pub(crate) async fn begin(&self, ask: &Ask, joined: Option<u64>, terms: &Terms) -> Result<Begun, StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        let flight = ask.identity.flight;
        let claim = ask.identity.claim.to_string();
        // First the ticket, then the question: an outcome that lands between the two finds somebody waiting.
        let mut ticket = self.waiters.ticket(flight);
        let asked = Instant::now();

        let mut call = Call::new(&self.scripts.begin, 9);
        call.key(self.keys.lock(&flight)).key(self.keys.flight(&flight));
        call.key(self.keys.fence()).key(self.keys.recovering());
        rules::all_keys(&mut call, &self.keys, &ask.identity.session);
        call.arg(&self.pod).arg(ask.attempt.to_string()).arg(&claim);
        call.arg(flight.to_string()).arg(self.keys.channels());
        call.arg(joined.unwrap_or(0)).arg(self.fences.seen());
        call.arg(match self.config.uncertain {
            Uncertain::Retry => "retry",
            Uncertain::Never => "never",
        });
        call.arg(if terms.pod_refuses.is_none() { "yes" } else { "no" });
        call.arg(terms.queued_since.map_or(String::new(), |since| since.elapsed().as_micros().to_string()));
        call.arg(if terms.patience.is_zero() { "none" } else { "queue" });
        call.arg(&self.settings[..]);
        let reply = read_begin(Reply::new("begin", self.lanes.run(&call).await?))?;

        Ok(match reply {
            BeginReply::Landed(record) => {
                self.fences.see(record.fence);
                match self.opener(ask).open(&record) {
                    Some(landed) => Begun::Landed(landed),
                    // It has our claim, so it should open: somebody wrote into Redis. Nobody is handed it, and the
                    // token is not presented while the record says that it was rotated.
                    None => Begun::Rejected(Refusal::AnotherClaim { retry_after: self.config.keep_outcome }),
                }
            }
            BeginReply::Lost { fence } => {
                let outcome = Arc::new(Outcome::Lost(None));
                Begun::Landed(Landed { outcome, fence, age: Duration::ZERO })
            }
            BeginReply::Lead { fence, before } => {
                self.fences.see(fence);
                let Ask { identity, attempt } = ask;
                let claim = identity.claim;
                Begun::Lead(Lease {
                    flight,
                    claim,
                    attempt: *attempt,
                    fence,
                    started: asked,
                    granted: Instant::now(),
                    before,
                    is_local: false,
                })
            }
            BeginReply::Join { fence, claim: theirs, leader, look } => {
                self.fences.see(fence);
                let due = Instant::now() + look + self.jitter;
                let ours = theirs == claim;
                ticket.join(fence, leader, due, ours.then(|| Awaited { fence, claim, opener: self.opener(ask) }));
                Begun::Join(Joined { fence: ours.then_some(fence), leader, news: ticket })
            }
            BeginReply::Queued { look } => {
                ticket.queue(Instant::now() + look + self.jitter);
                let since = terms.queued_since.unwrap_or(asked);
                Begun::Queued(Queued { since, news: ticket })
            }
            BeginReply::Rejected(Rejected::Because(refusal)) => {
                if matches!(refusal, Refusal::Recovering { .. }) {
                    self.agreement.may_be_forgotten();
                }
                Begun::Rejected(refusal)
            }
            BeginReply::Rejected(Rejected::ByPod) => {
                // The script says so only where the terms did.
                let refusal = terms.pod_refuses.clone();
                Begun::Rejected(refusal.unwrap_or(Refusal::MemoryPressure { retry_after: FAIR_PAUSE }))
            }
            BeginReply::Abandoned => {
                return Err(StoreError::not_asked("the attempt was given up before redis answered".to_owned()));
            }
        })
    }

    pub(crate) async fn renew(&self, lease: &Lease) -> Result<Renewed, StoreError> {
        let mut call = Call::new(&self.scripts.renew, 8);
        call.key(self.keys.lock(&lease.flight)).key(self.keys.flight(&lease.flight));
        call.key(self.keys.fence()).key(self.keys.recovering());
        rules::budget_keys(&mut call, &self.keys);
        call.key(self.keys.circuit());
        call.arg(owner(&self.pod, lease.fence)).arg(lease.attempt.to_string()).arg(lease.claim.to_string());
        call.arg(lease.fence).arg(self.fences.seen());
        call.arg(ms(self.config.lease)).arg(ms(lease.started.elapsed())).arg(before_word(lease.before));
        call.arg(ms(self.config.memory_of_lost()));
        rules::budget(&mut call, &self.config);
        call.arg(ms(quiet(&self.config))).arg(self.keys.channels());
        let reply = Reply::new("renew", self.lanes.run(&call).await?);
        match reply.word()? {
            "renewed" => Ok(Renewed::Renewed),
            "lost" => Ok(Renewed::Lost),
            _ => Err(reply.unknown()),
        }
    }

    pub(crate) async fn complete(
        &self,
        lease: &Lease,
        ask: &Ask,
        completion: &Completion,
    ) -> Result<Standing, StoreError> {
        let landing = self.completer.landing(lease, ask, completion);
        Ok(self.standing(ask, self.completer.complete(&landing).await?))
    }

    /// What was obtained without Redis, sealed, until Redis has it.
    pub(crate) fn landing(&self, lease: &Lease, ask: &Ask, completion: &Completion) -> UnsharedLanding<'_> {
        // Before Redis is asked: who subscribes later misses that it is back.
        let gaps = self.inbox.gaps.subscribe();
        UnsharedLanding { store: self, landing: self.completer.landing(lease, ask, completion), gaps }
    }

    /// Waits until what was obtained without Redis has landed there, or is not worth it any more. For who closes:
    /// nothing is obtained meanwhile.
    pub(crate) async fn drained(&self) {
        self.later.close();
        self.later.wait().await;
    }

    fn standing(&self, ask: &Ask, reply: CompleteReply) -> Standing {
        match reply {
            CompleteReply::Landed => Standing::Ours,
            CompleteReply::Stale => Standing::Stale,
            CompleteReply::Stands(record) => self.opener(ask).open(&record).map_or(Standing::Stale, Standing::Theirs),
        }
    }

    pub(crate) async fn abandon(&self, lease: &Lease, ask: &Ask) -> Result<(), StoreError> {
        self.give_back(ask, lease.fence).await
    }

    /// Makes an attempt arrive as abandoned whose `begin` may still be on its way, or gives its lead back.
    pub(crate) async fn disown(&self, ask: &Ask) -> Result<(), StoreError> {
        self.give_back(ask, 0).await
    }

    async fn give_back(&self, ask: &Ask, fence: u64) -> Result<(), StoreError> {
        let Ask { identity, attempt } = ask;
        let mut call = Call::new(&self.scripts.abandon, 7);
        call.key(self.keys.lock(&identity.flight)).key(self.keys.flight(&identity.flight));
        rules::all_keys(&mut call, &self.keys, &identity.session);
        call.arg(attempt.to_string()).arg(fence).arg(ms(self.config.lease));
        call.arg(identity.flight.to_string()).arg(self.keys.channels()).arg(&self.pod);
        rules::budget(&mut call, &self.config);
        let reply = Reply::new("abandon", self.lanes.run(&call).await?);
        match reply.word()? {
            "abandoned" | "marked" | "stale" => Ok(()),
            _ => Err(reply.unknown()),
        }
    }

    pub(crate) async fn circuit_state(&self) -> Result<CircuitState, StoreError> {
        let mut call = Call::new(&self.scripts.circuit, 1);
        call.key(self.keys.circuit()).arg(ms(self.config.lease));
        read_circuit(Reply::new("circuit", self.lanes.run(&call).await?))
    }

    /// Whether all pods still agree on what they agreed on at start.
    pub(crate) fn agrees(&self) -> Result<(), StoreError> {
        self.agreement.holds()
    }

    /// Does this where Redis has been out of reach for so long. The outage does not end meanwhile.
    pub(crate) fn without_redis<T>(&self, span: Duration, act: impl FnOnce(&Fences) -> T) -> Option<T> {
        self.outage.after(span, || act(&self.fences))
    }

    /// Whether a flight could be begun now.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.agrees()?;
        self.outage.admits()?;
        self.prober.probe().await?;
        Ok(())
    }

    pub(crate) fn hold(&self) -> Held {
        self.outage.hold()
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.outage.is_lost()
    }

    /// Counts the times the subscription was made again, and the outages: Redis may have forgotten what it held.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps::counted(self.inbox.gaps.subscribe())
    }

    pub(crate) fn close(&self) {
        if !self.later.is_empty() {
            warn!(outcomes = self.later.len(), "closing with outcomes that redis was not told of");
        }
        self.closed.cancel();
        self.waiters.tell_all_to_look();
    }

    fn opener(&self, ask: &Ask) -> Opener {
        Opener::new(&ask.identity, &self.config, &self.counters)
    }
}

/// What was obtained without Redis, until Redis has it.
pub(crate) struct UnsharedLanding<'a> {
    store: &'a RedisStore,
    landing: Landing,
    gaps: watch::Receiver<u64>,
}

impl UnsharedLanding<'_> {
    /// Lands it, if Redis is back. None: it is not.
    pub(crate) async fn try_now(&self, ask: &Ask) -> Option<Standing> {
        if self.store.is_out_of_reach() {
            return None;
        }
        let reply = self.store.completer.complete(&self.landing).await.ok()?;
        Some(self.store.standing(ask, reply))
    }

    /// Lands it when Redis is back, unless Redis would not keep it by then.
    pub(crate) fn when_redis_is_back(self) {
        let Self { store, landing, gaps } = self;
        if landing.is_worth_waiting() {
            let later = Arc::clone(&store.completer).complete_later(landing, gaps, store.hold());
            store.later.spawn(store.closed.clone().run_until_cancelled_owned(later));
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("pod", &self.pod).finish_non_exhaustive()
    }
}

/// Who leads, as it stands in the lock.
fn owner(pod: &str, fence: u64) -> String {
    format!("{pod}/{fence}")
}

/// Whole milliseconds, rounded up: a setting of less than one is not none.
fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
