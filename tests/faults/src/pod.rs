//! A pod: one process over the library's public API, told what to do line by line, saying what happens as it happens.
//!
//! It runs on one worker thread, so that a call that blocks stops everything but what the kernel does.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use refresh_coordinator::{
    Breaker, Config, MemoryPressure, OnStoreOutage, ProviderFailure, RedisTarget, Refresh, RefreshCoordinator,
    RefreshError, Refreshed, Refusal, TokenResponse, Uncertain,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::exchange::present;
use crate::steps::{Answer, CallStep, Outcome, Stage};
use crate::ticker;
use crate::wire::{Makes, Order, PodSays, PodSettings, Rules, Trouble, say};

pub(crate) async fn run(settings: PodSettings) {
    // A thread of its own: orders are read also while the runtime is blocked.
    let (sender, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            let order = serde_json::from_str(&line).expect("BUG: the driver writes orders");
            if sender.send(order).is_err() {
                break;
            }
        }
        // The driver is gone.
        std::process::exit(0);
    });

    if let Some(longest) = settings.tells_stalls_ms {
        ticker::start(Duration::from_millis(longest), |late| {
            say(PodSays::StoodStill { for_us: late.as_micros() as u64 });
        });
    }
    let target = RedisTarget::new(settings.redis.as_str());
    let target = match settings.login.clone() {
        Some(login) => login.with(target),
        None => target,
    };
    let coordinator = match RefreshCoordinator::connect_with(target, config(&settings)).await {
        Ok(coordinator) => coordinator,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let pod = Arc::new(Pod { settings, coordinator, release: Notify::new(), callers: Mutex::default() });
    say(PodSays::Ready);
    let files = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit on descriptors");
    while let Some(order) = orders.recv().await {
        match order {
            Order::Refresh { call, token, secret, stop, trouble } => {
                let plan = Plan { call, token, secret, stop, trouble };
                let caller = tokio::spawn(Arc::clone(&pod).serve(plan));
                pod.callers().insert(call, caller.abort_handle());
            }
            Order::Release => pod.release.notify_waiters(),
            Order::Drop { call } => {
                if let Some(caller) = pod.callers().remove(&call) {
                    caller.abort();
                    tell(call, CallStep::Outcome(Outcome::Dropped));
                }
            }
            Order::LimitFiles { more } => {
                let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
                let soft = more.map_or(files.0, |more| open + more);
                setrlimit(Resource::RLIMIT_NOFILE, soft, files.1).expect("a limit below the hard one");
                say(PodSays::Done);
            }
            Order::Count => {
                let waited_for_recovery = pod.coordinator.metrics().waited_for_recovery;
                say(PodSays::Counted { waited_for_recovery });
            }
            Order::Close { deadline_ms } => {
                let pod = Arc::clone(&pod);
                // Callers are still answered meanwhile.
                tokio::spawn(async move {
                    pod.coordinator.close(Duration::from_millis(deadline_ms)).await;
                    say(PodSays::Closed);
                });
            }
        }
    }
}

struct Pod {
    settings: PodSettings,
    coordinator: RefreshCoordinator,
    release: Notify,
    callers: Mutex<HashMap<u64, AbortHandle>>,
}

/// One caller, and what its call does should it lead.
#[derive(Clone)]
struct Plan {
    call: u64,
    token: String,
    secret: String,
    stop: Option<Stage>,
    trouble: Option<Trouble>,
}

impl Pod {
    fn callers(&self) -> std::sync::MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.callers.lock().expect("BUG: nothing panics with this lock held")
    }

    async fn serve(self: Arc<Self>, plan: Plan) {
        let call = plan.call;
        if self.settings.makes == Makes::LogsTokens {
            eprintln!("refreshing {}", plan.token);
        }
        let outcome = match self.settings.makes {
            Makes::NoCoordination => match self.provide(plan, 0).await {
                Ok(tokens) => success(&tokens, 0, "alone"),
                Err(failure) => failed(&RefreshError::Provider { failure, fence: 0 }),
            },
            Makes::AnswersNobody => std::future::pending().await,
            Makes::Coordinator
            | Makes::RefusesAll
            | Makes::WaitsForRedis
            | Makes::LosesSuccesses
            | Makes::LogsTokens => match self.coordinate(plan).await {
                Ok(_) if self.settings.makes == Makes::LosesSuccesses => Outcome::Over { why: "lost".to_owned() },
                Ok(refreshed) => success(refreshed.tokens(), refreshed.fence(), &format!("{:?}", refreshed.role())),
                Err(error) => failed(&error),
            },
        };
        self.callers().remove(&call);
        tell(call, CallStep::Outcome(outcome));
    }

    async fn coordinate(self: &Arc<Self>, plan: Plan) -> Result<Refreshed, RefreshError> {
        let mut refresh = Refresh::new(plan.token.as_str()).client("app", plan.secret.as_str());
        if self.settings.rules.walks {
            refresh = refresh.token_from_attempt();
        }
        let pod = Arc::clone(self);
        self.coordinator
            .refresh(refresh, move |attempt| {
                if plan.trouble == Some(Trouble::PanicBeforePoll) {
                    tell(plan.call, CallStep::Led { fence: attempt.fence });
                    tell(plan.call, CallStep::Answered(Answer::GivenUp));
                    panic!("as the driver wanted");
                }
                let plan = Plan { token: attempt.token().to_owned(), ..plan };
                async move { pod.provide(plan, attempt.fence).await }
            })
            .await
    }

    /// The refresh function.
    async fn provide(&self, plan: Plan, fence: u64) -> Result<TokenResponse, ProviderFailure> {
        let call = plan.call;
        tell(call, CallStep::Led { fence });
        let mut unanswered = Unanswered(Some(call));
        self.pass(&plan, Stage::Called).await;
        if plan.trouble == Some(Trouble::PanicAfterPoll) {
            panic!("as the driver wanted");
        }
        let sent = async || {
            self.pass(&plan, Stage::Sent).await;
            match plan.trouble {
                Some(Trouble::PanicAfterSending) => panic!("as the driver wanted"),
                Some(Trouble::Block { ms }) => std::thread::sleep(Duration::from_millis(ms)),
                Some(Trouble::PanicBeforePoll | Trouble::PanicAfterPoll) | None => {}
            }
        };
        let answer = present(self.settings.provider, call, &plan.token, &plan.secret, sent).await;
        unanswered.0 = None;
        tell(call, CallStep::Answered(named(&answer)));
        self.pass(&plan, Stage::Answered).await;
        answer
    }

    async fn pass(&self, plan: &Plan, stage: Stage) {
        let released = self.release.notified();
        tokio::pin!(released);
        // Before it is said: the driver may release at once.
        released.as_mut().enable();
        tell(plan.call, CallStep::At(stage));
        if plan.stop == Some(stage) {
            released.await;
        }
    }
}

