//! The driver: fleets under several policies, the same faults in an order from the seed, then the judgement.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::arena::{Arena, Binaries, First};
use crate::arguments::RunArguments;
use crate::checker::{self, Report};
use crate::faults::{self, Fault, Scope};
use crate::history::{ClientResult, Kind, Run, What};
use crate::planned::Planned;
use crate::plans::{Plan, every_name, stages};
use crate::random::Random;
use crate::sabotage;
use crate::steps::Stage;
use crate::table;
use crate::tokens::{Mode, Token};
use crate::topology::servers::Topology;
use crate::topology::watch;
use crate::transport::Transport;
use crate::wire::{Makes, Trouble};

pub(crate) async fn run(arguments: RunArguments) -> std::process::ExitCode {
    let binary = std::env::current_exe().expect("its own path");
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    if arguments.over != Transport::Tcp && arguments.topology.as_deref().is_some_and(|named| named != "standalone") {
        eprintln!("faults: --over mtls and --over socket are ways to one server: leave --topology out");
        return 2.into();
    }
    let sabotage = match arguments.sabotage.as_deref().map(sabotage::find) {
        None => None,
        Some(Some(sabotage)) => Some(sabotage),
        Some(None) => {
            eprintln!("faults: no such sabotage; there are {}", sabotage::names().join(", "));
            return 2.into();
        }
    };
    let pod = sabotage::pod_binary(sabotage, &binary, temporary.path());
    let other = sabotage::other_build(&pod, temporary.path());
    let binaries = Binaries { own: binary, pod, other };
    let makes = sabotage.map_or(Makes::Coordinator, |sabotage| sabotage.makes);
    let stages = stages(&arguments);
    if stages.iter().flatten().all(|plan| plan.faults.is_empty()) {
        eprintln!("faults: no such fault or fleet there; there are {}", every_name().join(", "));
        return 2.into();
    }
    println!("seed {}; the same again: tests/run faults --seed {0}", arguments.seed);
    let random = Random::new(arguments.seed);
    let began = Instant::now();
    let mut fleets = Vec::new();
    for stage in stages {
        let mut tasks = Vec::new();
        for plan in stage {
            let (binaries, dir) = (binaries.clone(), dir.clone());
            let (arguments, random) = (arguments.clone(), random.fork(plan.name));
            tasks.push(tokio::task::spawn_local(async move {
                one_fleet(plan, makes, &binaries, &dir, &arguments, random).await
            }));
        }
        for task in tasks {
            match task.await {
                Ok(fleet) => fleets.push(fleet),
                Err(error) => {
                    eprintln!("faults: a fleet could not be driven to its end: {error}");
                    return 1.into();
                }
            }
        }
    }
    // Only now: the driver is the network of all fleets, and stands still while it thinks.
    let mut reports = Vec::new();
    for (arena, runs) in fleets {
        reports.push(judged(&arena, &runs, arguments.keep.is_some()).await);
    }
    if faults::wrong_clock().is_none() {
        println!("NOT RUN: a pod's clock wrong by an hour: libfaketime is missing; `tests/run --install` gets it");
    }
    let failed = table::print(&reports, began.elapsed());
    if failed == 0 { 0.into() } else { 1.into() }
}

async fn one_fleet(
    plan: Plan,
    makes: Makes,
    binaries: &Binaries,
    dir: &Path,
    arguments: &RunArguments,
    random: Random,
) -> (Rc<Arena>, Vec<Run>) {
    let Plan { name, topology, pods, crowd, rules, faults } = plan;
    let arena = Arena::start(name, (topology, arguments.over), rules, makes, binaries, dir, (pods, crowd)).await;
    arena.start_background(&random);
    tokio::task::spawn_local(Rc::clone(&arena).watch_budget());
    tokio::task::spawn_local(Rc::clone(&arena).watch_machine());
    tokio::task::spawn_local(watch::watch(Rc::clone(&arena)));
    // A while without any fault; on a new server leads come after a lease.
    sleep(if topology == Topology::Standalone { Duration::from_secs(1) } else { arena.lease() }).await;

    let schedule = schedule(arguments, topology, &faults, random.fork("schedule"));
    let end = Instant::now() + if arguments.long { Duration::from_secs(3300) } else { Duration::from_secs(840) };
    let mut runs = Vec::new();
    for (id, planned) in schedule.into_iter().enumerate() {
        if Instant::now() > end {
            break;
        }
        let mut random = random.fork(&format!("run {id}"));
        let began = Instant::now();
        let run = match planned {
            Planned::Fault(fault) => one_run(&arena, id, &fault, &mut random).await,
            Planned::Chain(chain) => chain.run(&arena, id, &mut random).await,
        };
        eprintln!("{name}: {:3} {} ({:.1} s)", id, run.fault, began.elapsed().as_secs_f64());
        runs.push(run);
    }
    arena.end().await;
    (arena, runs)
}

