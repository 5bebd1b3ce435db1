//! What both stores promise, told verb by verb: the same history gets the same answers.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Ask, Before, Begun, Completion, Landed, LeaderSeen, Lease, News, Renewed, Standing, Store};
use crate::admission::Terms;
use crate::config::{Config, Uncertain};
use crate::error::Refusal;
use crate::outcome::{Class, Outcome, ProviderFailure, TokenResponse};
use crate::request::Refresh;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::token::Identity;

#[path = "../../tests/support/redis.rs"]
mod server;

use server::RedisServer;

/// A store with two pods, and the time it lives by.
struct Stage {
    a: Store,
    b: Store,
    config: Config,
    redis: Option<RedisServer>,
}

fn config() -> Config {
    Config {
        namespace: format!("contract-{}", Uuid::new_v4().simple()),
        lease: Duration::from_millis(300),
        store_timeout: Duration::from_millis(300),
        retry_lost_after: Some(Duration::ZERO),
        ..Config::default()
    }
}

impl Stage {
    fn in_memory(config: Config) -> Self {
        tokio::time::pause();
        let store = MemoryStore::new();
        let pod = || Store::Memory(store.pod(Arc::new(config.clone())));
        Self { a: pod(), b: pod(), redis: None, config: config.clone() }
    }

    async fn on_redis(config: Config) -> Self {
        let redis = RedisServer::start_own(&[]).await;
        let client = redis::Client::open(redis.url()).expect("a URL");
        let pod = async |name: &str| {
            let store = RedisStore::connect(client.clone(), name, Arc::new(config.clone()), Arc::default()).await;
            Store::Redis(store.expect("redis is there"))
        };
        Self { a: pod("a").await, b: pod("b").await, redis: Some(redis), config: config.clone() }
    }

    /// Waits until the lease of whoever leads this token is over.
    async fn lease_over(&self, ask: &Ask) {
        match &self.redis {
            None => tokio::time::advance(self.config.lease + Duration::from_millis(1)).await,
            Some(redis) => {
                let lock = format!("rc:{{{}}}:lock:{}", self.config.namespace, ask.identity.flight);
                redis.until(&["EXISTS", &lock], "0").await;
            }
        }
    }

    /// Waits until an outcome is no longer fresh.
    async fn pass(&self, span: Duration) {
        match &self.redis {
            None => tokio::time::advance(span).await,
            Some(redis) => redis.wait(span).await,
        }
    }

    /// Everything Redis holds, to see that nothing changed.
    async fn snapshot(&self) -> Option<String> {
        match &self.redis {
            None => None,
            Some(redis) => Some(redis.dump(&self.config.namespace).await),
        }
    }
}

macro_rules! both {
    ($( async fn $name:ident($stage:ident, $config:expr) $body:block )*) => {
        $(
            mod $name {
                use super::*;

                async fn promise($stage: Stage) $body

                #[tokio::test]
                async fn in_memory() {
                    promise(Stage::in_memory($config)).await;
                }

                #[tokio::test]
                async fn on_redis() {
                    promise(Stage::on_redis($config).await).await;
                }
            }
        )*
    };
}

fn ask(token: &str) -> Ask {
    ask_as(Refresh::new(token))
}

fn ask_as(refresh: Refresh) -> Ask {
    Ask { identity: Identity::of(refresh, None).expect("valid"), attempt: Uuid::new_v4() }
}