/// A call that ends without an answer, by a panic or because it was dropped.
struct Unanswered(Option<u64>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(call) = self.0 {
            tell(call, CallStep::Answered(Answer::GivenUp));
        }
    }
}

fn config(settings: &PodSettings) -> Config {
    let ms = Duration::from_millis;
    let Rules {
        namespace,
        lease_ms,
        store_timeout_ms,
        refresh_timeout_ms,
        wait_timeout_ms,
        call_limit_ms,
        keep_outcome_ms,
        retry_lost_after_ms,
        uncertain_memory_ms,
        presents_uncertain_tokens_again,
        goes_on_alone,
        walks: _,
        max_concurrent,
        max_attempts,
    } = settings.rules.clone();
    let memory_pressure =
        if settings.makes == Makes::RefusesAll { MemoryPressure::ResidentMib(1) } else { MemoryPressure::Off };
    Config::default()
        .with_namespace(namespace)
        .with_lease(ms(lease_ms))
        .with_store_timeout(ms(store_timeout_ms))
        .with_refresh_timeout(ms(refresh_timeout_ms))
        .with_wait_timeout(ms(wait_timeout_ms))
        .with_call_limit(Some(ms(call_limit_ms)))
        .with_keep_outcome(ms(keep_outcome_ms))
        .with_retry_lost_after(Some(ms(retry_lost_after_ms)))
        .with_uncertain_memory(ms(uncertain_memory_ms))
        .with_on_store_outage(if goes_on_alone && settings.makes != Makes::WaitsForRedis {
            OnStoreOutage::Local
        } else {
            OnStoreOutage::Reject
        })
        .with_uncertain(if presents_uncertain_tokens_again { Uncertain::Retry } else { Uncertain::Never })
        .with_max_concurrent_refreshes(max_concurrent)
        .with_max_refresh_attempts(max_attempts)
        .with_memory_pressure(memory_pressure)
        // Faults of the provider come in heaps here; what the circuit does about them is tested elsewhere.
        .with_breaker(Breaker::default().with_max_failures(1000).with_open_duration(ms(500)).with_half_open_requests(1))
}

fn named(answer: &Result<TokenResponse, ProviderFailure>) -> Answer {
    match answer {
        Ok(tokens) => Answer::Success { successor: tokens.refresh_token().unwrap_or_default().to_owned() },
        Err(ProviderFailure::Denied { .. }) => Answer::Denied,
        Err(ProviderFailure::NotSent { .. }) => Answer::NotSent,
        Err(ProviderFailure::Busy { .. }) => Answer::Busy,
        Err(_) => Answer::Unknown,
    }
}

fn success(tokens: &TokenResponse, fence: u64, role: &str) -> Outcome {
    let successor = tokens.refresh_token().unwrap_or_default().to_owned();
    Outcome::Success { successor, fence, role: role.to_owned() }
}

fn failed(error: &RefreshError) -> Outcome {
    let why = match error {
        RefreshError::Invalid(_) => "invalid",
        RefreshError::Provider { failure: ProviderFailure::Denied { error, .. }, .. } if error == "invalid_grant" => {
            "invalid_grant"
        }
        RefreshError::Provider { failure: ProviderFailure::Denied { .. }, .. } => "denied",
        RefreshError::Provider { failure: ProviderFailure::NotSent { .. }, .. } => "not_sent",
        RefreshError::Provider { failure: ProviderFailure::Busy { .. }, .. } => "busy",
        RefreshError::Provider { .. } => "unknown",
        RefreshError::Lost { .. } => "lost",
        RefreshError::TimedOut { .. } => "timed_out",
        RefreshError::StoreOutage { .. } => "store_outage",
        RefreshError::Refused(refusal) => match refusal {
            Refusal::AnotherClaim { .. } => "another_claim",
            Refusal::CoolingDown { .. } => "cooling_down",
            Refusal::Limited { .. } => "limited",
            Refusal::Budget { .. } => "budget",
            Refusal::CircuitOpen { .. } => "circuit_open",
            Refusal::NotReaching { .. } => "not_reaching",
            Refusal::MemoryPressure { .. } => "memory_pressure",
            Refusal::Closing { .. } => "closing",
            _ => "refused",
        },
        _ => "failed",
    };
    let why = why.to_owned();
    if error.is_session_over() {
        return Outcome::Over { why };
    }
    Outcome::Later { why, retry_after_ms: error.retry_after().map_or(100, |pause| pause.as_millis() as u64) }
}

fn tell(call: u64, step: CallStep) {
    say(PodSays::Call { call, step });
}