async fn judged(arena: &Arena, runs: &[Run], is_kept: bool) -> Report {
    let secrets = arena.secrets_found().await;
    arena.recorder.now(What::AtRest { run: runs.len(), permits: 0, counter: 0, locks: 0, endless: vec![], secrets });
    let events = arena.recorder.take();
    if is_kept {
        let lines: Vec<String> =
            events.iter().map(|event| serde_json::to_string(event).expect("BUG: it can be written as JSON")).collect();
        std::fs::write(arena.dir.join("history.jsonl"), lines.join("\n")).expect("the history is kept");
    }
    checker::judge(arena.name, &arena.rules, runs, &events)
}

/// What happens to a fleet, in the order the seed wants.
fn schedule(arguments: &RunArguments, topology: Topology, faults: &[Planned], mut random: Random) -> Vec<Planned> {
    let long = if topology == Topology::Standalone { 14 } else { 5 };
    let repeat = arguments.repeat.unwrap_or(if arguments.long { long } else { 1 });
    let mut schedule = Vec::new();
    for _ in 0..repeat {
        let mut round = faults.to_vec();
        random.shuffle(&mut round);
        schedule.extend(round);
    }
    schedule
}

/// A session that is refreshed while the fault happens, and its clients.
struct Session {
    token: Token,
    clients: Vec<tokio::task::JoinHandle<ClientResult>>,
}

/// How many sessions at most begin in the middle of a fault.
const LATER: usize = 12;

