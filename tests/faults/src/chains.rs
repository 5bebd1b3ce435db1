//! Chains of tokens: tabs that close in mid-request and come again with the old token, and tabs that are always one token
//! late. What happens to the other fleets happens to them, at three moments of a chain at once.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::arena::{Arena, First};
use crate::clock::now_us;
use crate::faults::{Act, Data, Fault, Scope};
use crate::fleet::Call;
use crate::history::{ClientResult, Harm, Kind, Run, What};
use crate::proxy::Way;
use crate::random::Random;
use crate::steps::Stage;
use crate::tokens::{Mode, Token};
use crate::wire::{Order, Rules};

/// What a fleet does that walks chains: answers are fresh for so short that a row is over soon, and a lost leader is found
/// soon.
pub(crate) fn rules(rules: Rules) -> Rules {
    Rules { walks: true, lease_ms: 1000, keep_outcome_ms: 1500, ..rules }
}

/// A fault, and the sessions that it happens to.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) fault: Fault,
    habit: Habit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// The tab closes while the leader's call is in flight, and comes again with the old token.
    Closes,
    /// Two tabs without a shared store take turns: each comes with a token that the other has had rotated.
    IsLate,
}

/// How far a chain is when the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The first token is at the provider.
    Flying,
    /// The answer is held.
    Held,
    /// The access token was over, so a caller with the first token has the second one presented.
    Walking,
}

/// How many sessions are at each of the moments.
const SESSIONS: usize = 6;
/// How long the provider takes for each token of a chain, in ms.
const CALL_MS: u64 = 400;
/// An access token that lives for 4 s is not handed out any more when half of its life is over.
const ACCESS_OVER: Duration = Duration::from_millis(2100);
/// In this time a step of a chain is done, if it can be.
const STEP: Duration = Duration::from_secs(4);

impl Chain {
    pub(crate) fn all() -> Vec<Self> {
        use {Harm::*, Kind::*, Scope::*};
        let restart = |data| (Redis, Fleet, Store, Act::Restart(data));
        let rows = [
            ("tab closed", "one token late", (Process, OnePod, Seen, Act::Nothing)),
            ("tab closed, pod killed", "one token late, pod killed", (Process, OnePod, Seen, Act::Kill)),
            ("tab closed, redis restarted empty", "one token late, redis restarted empty", restart(Data::Nothing)),
            ("tab closed, redis keeps its data", "one token late, redis keeps its data", restart(Data::All)),
            ("tab closed, FLUSHALL", "one token late, FLUSHALL", (Redis, Fleet, Store, Act::Forgets(&["FLUSHALL"]))),
            (
                "tab closed, cut off from redis",
                "one token late, cut off from redis",
                (Connection, OnePod, CutOff, Act::RedisWay { way: Way::Cut, ms: 900 }),
            ),
        ];
        let habits = |(closed, late, (kind, scope, harm, act))| {
            [(closed, Habit::Closes), (late, Habit::IsLate)]
                .map(|(name, habit)| Self { fault: Fault::new(name, kind, scope, harm, act), habit })
        };
        rows.into_iter().flat_map(habits).collect()
    }

    pub(crate) async fn run(&self, arena: &Rc<Arena>, id: usize, random: &mut Random) -> Run {
        let fault = &self.fault;
        let victim = random.below(arena.size());
        if fault.scope == Scope::OnePod {
            arena.victims.borrow_mut().insert(victim);
        }
        let scene =
            Rc::new(Scene { arena: Rc::clone(arena), run: id, victim, habit: self.habit, ready: Default::default() });
        let mut sessions = Vec::new();
        let mut begin = |moment| {
            for number in 0..SESSIONS {
                let random = random.fork(&format!("{moment:?} {number}"));
                sessions.push(tokio::task::spawn_local(Rc::clone(&scene).session(moment, number, random)));
            }
        };
        begin(Moment::Walking);
        sleep(ACCESS_OVER - Duration::from_millis(CALL_MS)).await;
        begin(Moment::Held);
        scene.all_at(Moment::Held).await;
        scene.all_at(Moment::Walking).await;
        begin(Moment::Flying);
        scene.all_at(Moment::Flying).await;

        let pods = match fault.scope {
            Scope::OnePod => arena.number(victim).into_iter().collect(),
            Scope::Fleet => Vec::new(),
        };
        arena.recorder.now(What::FaultBegan { run: id, harm: fault.harm, pods });
        let from = now_us();
        fault.inject(arena, victim, &mut []).await;
        if matches!(fault.act, Act::Restart(_)) {
            arena.recorder.now(What::RedisRestarted { from });
        }
        arena.recorder.now(What::FaultEnded { run: id });

        let mut ended = Vec::new();
        for session in sessions {
            ended.push(session.await.expect("BUG: a session does not panic"));
        }
        arena.rest(id).await;
        for (token, results) in ended {
            arena.verify(id, &token, &newest_first(results)).await;
        }
        arena.victims.borrow_mut().clear();
        Run {
            id,
            fault: fault.name.to_owned(),
            nothing_was_sent: false,
            leader_dies: false,
            call_ms: CALL_MS,
            kind: fault.kind,
        }
    }
}

/// The newest token that anybody was told is the one that must work.
fn newest_first(mut results: Vec<ClientResult>) -> Vec<ClientResult> {
    results.sort_by_key(|result| std::cmp::Reverse(successor(result).map(|token| token.generation)));
    results
}

