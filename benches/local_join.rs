//! How long after the leader's end is the last of 1, 1,000 and 10,000 callers of one flight back, in one process, and
//! how much CPU does each of them cost?
//!
//! Every caller is a task of its own, as a request is. The leader takes 50 ms; the clock starts when its function has
//! the answer. The floor is what tokio takes for as many tasks that wait for one `Notify` and share nothing else. What
//! a joiner costs in bytes is measured by `allocations`, where counting does not disturb the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use refresh_coordinator::{Refresh, RefreshCoordinator, TokenResponse};
use refresh_coordinator_benches::clock::{cpu, now_ns};
use refresh_coordinator_benches::plot::Plot;
use refresh_coordinator_benches::pods::{PROVIDER, answer, token, told, wide};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::{median, us};
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::sync::Notify;

/// What all callers of a round leave behind.
struct Round {
    ended: AtomicU64,
    last_back: AtomicU64,
    out: AtomicUsize,
    all_back: Notify,
}

impl Round {
    fn new(callers: usize) -> Arc<Self> {
        Arc::new(Self {
            ended: AtomicU64::new(0),
            last_back: AtomicU64::new(0),
            out: AtomicUsize::new(callers),
            all_back: Notify::new(),
        })
    }

    /// The provider's work. The clock starts when it is done.
    async fn work(&self) {
        tokio::time::sleep(PROVIDER).await;
        self.ended.store(now_ns(), Ordering::Relaxed);
    }

    fn back(&self) {
        self.last_back.fetch_max(now_ns(), Ordering::Relaxed);
        if self.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_back.notify_one();
        }
    }
}

/// Whoever shares a flight.
#[derive(Clone)]
enum Contestant {
    Floor,
    Coordinator(RefreshCoordinator),
    Moka(moka::future::Cache<String, Arc<TokenResponse>>),
    SingleflightAsync(Arc<singleflight_async::SingleFlight<String, Arc<TokenResponse>>>),
    AsyncSingleflight(Arc<async_singleflight::Group<String, Arc<TokenResponse>, ()>>),
}

impl Contestant {
    fn name(&self) -> &'static str {
        match self {
            Self::Floor => "floor: tasks and one Notify",
            Self::Coordinator(_) => "coordinator",
            Self::Moka(_) => "moka get_with",
            Self::SingleflightAsync(_) => "singleflight-async",
            Self::AsyncSingleflight(_) => "async_singleflight",
        }
    }

    /// Wait in us, and CPU in us for each caller.
    async fn run(self, callers: usize, number: u64) -> (f64, f64) {
        let round = Round::new(callers);
        let token = token("local-join", number);
        let shared = Arc::new(answer());
        let before = cpu();
        match &self {
            Self::Floor => {
                let end = Arc::new(Notify::new());
                for _ in 0..callers {
                    let (round, end) = (Arc::clone(&round), Arc::clone(&end));
                    tokio::spawn(async move {
                        end.notified().await;
                        round.back();
                    });
                }
                let works = Arc::clone(&round);
                tokio::spawn(async move {
                    works.work().await;
                    end.notify_waiters();
                });
            }
            Self::Coordinator(coordinator) => {
                for _ in 0..callers {
                    let (round, coordinator, shared) = (Arc::clone(&round), coordinator.clone(), Arc::clone(&shared));
                    let refresh = Refresh::new(token.as_str());
                    tokio::spawn(async move {
                        let works = Arc::clone(&round);
                        let call = move |_| async move {
                            works.work().await;
                            Ok(Arc::unwrap_or_clone(shared))
                        };
                        let refreshed = coordinator.refresh(refresh, call).await.expect("tokens");
                        round.back();
                        drop(refreshed);
                    });
                }
            }
            Self::Moka(cache) => {
                for _ in 0..callers {
                    let (round, cache, shared, token) =
                        (Arc::clone(&round), cache.clone(), Arc::clone(&shared), token.clone());
                    tokio::spawn(async move {
                        let works = Arc::clone(&round);
                        let tokens = cache.get_with(token, async move {
                            works.work().await;
                            shared
                        });
                        let tokens = tokens.await;
                        round.back();
                        drop(tokens);
                    });
                }
            }
            Self::SingleflightAsync(group) => {
                for _ in 0..callers {
                    let (round, group, shared, token) =
                        (Arc::clone(&round), Arc::clone(group), Arc::clone(&shared), token.clone());
                    tokio::spawn(async move {
                        let works = Arc::clone(&round);
                        let tokens = group.work(token, move || async move {
                            works.work().await;
                            shared
                        });
                        let tokens = tokens.await;
                        round.back();
                        drop(tokens);
                    });
                }
            }
            Self::AsyncSingleflight(group) => {
                for _ in 0..callers {
                    let (round, group, shared, token) =
                        (Arc::clone(&round), Arc::clone(group), Arc::clone(&shared), token.clone());
                    tokio::spawn(async move {
                        let works = Arc::clone(&round);
                        let tokens = group.work(&token, async move {
                            works.work().await;
                            Ok(shared)
                        });
                        let tokens = tokens.await.expect("tokens");
                        round.back();
                        drop(tokens);
                    });
                }
            }
        }
        round.all_back.notified().await;
        let wait = round.last_back.load(Ordering::Relaxed).saturating_sub(round.ended.load(Ordering::Relaxed));
        let used = cpu() - before;
        // The tasks of this round are gone before the next begins.
        tokio::time::sleep(Duration::from_millis(2)).await;
        (us(wait), used.as_secs_f64() * 1e6 / callers as f64)
    }
}

