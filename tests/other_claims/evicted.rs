//! Each key of a login is taken away, as an eviction may, while nobody refreshes and while claims wait: nobody hangs, and no walker
//! presents a token that was presented before.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::time::Duration;

use refresh_coordinator::{Config, RefreshCoordinator, RefreshError, Refreshed};
use tokio::task::{JoinSet, LocalSet};

use crate::caller::Caller;
use crate::provider::{Presented, Provider};
use crate::support::fleet::{connect, quick};
use crate::support::redis::RedisServer;
use crate::support::wait::until;

/// What stands for a login, by the names of the keys. A lock that is evicted is another matter: then a second may lead.
const OF_LOGIN: [&str; 5] = ["family", "order", "answers", "flight", "held"];

/// Pods on a server of others, a login of its own, and who refreshes it.
struct Stage {
    config: Config,
    pods: Vec<RefreshCoordinator>,
    provider: Provider,
    callers: [Caller; 3],
}

impl Stage {
    /// Three claims have gone on twice, each with its own token.
    async fn on(redis: &RedisServer) -> Self {
        let config = quick().with_keep_outcome(Duration::ZERO);
        let (mut pods, provider) = (Vec::new(), Provider::prompt());
        for _ in 0..3 {
            pods.push(connect(redis, &config).await);
        }
        let mut callers = Caller::three(&provider, "f.1");
        for pod in &pods[..2] {
            for caller in &mut callers {
                caller.goes_on(pod).await;
            }
        }
        Self { config, pods, provider, callers }
    }

    async fn keys(&self, redis: &RedisServer) -> Vec<String> {
        let tag = format!("rc:{{{}}}:", self.config.namespace);
        let keys = redis.keys(&format!("{tag}*")).await;
        let name = |key: &str| key[tag.len()..].split(':').next().expect("a name").to_owned();
        keys.into_iter().filter(|key| OF_LOGIN.contains(&name(key).as_str())).collect()
    }

    /// All come at once.
    fn come(&self) -> JoinSet<Result<Refreshed, RefreshError>> {
        let mut asked = JoinSet::new();
        for (caller, pod) in self.callers.iter().cloned().zip(self.pods.iter().cloned()) {
            asked.spawn(async move { caller.told_at_last(&pod).await });
        }
        asked
    }

    /// The provider answers nobody yet.
    async fn one_leads_and_two_wait(&self) -> JoinSet<Result<Refreshed, RefreshError>> {
        let joined = || self.pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>();
        let (before, joined_before) = (self.provider.presented().len(), joined());
        self.provider.hold();
        let asked = self.come();
        self.provider.asked(before + 1).await;
        until("two wait for their turn", async || joined() >= joined_before + 2).await;
        asked
    }

    /// Answers whether all were served. Nobody may hang, and no walker may present what was presented before.
    fn judged(&self, what: &str, told: &[Result<Refreshed, RefreshError>]) -> bool {
        let hangs = told.iter().filter_map(|told| told.as_ref().err()).find(|error| error.is_transient());
        assert!(hangs.is_none(), "{what}: {hangs:?} for half a minute");
        let mut presented = HashSet::new();
        for Presented { asked, token, scope } in self.provider.presented() {
            let is_again = !presented.insert(token.clone());
            assert!(!is_again || asked == token, "{what}: {token} again for {scope}, which came with {asked}");
        }
        told.iter().all(Result::is_ok)
    }
}

/// How a key is called whatever namespace, token or login it is of.
fn kind(key: &str) -> &str {
    key.split('}').nth(1).and_then(|rest| rest.split(':').nth(1)).expect("a key of ours")
}

#[track_caller]
fn are_there(keys: &[String], names: &[&str]) {
    let there: BTreeSet<_> = keys.iter().map(|key| kind(key)).collect();
    assert!(names.iter().all(|name| there.contains(name)), "{names:?} of {there:?}");
}