fn successor(result: &ClientResult) -> Option<Token> {
    match result {
        ClientResult::Success { successor } => Token::read(successor),
        ClientResult::Over { .. } | ClientResult::GaveUp { .. } | ClientResult::Dropped => None,
    }
}

/// Nobody is there yet.
struct Ready(Semaphore);

impl Default for Ready {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

struct Scene {
    arena: Rc<Arena>,
    run: usize,
    victim: usize,
    habit: Habit,
    /// For each moment a permit for each session that is there.
    ready: [Ready; 3],
}

impl Scene {
    /// Waits for the sessions of a moment. What is not there in time is hit wherever it is.
    async fn all_at(&self, moment: Moment) {
        _ = timeout(STEP, self.ready[moment as usize].0.acquire_many(SESSIONS as u32)).await;
    }

    async fn session(self: Rc<Self>, moment: Moment, number: usize, random: Random) -> (Token, Vec<ClientResult>) {
        // What is held of every other closed tab stays good, the rest has to be walked on from.
        let is_long = self.habit == Habit::Closes && moment != Moment::Walking && number % 2 == 1;
        let token = self.arena.new_token(if is_long { Mode::Well } else { Mode::Short }, CALL_MS);
        let results = match self.habit {
            Habit::Closes => self.closes(&token, moment, number, random).await,
            Habit::IsLate => self.is_late(&token, moment, number, random).await,
        };
        (token, results)
    }

    async fn closes(
        self: &Rc<Self>,
        token: &Token,
        moment: Moment,
        number: usize,
        mut random: Random,
    ) -> Vec<ClientResult> {
        let mut results = Vec::new();
        let text = token.text();
        if let Some(call) = self.sends(&text, number).await {
            self.close(&call);
            self.is_at(moment, Moment::Flying);
            answered(call).await;
        }
        self.is_at(moment, Moment::Held);
        if moment == Moment::Walking {
            sleep(ACCESS_OVER).await;
            let call = self.sends(&text, number + 1).await;
            self.is_at(moment, Moment::Walking);
            match call {
                // It closes once more, and nobody has the newest token.
                Some(call) if number.is_multiple_of(2) => {
                    self.close(&call);
                    answered(call).await;
                }
                call => results.push(self.comes(&text, call, &mut random).await),
            }
        }
        for coming in 0..2 {
            if results.last().is_some_and(|result| successor(result).is_none()) {
                break;
            }
            let pause = if coming == 0 { self.arena.rules.keep_outcome_ms } else { ACCESS_OVER.as_millis() as u64 };
            sleep(Duration::from_millis(pause + random.next() % 300)).await;
            if number.is_multiple_of(3) {
                self.arena.intrude(&text, random.below(self.arena.size())).await;
            }
            let mut other = random.fork("other");
            let (one, two) = (self.comes(&text, None, &mut random), self.comes(&text, None, &mut other));
            if number.is_multiple_of(2) {
                results.extend(<[_; 2]>::from(tokio::join!(one, two)));
            } else {
                results.push(one.await);
            }
        }
        results
    }

    async fn is_late(
        self: &Rc<Self>,
        token: &Token,
        moment: Moment,
        number: usize,
        mut random: Random,
    ) -> Vec<ClientResult> {
        let mut tabs = [token.text(), token.text()];
        let mut results = Vec::new();
        for turn in 0..4 {
            let tab = &mut tabs[turn % 2];
            // A turn is looked at in mid-request where the fault is to find it there.
            let call = match (turn, moment) {
                (0, Moment::Flying) | (1, Moment::Walking) => self.sends(tab, number + turn).await,
                _ => None,
            };
            match turn {
                0 => self.is_at(moment, Moment::Flying),
                1 => self.is_at(moment, Moment::Walking),
                _ => {}
            }
            let result = self.comes(tab, call, &mut random).await;
            if turn == 0 {
                self.is_at(moment, Moment::Held);
            }
            let told = successor(&result);
            results.push(result);
            let Some(told) = told else { break };
            *tab = told.text();
            sleep(ACCESS_OVER + Duration::from_millis(random.next() % 100)).await;
        }
        results
    }

    fn is_at(&self, wanted: Moment, moment: Moment) {
        if wanted == moment {
            self.ready[moment as usize].0.add_permits(1);
        }
    }

    /// A call whose request is at the provider: of every other session at the pod that something happens to.
    async fn sends(&self, token: &str, number: usize) -> Option<Call> {
        let slot = (self.victim + number % 2) % self.arena.size();
        let mut call = self.arena.first(slot, token, self.run, First::default())?;
        call.reaches(Stage::Sent, Instant::now() + STEP).await;
        Some(call)
    }

    /// The caller goes away; which pod it asked only that pod knows.
    fn close(&self, call: &Call) {
        self.arena.pods.borrow().iter().flatten().for_each(|pod| pod.order(Order::Drop { call: call.call }));
    }

    async fn comes(&self, token: &str, call: Option<Call>, random: &mut Random) -> ClientResult {
        let slot = random.below(self.arena.size());
        Rc::clone(&self.arena).client(token.to_owned(), slot, call, Some(self.run), random.fork("client")).await
    }
}

/// Waits until the call has an answer, or cannot have one any more.
async fn answered(mut call: Call) {
    call.is_answered(Instant::now() + STEP).await;
}
