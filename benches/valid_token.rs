//! What does a caller pay for the access token of its session while that is valid, in one process with 1,000 sessions, from 1 task
//! and from 64?
//!
//! Each caller gets a token of its own, as a request header needs it. Peers: a mutex for each session, written by hand, and
//! aliri_tokens with a watcher for each session. Neither asks a store that could be Redis or a database, and none of the two could be
//! asked on another pod; aliri_tokens has two tasks for each session, and does not look whether the token is valid.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aliri_clock::DurationSecs;
use aliri_tokens::backoff::ErrorBackoffConfig;
use aliri_tokens::jitter::NullJitter;
use aliri_tokens::sources::ConstTokenSource;
use aliri_tokens::{AccessToken, TokenWatcher};
use dashmap::DashMap;
use refresh_coordinator::tokens::{AccessTokens, MemoryTokens};
use refresh_coordinator_benches::report::{Report, Row};
use refresh_coordinator_benches::stats::median;
use refresh_coordinator_benches::valid::{ACCESS_TOKEN_BYTES, LIFETIME, access_token, access_tokens, sessions};
use refresh_coordinator_benches::{is_quick, is_wanted, rounds, runtime};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const SESSIONS: usize = 1_000;

/// Something that has a valid token for each session. Answers how long it is.
trait Source: Clone + Send + Sync + 'static {
    fn token(&self, session: &str) -> impl Future<Output = usize> + Send;
}

impl Source for AccessTokens<MemoryTokens> {
    async fn token(&self, session: &str) -> usize {
        AccessTokens::token(self, session).await.expect("it is valid").expose().len()
    }
}

/// A mutex for each session, held while its token is refreshed: as applications write it first.
#[derive(Clone)]
struct ByHand(Arc<DashMap<String, Arc<Mutex<Held>>>>);

struct Held {
    access_token: String,
    expires_at: SystemTime,
}

impl Source for ByHand {
    async fn token(&self, session: &str) -> usize {
        let held = Arc::clone(&self.0.get(session).expect("a session"));
        let held = held.lock().await;
        assert!(SystemTime::now() + Duration::from_secs(60) < held.expires_at, "nothing is to be refreshed");
        held.access_token.clone().len()
    }
}

#[derive(Clone)]
struct Watchers(Arc<DashMap<String, TokenWatcher>>);

impl Watchers {
    async fn of(sessions: &[String]) -> Self {
        let watchers = DashMap::new();
        for session in sessions {
            let lifetime = DurationSecs(LIFETIME.as_secs());
            let source = ConstTokenSource::new(AccessToken::from(access_token())).with_token_valid_for(lifetime);
            let watcher = TokenWatcher::spawn_from_token_source(source, NullJitter, ErrorBackoffConfig::default());
            watchers.insert(session.clone(), watcher.await.expect("it always has a token"));
        }
        Self(Arc::new(watchers))
    }
}

impl Source for Watchers {
    async fn token(&self, session: &str) -> usize {
        let watcher = self.0.get(session).expect("a session");
        let token = watcher.token().access_token().to_owned();
        token.as_str().len()
    }
}

/// Nanoseconds of wall time for each token.
async fn time(source: &impl Source, sessions: &Arc<Vec<String>>, tasks: usize, each: usize) -> f64 {
    // Driven from a worker, as a server's tasks are.
    let mut running = JoinSet::new();
    let began = Instant::now();
    for task in 0..tasks {
        let (source, sessions) = (source.clone(), Arc::clone(sessions));
        running.spawn(async move {
            // Each task begins elsewhere, or all would ask for one session at a time.
            for session in sessions.iter().cycle().skip(task * SESSIONS / tasks).take(each) {
                assert_eq!(source.token(session).await, ACCESS_TOKEN_BYTES);
            }
        });
    }
    running.join_all().await;
    began.elapsed().as_nanos() as f64 / (tasks * each) as f64
}

fn main() {
    if !is_wanted() {
        return;
    }
    let mut report = Report::open(
        "valid_token",
        "What does a caller pay for the access token of its session while that is valid, in one process?",
    );
    let each = if is_quick() { 20_000 } else { 200_000 };
    report.setting(format!("{SESSIONS} sessions in memory, access tokens of {ACCESS_TOKEN_BYTES} bytes"));
    let runtime = runtime();
    let sessions = Arc::new(sessions(SESSIONS));
    // Inside the runtime: the coordinator has background tasks, and each watcher has two.
    let (ours, by_hand, watchers) = runtime.block_on(async {
        let by_hand = DashMap::new();
        for session in sessions.iter() {
            let held = Held { access_token: access_token(), expires_at: SystemTime::now() + LIFETIME };
            by_hand.insert(session.clone(), Arc::new(Mutex::new(held)));
        }
        (access_tokens(&sessions), ByHand(Arc::new(by_hand)), Watchers::of(&sessions).await)
    });
    for tasks in [1, 64] {
        let each = each / tasks;
        let mut taken = Vec::new();
        for round in 0..=rounds(9) {
            let takes = runtime.block_on(async {
                [
                    time(&ours, &sessions, tasks, each).await,
                    time(&by_hand, &sessions, tasks, each).await,
                    time(&watchers, &sessions, tasks, each).await,
                ]
            });
            if round > 0 {
                taken.push(takes);
            }
        }
        let [ours, by_hand, watchers] =
            std::array::from_fn(|i| median(&taken.iter().map(|takes| takes[i]).collect::<Vec<_>>()));
        let row = || Row::new(format!("{tasks} tasks: time for each"), ours, "ns");
        report.row(row().beside("a mutex for each session", by_hand));
        report.row(row().beside("aliri_tokens, a watcher for each session", watchers));
    }
    report.note(
        "the peers hold tokens in this process alone, and aliri_tokens does not look whether a token is valid: what the \
         coordinator adds is a call to a store that may be another server, with its timeout",
    );
}