async fn evicted_at_rest(redis: Rc<RedisServer>, number: usize) -> Option<String> {
    let stage = Stage::on(&redis).await;
    let keys = stage.keys(&redis).await;
    are_there(&keys, &["family", "answers", "flight"]);
    let key = keys.get(number)?;

    redis.cli(&["DEL", key]).await;
    let mut told = stage.come().join_all().await;
    told.extend(stage.come().join_all().await);

    let is_served = stage.judged(&format!("DEL {key} at rest"), &told);
    Some(format!("{} {}", kind(key), if is_served { "served" } else { "logged out" }))
}

async fn evicted_while_claims_wait(redis: Rc<RedisServer>, number: usize) -> Option<String> {
    let stage = Stage::on(&redis).await;
    let asked = stage.one_leads_and_two_wait().await;
    let keys = stage.keys(&redis).await;
    are_there(&keys, &["family", "order", "flight"]);
    let Some(key) = keys.get(number) else {
        stage.provider.release();
        asked.join_all().await;
        return None;
    };

    redis.cli(&["DEL", key]).await;
    redis.wait(2 * stage.config.lease).await;
    stage.provider.release();
    let mut told = asked.join_all().await;
    told.extend(stage.come().join_all().await);

    let is_served = stage.judged(&format!("DEL {key} while claims wait"), &told);
    assert!(is_served || kind(key) != "order", "the order is only who is next: {key}");
    Some(format!("{} {}", kind(key), if is_served { "served" } else { "logged out" }))
}

/// Some beside each other, each of a login and a namespace of its own, until there is no key of that number.
async fn each_key<F: Future<Output = Option<String>> + 'static>(evicted: impl Fn(Rc<RedisServer>, usize) -> F) {
    const BESIDE: usize = 4;
    let redis = Rc::new(RedisServer::start_own(&[]).await);
    let all = async {
        let (mut told, mut next) = (Vec::new(), 0);
        while told.len() == next {
            let mut runs = JoinSet::new();
            for number in next..next + BESIDE {
                runs.spawn_local(evicted(Rc::clone(&redis), number));
            }
            next += BESIDE;
            told.extend(runs.join_all().await.into_iter().flatten());
        }
        told.sort();
        println!("{} keys: {told:?}", told.len());
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_of_a_login_that_is_evicted_between_two_refreshes_makes_no_walker_present_a_token_again() {
    each_key(evicted_at_rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_of_a_login_that_is_evicted_while_claims_wait_makes_nobody_hang() {
    each_key(evicted_while_claims_wait).await;
}

/// The note of which server decides is taken away as well.
async fn forget_server(stage: &Stage, redis: &RedisServer) {
    let noted = format!("rc:{{{}}}:incarnation", stage.config.namespace);
    assert_eq!(redis.cli(&["DEL", &noted]).await, "1");
}

/// All three are served, now and once more, and no token is presented twice.
async fn all_go_on(stage: &Stage, asked: JoinSet<Result<Refreshed, RefreshError>>) {
    let mut told = asked.join_all().await;
    told.extend(stage.come().join_all().await);
    assert!(stage.judged("without the note of the server", &told), "{told:?}");
    assert_eq!((stage.provider.twice(), stage.provider.lost()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn note_of_the_server_that_is_evicted_between_two_refreshes_keeps_no_claim_from_going_on() {
    let redis = RedisServer::start_own(&[]).await;
    let stage = Stage::on(&redis).await;

    forget_server(&stage, &redis).await;

    all_go_on(&stage, stage.come()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn note_of_the_server_that_is_evicted_while_claims_wait_keeps_none_of_them_from_going_on() {
    let redis = RedisServer::start_own(&[]).await;
    let stage = Stage::on(&redis).await;
    let asked = stage.one_leads_and_two_wait().await;

    forget_server(&stage, &redis).await;
    stage.provider.release();

    all_go_on(&stage, asked).await;
}
