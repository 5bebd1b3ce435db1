//! One pod of a storm: a crowd of callers, with a coordinator or without.
//!
//! The driver tells it [`Order`]s: over stdin and stdout where it is a process, over a pipe in memory where it
//! is not. It ends when the orders end, whatever it is doing.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use refresh_coordinator::{MemoryStore, RefreshCoordinator, Role, Secret};
use refresh_coordinator_cli::BadSetting;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::clock::unix_us;
use crate::exchange::Exchange;
use crate::limits;
use crate::presenter::{Answer, Coordination, NoTokens, Presenter};
use crate::timeline::CallerTimes;
use crate::urls;
use crate::wire::{self, Heard, Next, Order, Presented, Receiver, Report, Start, Way};

/// `refresh-storm pod`: a pod that is a process and shares nothing but Redis.
pub(crate) async fn run_pod() -> ExitCode {
    limits::raise_open_files();
    match serve(tokio::io::stdin(), tokio::io::stdout(), MemoryStore::new()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refresh-storm: a pod of the storm stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Obeys until the orders end.
pub(crate) async fn serve(
    orders: impl AsyncRead + Unpin,
    mut reports: impl AsyncWrite + Unpin,
    store: MemoryStore,
) -> io::Result<()> {
    let mut orders = Receiver::new(orders);
    let Some(Order::Start(start)) = orders.next().await? else {
        return Ok(());
    };
    let pod = match Pod::start(*start, &store).await {
        Ok(pod) => pod,
        Err(problem) => return wire::send(&mut reports, &Report::NotStarted { problem: problem.to_string() }).await,
    };
    wire::send(&mut reports, &Report::Started { pid: std::process::id() }).await?;

    let mut armed = None;
    while let Some(order) = orders.next().await? {
        let report = match order {
            Order::Start(_) => return Err(io::Error::other("it was started twice")),
            Order::Arm { tokens, watched, gone_after_ms } => {
                armed = Some(pod.arm(&tokens, watched, gone_after_ms.map(Duration::from_millis)).await);
                Report::Armed
            }
            Order::Release { at_unix_us } => {
                let Some(wave) = armed.take() else {
                    return Err(io::Error::other("it was to release callers that nobody armed"));
                };
                tokio::select! {
                    presented = wave.release(at_unix_us) => Report::Presented(Box::new(presented)),
                    // Nothing is ordered before the report: the driver is gone, or out of its mind.
                    _ = orders.next::<Order>() => return Ok(()),
                }
            }
            Order::Finish => {
                pod.close().await;
                return wire::send(&mut reports, &Report::Finished).await;
            }
        };
        wire::send(&mut reports, &report).await?;
    }
    Ok(())
}

struct Pod {
    presenter: Arc<Presenter>,
    callers: usize,
}

impl Pod {
    async fn start(start: Start, store: &MemoryStore) -> Result<Self, BadSetting> {
        let Start { callers, connections, way, token_urls, client_id, client_secret, rules, pepper } = start;
        let config = rules.config(pepper.map(Secret::from));
        let unusable = |why: String| BadSetting::new(format!("the HTTP client cannot be built: {why}"));
        let http =
            Client::new(&token_urls, connections, config.call_limit()).map_err(|error| unusable(error.reason))?;
        let coordination = match way {
            Way::Directly => Coordination::None,
            Way::Memory => Coordination::By(RefreshCoordinator::in_memory_shared(store, config)?),
            Way::Redis(redis) => Coordination::By(RefreshCoordinator::connect_with(redis.target(), config).await?),
            Way::Alone => Coordination::By(RefreshCoordinator::in_memory(config)?),
        };
        let client_secret = client_secret.map(Secret::from);
        let exchange = |url: &String| {
            let url = urls::target(url).map_err(|wrong| unusable(format!("{url}: {wrong}")))?;
            Ok(Arc::new(Exchange::new(http.clone(), url, &client_id, client_secret.as_ref())))
        };
        let exchanges = token_urls.iter().map(exchange).collect::<Result<_, BadSetting>>()?;
        let connections = Arc::new(Semaphore::new(connections));
        let presenter = Arc::new(Presenter { exchanges, coordination, connections, client_id, client_secret });
        Ok(Self { presenter, callers })
    }

    /// Makes every caller ready: all are running and wait for one signal.
    async fn arm(&self, tokens: &[String], watched: usize, gone_after: Option<Duration>) -> Wave {
        let ready = Arc::new(Barrier::new(tokens.len() * self.callers + 1));
        let (go, going) = watch::channel(());
        let mut callers = JoinSet::new();
        for (family, token) in tokens.iter().enumerate() {
            let token: Arc<str> = token.as_str().into();
            for number in 0..self.callers {
                let (presenter, token) = (Arc::clone(&self.presenter), Arc::clone(&token));
                let (ready, mut going) = (Arc::clone(&ready), going.clone());
                callers.spawn(async move {
                    ready.wait().await;
                    // An error is as good: then the wave was dropped, and this task with it.
                    _ = going.changed().await;
                    let asked_us = unix_us();
                    let asking = presenter.present(number, &token);
                    let answer = match gone_after {
                        None => Some(asking.await),
                        Some(span) => tokio::time::timeout(span, asking).await.ok(),
                    };
                    let is_refused = answer.as_ref().is_some_and(Answer::is_refused);
                    let times = CallerTimes { asked_us, refused_us: is_refused.then(unix_us) };
                    (family, times, answer)
                });
            }
        }
        ready.wait().await;
        Wave { families: tokens.len(), watched, callers, go }
    }

    async fn close(&self) {
        match &self.presenter.coordination {
            Coordination::None => {}
            Coordination::By(coordinator) => coordinator.close(Duration::from_secs(5)).await,
        }
    }
}

/// Callers at the starting line.
struct Wave {
    families: usize,
    /// The callers of so many of them tell their times.
    watched: usize,
    callers: JoinSet<(usize, CallerTimes, Option<Answer>)>,
    go: watch::Sender<()>,
}

impl Wave {
    /// Lets all callers go at once, and listens to every one of them.
    async fn release(mut self, at_unix_us: u64) -> Presented {
        tokio::time::sleep(Duration::from_micros(at_unix_us.saturating_sub(unix_us()))).await;
        self.go.send_replace(());

        let mut families: Vec<Heard> = Vec::new();
        families.resize_with(self.families, Heard::default);
        let mut presented = Presented { first_unix_us: u64::MAX, last_unix_us: 0, families };
        while let Some(ended) = self.callers.join_next().await {
            let (family, times, answer) = ended.expect("BUG: callers neither panic nor are aborted");
            presented.first_unix_us = presented.first_unix_us.min(times.asked_us);
            presented.last_unix_us = presented.last_unix_us.max(times.asked_us);
            if family < self.watched {
                presented.families[family].times.push(times);
            }
            if let Some(answer) = answer {
                presented.families[family].add(answer);
            }
        }
        presented
    }
}

impl Answer {
    /// Whether the caller was told `invalid_grant`.
    fn is_refused(&self) -> bool {
        self.tokens.as_ref().is_err_and(|none| none.is_invalid_grant)
    }
}

impl Heard {
    fn add(&mut self, answer: Answer) {
        self.waits_us.push(u64::try_from(answer.wait.as_micros()).unwrap_or(u64::MAX));
        match answer.tokens {
            Ok(tokens) => {
                self.access_tokens.insert(tokens.access_token);
                if let Some(token) = tokens.refresh_token
                    && self.next.as_ref().is_none_or(|next| next.fence <= tokens.fence)
                {
                    self.next = Some(Next { fence: tokens.fence, token });
                }
                match tokens.role {
                    Some(Role::Led) => self.roles.led += 1,
                    Some(Role::JoinedHere) => self.roles.joined_here += 1,
                    Some(Role::JoinedFleet) => self.roles.joined_fleet += 1,
                    Some(Role::Latecomer) => self.roles.latecomer += 1,
                    // A role that this storm has no column for, or no coordinator at all.
                    Some(_) | None => {}
                }
            }
            Err(NoTokens { reason, is_invalid_grant }) => {
                self.refused += u64::from(is_invalid_grant);
                *self.errors.entry(reason).or_default() += 1;
            }
        }
    }
}