async fn one_run(arena: &Rc<Arena>, id: usize, fault: &Fault, random: &mut Random) -> Run {
    let victim = random.below(arena.size());
    if fault.scope == Scope::OnePod {
        arena.victims.borrow_mut().insert(victim);
        // What the background began there is over, or as good as that.
        sleep(Duration::from_millis(120)).await;
    }
    fault.prepare(arena, victim).await;

    let mut leaders = Vec::new();
    let mut sessions: Vec<Session> = Vec::new();
    let many = match fault.kind {
        Kind::Process | Kind::Connection => arena.crowd,
        Kind::Redis | Kind::Provider => 1,
    };
    let count = (many * fault.sessions).min(arena.rules.max_concurrent as usize / 2);
    for number in 0..count {
        let delay_ms = if fault.is_spread { 20 + random.next() % 700 } else { fault.delay_ms };
        let token = arena.new_token(fault.mode, delay_ms);
        if fault.is_spread {
            sleep(Duration::from_millis(random.next() % (1 + 1500 / count as u64))).await;
        }
        let slot = match fault.scope {
            Scope::OnePod => victim,
            Scope::Fleet => random.below(arena.size()),
        };
        let trouble = fault.trouble.filter(|(calls, _)| number < *calls).map(|(_, trouble)| trouble);
        // One that blocks waits until the others have come as far as they are to.
        let stop = if matches!(trouble, Some(Trouble::Block { .. })) { Some(Stage::Sent) } else { fault.stop };
        let call = arena.first(slot, &token.text(), id, First { stop, trouble });
        if let Some(call) = &call {
            leaders.push(call.clone());
        }
        let client = Rc::clone(arena).client(token.text(), slot, call, Some(id), random.fork(&format!("l{number}")));
        sessions.push(Session { token, clients: vec![tokio::task::spawn_local(client)] });
    }
    let until = Instant::now() + Duration::from_secs(4);
    for leader in leaders.iter_mut().filter(|_| !fault.is_spread) {
        leader.reaches(fault.reach, until).await;
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        let others = arena.size() - 1;
        // Where a leader dies, all other pods wait for some of its flights.
        let joiners = if fault.leader_dies && number < 3 { others } else { 1 + random.below(2) };
        let first = random.below(others);
        for joiner in 0..joiners {
            let slot = (victim + 1 + (first + joiner) % others) % arena.size();
            let client =
                Rc::clone(arena).client(session.token.text(), slot, None, Some(id), random.fork(&format!("j{number}")));
            session.clients.push(tokio::task::spawn_local(client));
        }
    }
    // The joiners have joined, or will find what happens.
    sleep(Duration::from_millis(if fault.is_spread { random.next() % 400 } else { 60 })).await;
    if fault.later_ms > 0 {
        sleep(Duration::from_millis(random.next() % fault.later_ms)).await;
    }
    // Some come in the middle of it, at whatever moment: to flights that are led,
    let lasts_ms = fault.act.away_ms().max(2000);
    for (number, session) in sessions.iter_mut().enumerate() {
        if random.below(2) == 0 {
            let (arena, text, slot) = (Rc::clone(arena), session.token.text(), random.below(arena.size()));
            let (after, its) = (random.next() % (lasts_ms - 500), random.fork(&format!("m{number}")));
            session.clients.push(tokio::task::spawn_local(async move {
                sleep(Duration::from_millis(after)).await;
                arena.client(text, slot, None, Some(id), its).await
            }));
        }
    }
    // and with flights of their own.
    for number in 0..many * fault.sessions.min(LATER) {
        let token = arena.new_token(Mode::Well, 20 + random.next() % 500);
        let mut clients = Vec::new();
        let mut after = random.next() % lasts_ms;
        for _ in 0..1 + random.below(2) {
            let (arena, text, slot) = (Rc::clone(arena), token.text(), random.below(arena.size()));
            let its = random.fork(&format!("s{number}{after}"));
            clients.push(tokio::task::spawn_local(async move {
                sleep(Duration::from_millis(after)).await;
                arena.client(text, slot, None, Some(id), its).await
            }));
            after += random.next() % 200;
        }
        sessions.push(Session { token, clients });
    }

    let mut waiting = Vec::new();
    for Session { token, clients } in sessions {
        let has_tab = random.below(3) == 0;
        let (arena, slot, its) = (Rc::clone(arena), random.below(arena.size()), random.fork(&token.family));
        waiting.push(tokio::task::spawn_local(async move {
            let mut results = Vec::new();
            for client in clients {
                results.push(client.await.expect("BUG: a client does not panic"));
            }
            let has_ended = results.iter().any(|result| match result {
                ClientResult::Success { .. } | ClientResult::Over { .. } => true,
                ClientResult::GaveUp { .. } | ClientResult::Dropped => false,
            });
            if has_tab && has_ended {
                // A slow tab, which still has the old token.
                arena.client(token.text(), slot, None, Some(id), its).await;
            }
            (token, results)
        }));
    }

    let pods = match fault.scope {
        Scope::OnePod => arena.number(victim).into_iter().collect(),
        Scope::Fleet => Vec::new(),
    };
    arena.recorder.now(What::FaultBegan { run: id, harm: fault.harm, pods });
    fault.inject(arena, victim, &mut leaders).await;
    arena.recorder.now(What::FaultEnded { run: id });

    let mut ended = Vec::new();
    for session in waiting {
        ended.push(session.await.expect("BUG: a session does not panic"));
    }
    arena.rest(id).await;
    for (token, results) in ended {
        arena.verify(id, &token, &results).await;
    }
    arena.redis.lock().await.restore().await;
    arena.victims.borrow_mut().clear();
    Run {
        id,
        fault: fault.name.to_owned(),
        nothing_was_sent: fault.nothing_was_sent,
        leader_dies: fault.leader_dies,
        call_ms: fault.delay_ms.max(20),
        kind: fault.kind,
    }
}