fn main() {
    if !is_wanted() {
        return;
    }
    let mut report = Report::open(
        "local_join",
        "How long after the leader's end is the last of many callers of one flight back, in one process, and how much \
         CPU does each of them cost?",
    );
    let config = wide();
    report.setting(told(&config));
    report.setting(format!("every caller a task on a runtime with all cores, the provider takes {PROVIDER:?}"));
    let rounds = rounds(21);
    report.setting(format!("median of {rounds} rounds, the contestants in turn"));

    let runtime = runtime();
    let contestants = runtime.block_on(async {
        [
            Contestant::Floor,
            Contestant::Coordinator(RefreshCoordinator::in_memory(config).expect("possible settings")),
            Contestant::Moka(moka::future::Cache::new(100_000)),
            Contestant::SingleflightAsync(Arc::default()),
            Contestant::AsyncSingleflight(Arc::new(async_singleflight::Group::new())),
        ]
    });

    let mut curves: Vec<(String, Vec<(f64, f64)>)> =
        contestants.iter().map(|contestant| (contestant.name().to_owned(), Vec::new())).collect();
    let sizes: &[usize] = if is_quick() { &[1, 1_000] } else { &[1, 10, 100, 1_000, 10_000] };
    for &callers in sizes {
        let mut measured = vec![(Vec::new(), Vec::new()); contestants.len()];
        let mut number = 0;
        for round in 0..=rounds {
            for (contestant, (waits, cpus)) in contestants.iter().zip(&mut measured) {
                number += 1;
                // On a worker of the runtime, as a server's tasks are.
                let run = contestant.clone().run(callers, callers as u64 * 1_000_000 + number);
                let (wait, cpu) = runtime.block_on(runtime.spawn(run)).expect("no panic");
                // The first round warms up.
                if round > 0 {
                    waits.push(wait);
                    cpus.push(cpu);
                }
            }
        }
        let medians: Vec<(f64, f64)> = measured.iter().map(|(waits, cpus)| (median(waits), median(cpus))).collect();
        let best_peer = medians[2..].iter().map(|(wait, _)| *wait).fold(f64::INFINITY, f64::min);
        let best_cpu = medians[2..].iter().map(|(_, cpu)| *cpu).fold(f64::INFINITY, f64::min);
        if callers == 1_000 {
            report.limit(format!(
                "{callers} tasks that wait for one Notify, and share nothing else, are all back after {:.0} us: half of the \
                 best peer ({:.0} us) is below what waking them takes",
                medians[0].0,
                best_peer / 2.0
            ));
        }
        for (i, contestant) in contestants.iter().enumerate() {
            let (wait, cpu) = medians[i];
            curves[i].1.push((callers as f64, wait));
            if callers == 10 || callers == 100 {
                continue;
            }
            let name = format!("{callers} callers, {}", contestant.name());
            let waited = Row::new(format!("{name}: last one back"), wait, "us");
            let used = Row::new(format!("{name}: CPU each"), cpu, "us");
            match contestant {
                Contestant::Coordinator(_) if callers == 1_000 => {
                    report.row(waited.beside("the best peer", best_peer).ratio_at_most(0.5));
                    report.row(used.beside("the best peer", best_cpu).at_most(2.0));
                }
                Contestant::Coordinator(_) => {
                    report.row(waited.beside("the best peer", best_peer));
                    report.row(used.beside("the best peer", best_cpu));
                }
                _ => {
                    report.row(waited);
                    report.row(used);
                }
            }
        }
    }
    report.plot(&Plot {
        name: "local_join",
        title: "Last caller back after the leader's end, in one process",
        x: "callers of one flight",
        y: "microseconds",
        curves,
    });
}