fn success(name: &str) -> Arc<Outcome> {
    let body = format!(r#"{{"access_token":"{name}","refresh_token":"next"}}"#);
    Arc::new(Outcome::Success(Arc::new(TokenResponse::from_json(body).expect("tokens"))))
}

fn failure(failure: ProviderFailure) -> Arc<Outcome> {
    Arc::new(Outcome::Failure(failure))
}

async fn lead(store: &Store, ask: &Ask) -> Lease {
    match store.begin(ask, None, &Terms::at_once()).await.expect("an answer") {
        Begun::Lead(lease) => lease,
        other => panic!("no lead: {other:?}"),
    }
}

async fn landed(store: &Store, ask: &Ask, joined: Option<u64>) -> Landed {
    match store.begin(ask, joined, &Terms::at_once()).await.expect("an answer") {
        Begun::Landed(landed) => landed,
        other => panic!("nothing landed: {other:?}"),
    }
}

fn access_token(landed: &Landed) -> &str {
    match &*landed.outcome {
        Outcome::Success(tokens) => tokens.access_token(),
        other => panic!("no tokens: {other:?}"),
    }
}

fn completion(outcome: &Arc<Outcome>) -> Completion {
    Completion { outcome: Arc::clone(outcome), verdict: outcome.verdict(), held: Duration::ZERO }
}

async fn complete(store: &Store, lease: &Lease, ask: &Ask, outcome: &Arc<Outcome>) -> Standing {
    store.complete(lease, ask, &completion(outcome)).await.expect("an answer")
}

both! {
    async fn one_leads_and_the_other_is_handed_the_outcome(stage, config()) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&second, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!((joined.fence, joined.leader), (Some(lease.fence), LeaderSeen::Living));

        assert!(matches!(complete(&stage.a, &lease, &first, &success("one")).await, Standing::Ours));

        let News::Landed(told) = joined.waiting.news().await else { panic!("told to look") };
        assert_eq!((access_token(&told), told.fence), ("one", lease.fence));
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "one");
    }

    async fn stale_leader_changes_nothing_but_by_its_success(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        assert_eq!((taken.before, taken.fence > lost.fence), (Before::LostLeaders, true));
        let before = stage.snapshot().await;

        assert_eq!(stage.a.renew(&lost).await.expect("an answer"), Renewed::Lost);
        stage.a.abandon(&lost, &slow).await.expect("an answer");
        let late = complete(&stage.a, &lost, &slow, &failure(ProviderFailure::denied("invalid_grant"))).await;

        assert!(matches!(late, Standing::Stale), "{late:?}");
        assert_eq!(stage.snapshot().await, before);
        assert!(matches!(complete(&stage.a, &lost, &slow, &success("late")).await, Standing::Ours));
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "late");
        // The leader that took over still has the token in hand; what stands is what it is given.
        assert_eq!(stage.b.renew(&taken).await.expect("an answer"), Renewed::Renewed);
        let Standing::Theirs(stands) =
            complete(&stage.b, &taken, &quick, &failure(ProviderFailure::denied("invalid_grant"))).await
        else {
            panic!("a failure over a success");
        };
        assert_eq!((access_token(&stands), stands.fence), ("late", lost.fence));
    }

    async fn late_success_replaces_the_failure_of_who_took_over_and_is_told_again(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &failure(ProviderFailure::denied("invalid_grant"))).await;

        assert!(matches!(complete(&stage.a, &lost, &slow, &success("late")).await, Standing::Ours));

        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "late");
    }

    async fn first_success_stays(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &success("first")).await;
        let before = stage.snapshot().await;

        let Standing::Theirs(stands) = complete(&stage.a, &lost, &slow, &success("second")).await else {
            panic!("a second success replaced the first");
        };

        assert_eq!(access_token(&stands), "first");
        assert_eq!(stage.snapshot().await, before);
    }

    async fn completing_twice_is_completing_once(stage, config()) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;
        let before = stage.snapshot().await;

        assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours));
        assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Lost);
        stage.a.abandon(&lease, &asked).await.expect("an answer");

        assert_eq!(stage.snapshot().await, before);
    }

    async fn leader_that_is_only_late_goes_on(stage, Config { retry_lost_after: Some(Duration::from_secs(30)), ..config() }) {
        let (slow, other) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let Begun::Join(joined) = stage.b.begin(&other, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("led before retry_lost_after");
        };
        assert_eq!(joined.leader, LeaderSeen::Lost);

        assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Renewed);

        let Begun::Join(joined) = stage.b.begin(&other, joined.fence, &Terms::at_once()).await.expect("an answer") else {
            panic!("led beside a leader that lives");
        };
        assert_eq!(joined.leader, LeaderSeen::Living);
        // Nothing was lost after all, so a refusal is a refusal.
        complete(&stage.a, &lease, &slow, &failure(ProviderFailure::denied("invalid_grant"))).await;
        assert_eq!(landed(&stage.b, &other, joined.fence).await.outcome.class(), Class::Denied);
    }

    async fn given_back_lead_leaves_the_token_as_it_was(stage, config()) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&second, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };

        stage.a.abandon(&lease, &first).await.expect("an answer");

        assert!(matches!(joined.waiting.news().await, News::Look));
        assert_eq!(lead(&stage.b, &second).await.before, Before::Nothing);
    }

    async fn given_back_takeover_does_not_forget_who_was_lost(stage, config()) {
        let (dead, shy) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &shy).await;

        stage.b.abandon(&taken, &shy).await.expect("an answer");

        assert_eq!(lead(&stage.a, &ask("t")).await.before, Before::LostLeaders);
    }

    async fn waiter_gets_what_it_joined_when_it_is_no_longer_fresh(stage, Config { keep_failure: Duration::ZERO, ..config() }) {
        let (first, second) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(joined) = stage.b.begin(&second, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        complete(&stage.a, &lease, &first, &failure(ProviderFailure::unknown("reset"))).await;

        assert_eq!(landed(&stage.b, &second, joined.fence).await.outcome.class(), Class::Unknown);

        lead(&stage.b, &ask("t")).await;
    }

    async fn another_claim_waits_and_is_refused_after_a_rotation(stage, config()) {
        let (first, other) = (ask_as(Refresh::new("t").client("app", "pw")), ask_as(Refresh::new("t").client("app", "x")));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(mut joined) = stage.b.begin(&other, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!(joined.fence, None);

        complete(&stage.a, &lease, &first, &success("one")).await;

        assert!(matches!(joined.waiting.news().await, News::Look));
        let Begun::Rejected(Refusal::AnotherClaim { retry_after }) = stage.b.begin(&other, None, &Terms::at_once()).await.expect("an answer")
        else {
            panic!("a rotated token was presented again");
        };
        assert!(retry_after <= stage.config.keep_outcome && retry_after > Duration::ZERO);
    }

    async fn another_claim_leads_after_a_refusal(stage, config()) {
        let (first, other) = (ask_as(Refresh::new("t").client("app", "x")), ask_as(Refresh::new("t").client("app", "pw")));
        let lease = lead(&stage.a, &first).await;
        complete(&stage.a, &lease, &first, &failure(ProviderFailure::denied("invalid_client"))).await;

        lead(&stage.b, &other).await;
    }

    async fn rotated_token_that_comes_again_is_noticed(stage, Config { keep_outcome: Duration::ZERO, ..config() }) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;

        assert_eq!(lead(&stage.b, &ask("t")).await.before, Before::Rotated);
    }

    async fn uncertain_token_is_not_presented_when_the_policy_says_never(
        stage,
        Config { uncertain: Uncertain::Never, keep_failure: Duration::ZERO, ..config() }
    ) {
        let (reset, dead) = (ask("reset"), ask("dead"));
        let lease = lead(&stage.a, &reset).await;
        complete(&stage.a, &lease, &reset, &failure(ProviderFailure::unknown("reset"))).await;
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;

        assert_eq!(landed(&stage.b, &ask("reset"), None).await.outcome.class(), Class::Lost);
        assert_eq!(landed(&stage.b, &ask("dead"), None).await.outcome.class(), Class::Lost);
    }

    async fn late_success_is_for_those_who_joined_the_leader_after_it(stage, Config { keep_outcome: Duration::ZERO, ..config() }) {
        let (slow, quick, waiter) = (ask("t"), ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        let Begun::Join(mut joined) = stage.a.begin(&waiter, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        assert_eq!(joined.fence, Some(taken.fence));

        complete(&stage.a, &lost, &slow, &success("late")).await;

        let News::Landed(told) = joined.waiting.news().await else { panic!("told to look") };
        assert_eq!(access_token(&told), "late");
        assert_eq!(access_token(&landed(&stage.a, &waiter, joined.fence).await), "late");
    }

    async fn success_is_there_for_a_waiter_though_a_newcomer_leads_already(
        stage,
        Config { keep_outcome: Duration::ZERO, ..config() }
    ) {
        let (first, waiter, newcomer) = (ask("t"), ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        let Begun::Join(joined) = stage.b.begin(&waiter, None, &Terms::at_once()).await.expect("an answer") else {
            panic!("two leaders");
        };
        complete(&stage.a, &lease, &first, &success("one")).await;
        lead(&stage.a, &newcomer).await;

        assert_eq!(access_token(&landed(&stage.b, &waiter, joined.fence).await), "one");
    }

    async fn repeated_completion_does_not_bring_back_an_old_success(
        stage,
        Config { keep_outcome: Duration::ZERO, ..config() }
    ) {
        let (first, second) = (ask("t"), ask("t"));
        let old = lead(&stage.a, &first).await;
        complete(&stage.a, &old, &first, &success("old")).await;
        let new = lead(&stage.b, &second).await;
        let before = stage.snapshot().await;

        assert!(matches!(complete(&stage.a, &old, &first, &success("old")).await, Standing::Ours));

        assert_eq!(stage.snapshot().await, before);
        assert!(matches!(complete(&stage.b, &new, &second, &success("new")).await, Standing::Ours));
    }

    async fn second_success_leaves_nothing_to_renew(stage, config()) {
        let (slow, quick) = (ask("t"), ask("t"));
        let lost = lead(&stage.a, &slow).await;
        stage.lease_over(&slow).await;
        let taken = lead(&stage.b, &quick).await;
        complete(&stage.b, &taken, &quick, &success("first")).await;
        complete(&stage.a, &lost, &slow, &success("second")).await;

        assert_eq!(stage.a.renew(&lost).await.expect("an answer"), Renewed::Lost);
        assert_eq!(stage.b.renew(&taken).await.expect("an answer"), Renewed::Lost);
    }

    async fn given_back_takeover_cannot_be_renewed(stage, config()) {
        let (dead, shy) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &shy).await;
        stage.b.abandon(&taken, &shy).await.expect("an answer");

        assert_eq!(stage.b.renew(&taken).await.expect("an answer"), Renewed::Lost);

        assert_eq!(lead(&stage.a, &ask("t")).await.before, Before::LostLeaders);
    }

    async fn takeover_that_asks_nothing_does_not_forget_who_was_lost(
        stage,
        Config { keep_failure: Duration::ZERO, ..config() }
    ) {
        let (dead, next) = (ask("t"), ask("t"));
        lead(&stage.a, &dead).await;
        stage.lease_over(&dead).await;
        let taken = lead(&stage.b, &next).await;
        complete(&stage.b, &taken, &next, &failure(ProviderFailure::not_sent("dns"))).await;

        assert_eq!(lead(&stage.a, &ask("t")).await.before, Before::LostLeaders);
    }

    async fn uncertainty_is_forgotten_when_its_time_is_over(
        stage,
        Config { uncertain: Uncertain::Never, uncertain_memory: Duration::from_secs(1), keep_failure: Duration::ZERO, ..config() }
    ) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &failure(ProviderFailure::unknown("reset"))).await;
        assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::Lost);

        stage.pass(Duration::from_millis(1500)).await;

        lead(&stage.b, &ask("t")).await;
    }

    async fn access_token_of_a_kept_refresh_token_is_not_fresh_past_its_expiry(stage, config()) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        let kept = TokenResponse::from_json(r#"{"access_token":"a","expires_in":2}"#).expect("tokens");
        let outcome = Arc::new(Outcome::Success(Arc::new(kept)));
        let late = Completion { held: Duration::from_secs(3), ..completion(&outcome) };
        stage.a.complete(&lease, &asked, &late).await.expect("an answer");

        lead(&stage.b, &ask("t")).await;
    }

    async fn outcome_is_fresh_for_as_long_as_it_should(stage, Config { keep_outcome: Duration::from_millis(400), ..config() }) {
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        complete(&stage.a, &lease, &asked, &success("one")).await;

        landed(&stage.b, &ask("t"), None).await;
        stage.pass(Duration::from_millis(600)).await;

        lead(&stage.b, &ask("t")).await;
    }
}

/// What only a store can get wrong whose answers may be lost on the way.
mod on_redis {
    use super::*;

    #[tokio::test]
    async fn begin_with_the_same_attempt_gets_the_same_lead() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        let before = stage.snapshot().await;

        assert_eq!(lead(&stage.a, &asked).await.fence, lease.fence);
        assert_eq!(stage.snapshot().await, before);

        // Others may have been admitted meanwhile: it is admitted anew, and still charged once.
        stage.lease_over(&asked).await;
        assert_eq!(lead(&stage.a, &asked).await.fence, lease.fence + 1);
        let session = format!("rc:{{{}}}:attempts:{}", stage.config.namespace, asked.identity.session);
        assert_eq!(stage.redis.as_ref().expect("on redis").cli(&["HGET", &session, "attempts"]).await, "1");
    }

    #[tokio::test]
    async fn attempt_given_up_before_it_arrives_finds_itself_abandoned() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        stage.a.disown(&asked, None).await.expect("an answer");

        stage.a.begin(&asked, None, &Terms::at_once()).await.expect_err("an abandoned attempt led");

        lead(&stage.b, &ask("t")).await;
    }

    #[tokio::test]
    async fn attempt_given_up_after_it_led_is_given_back_and_stays_so() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        lead(&stage.a, &asked).await;
        stage.a.disown(&asked, None).await.expect("an answer");

        stage.a.begin(&asked, None, &Terms::at_once()).await.expect_err("a repeated begin led after all");

        assert_eq!(lead(&stage.b, &ask("t")).await.before, Before::Nothing);
    }

    #[tokio::test]
    async fn renewal_that_arrives_after_the_lead_was_given_back_changes_nothing() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        stage.a.abandon(&lease, &asked).await.expect("an answer");
        let before = stage.snapshot().await;

        assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Lost);

        assert_eq!(stage.snapshot().await, before);
    }

    #[tokio::test]
    async fn leaders_put_back_what_redis_has_forgotten_before_anybody_leads_anew() {
        let stage = Stage::on_redis(config()).await;
        let (first, second) = (ask("one"), ask("two"));
        let one = lead(&stage.a, &first).await;
        let two = lead(&stage.a, &second).await;
        let redis = stage.redis.as_ref().expect("on redis");
        redis.cli(&["FLUSHALL"]).await;

        // Who has seen the last fence is the first to notice.
        let begun = stage.a.begin(&ask("three"), None, &Terms::at_once()).await.expect("an answer");
        assert!(matches!(begun, Begun::Rejected(Refusal::Recovering { .. })), "{begun:?}");
        assert_eq!(stage.a.renew(&one).await.expect("an answer"), Renewed::Renewed);
        assert_eq!(stage.a.renew(&two).await.expect("an answer"), Renewed::Renewed);

        for token in ["one", "two"] {
            let begun = stage.b.begin(&ask(token), None, &Terms::at_once()).await.expect("an answer");
            assert!(matches!(begun, Begun::Join(_)), "{begun:?}");
        }
        complete(&stage.a, &one, &first, &success("one")).await;
        assert_eq!(access_token(&landed(&stage.b, &ask("one"), None).await), "one");
        let recovering = format!("rc:{{{}}}:recovering", stage.config.namespace);
        redis.until(&["EXISTS", &recovering], "0").await;
        assert!(lead(&stage.b, &ask("three")).await.fence > two.fence);
    }

    #[tokio::test]
    async fn pod_that_has_led_nothing_notices_that_redis_has_forgotten() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        lead(&stage.a, &asked).await;
        let redis = stage.redis.as_ref().expect("on redis");
        let client = redis::Client::open(redis.url()).expect("a URL");
        let late = RedisStore::connect(client, "late", Arc::new(stage.config.clone()), Arc::default()).await;
        let late = Store::Redis(late.expect("redis is there"));
        redis.cli(&["FLUSHALL"]).await;

        let begun = late.begin(&ask("t"), None, &Terms::at_once()).await.expect("an answer");

        assert!(matches!(begun, Begun::Rejected(Refusal::Recovering { .. })), "{begun:?}");
    }

    #[tokio::test]
    async fn what_all_pods_agree_on_is_put_back_when_redis_has_forgotten_it() {
        let stage = Stage::on_redis(config()).await;
        lead(&stage.a, &ask("t")).await;
        let redis = stage.redis.as_ref().expect("on redis");
        redis.cli(&["FLUSHALL"]).await;
        stage.a.begin(&ask("u"), None, &Terms::at_once()).await.expect("an answer");
        redis.until(&["HGET", &format!("rc:{{{}}}:meta", stage.config.namespace), "pepper"], "none").await;

        let peppered = Config { pepper: Some("p".repeat(32).into()), ..stage.config.clone() };
        let client = redis::Client::open(redis.url()).expect("a URL");
        let refused = RedisStore::connect(client, "c", Arc::new(peppered), Arc::default()).await;

        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn pod_that_others_no_longer_agree_with_begins_nothing() {
        let stage = Stage::on_redis(config()).await;
        let redis = stage.redis.as_ref().expect("on redis");
        redis.cli(&["HSET", &format!("rc:{{{}}}:meta", stage.config.namespace), "pepper", "another"]).await;
        redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;

        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let refused = loop {
            match stage.a.begin(&ask(&Uuid::new_v4().to_string()), None, &Terms::at_once()).await {
                Err(refused) => break refused,
                Ok(_) => assert!(tokio::time::Instant::now() < deadline, "begins beside another pepper"),
            }
        };

        assert!(refused.reason.contains("pepper"), "{refused}");
    }

    #[tokio::test]
    async fn uncertain_token_stays_so_in_a_redis_that_has_forgotten_the_flight() {
        let stage =
            Stage::on_redis(Config { uncertain: Uncertain::Never, keep_failure: Duration::ZERO, ..config() }).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        stage.redis.as_ref().expect("on redis").cli(&["FLUSHALL"]).await;

        complete(&stage.a, &lease, &asked, &failure(ProviderFailure::unknown("reset"))).await;

        assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::Lost);
    }

    #[tokio::test]
    async fn success_too_large_to_share_is_not_presented_again() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;

        complete(&stage.a, &lease, &asked, &success(&"x".repeat(70_000))).await;

        assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::Unknown);
    }

    #[tokio::test]
    async fn mark_of_an_attempt_outlives_a_short_failure() {
        let stage = Stage::on_redis(Config { keep_failure: Duration::ZERO, ..config() }).await;
        let (first, late) = (ask("t"), ask("t"));
        let lease = lead(&stage.a, &first).await;
        stage.b.disown(&late, None).await.expect("an answer");
        complete(&stage.a, &lease, &first, &failure(ProviderFailure::not_sent("dns"))).await;

        stage.b.begin(&late, None, &Terms::at_once()).await.expect_err("an abandoned attempt led");
    }

    #[tokio::test]
    async fn lock_of_a_dead_leader_ends_also_when_the_clock_was_set_back() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        lead(&stage.a, &asked).await;
        let redis = stage.redis.as_ref().expect("on redis");
        let lock = format!("rc:{{{}}}:lock:{}", stage.config.namespace, asked.identity.flight);
        // What an hour's step does to a time to live.
        redis.cli(&["PEXPIRE", &lock, "3600000"]).await;

        let begun = stage.b.begin(&ask("t"), None, &Terms::at_once()).await.expect("an answer");

        assert!(matches!(begun, Begun::Join(_)), "{begun:?}");
        let left: u128 = redis.cli(&["PTTL", &lock]).await.parse().expect("ms");
        assert!(left <= stage.config.lease.as_millis(), "{left}");
    }

    #[tokio::test]
    async fn success_lands_in_a_redis_that_has_forgotten_the_flight() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        stage.redis.as_ref().expect("on redis").cli(&["FLUSHALL"]).await;

        assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours));

        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "one");
    }

    #[tokio::test]
    async fn outcomes_land_above_maxmemory_and_after_script_flush() {
        let stage = Stage::on_redis(config()).await;
        let asked = ask("t");
        let lease = lead(&stage.a, &asked).await;
        let redis = stage.redis.as_ref().expect("on redis");
        redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
        redis.cli(&["SCRIPT", "FLUSH"]).await;

        assert_eq!(stage.a.renew(&lease).await.expect("an answer"), Renewed::Renewed);
        assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours));
        // A new lead is refused as a whole, not halfway.
        let refused = stage.b.begin(&ask("u"), None, &Terms::at_once()).await.expect_err("led above maxmemory");

        assert!(refused.reason.contains("maxmemory"), "{refused}");
        redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        // The pod has to find out first.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while stage.b.check().await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "redis takes writes again");
            redis.wait(Duration::from_millis(5)).await;
        }
        assert_eq!(access_token(&landed(&stage.b, &ask("t"), None).await), "one");
    }
}
