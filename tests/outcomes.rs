//! Which outcome is given to whom, and for how long: each class of what a provider can answer, for the callers that
//! waited and for those that come later, on both stores.
//!
//! In memory time is paused and freshness is tested to the millisecond; on Redis the server's clock decides, and a
//! test leaves it room.

mod support;

use std::time::Duration;

use refresh_coordinator::{
    Config, Dialect, ProviderFailure, ProviderResponse, Refresh, RefreshCoordinator, RefreshError, RefreshTokens,
    Refreshed, Refusal, Role, TokenResponse, Uncertain,
};
use support::fleet::{Fleet, connect, quick};
use support::provider::{Provider, rotated};
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::JoinHandle;

type Answer = Result<TokenResponse, ProviderFailure>;
type Ending = Result<Refreshed, RefreshError>;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Three pods, and the clock their store goes by.
struct World {
    fleet: Fleet,
}

impl World {
    fn pod(&self, index: usize) -> &RefreshCoordinator {
        &self.fleet.pods[index]
    }

    async fn pass(&self, span: Duration) {
        match &self.fleet.redis {
            None => tokio::time::advance(span).await,
            Some(redis) => redis.wait(span).await,
        }
    }

    /// Goes to where a span is almost over, counted from the answer, and says what is left of it.
    async fn almost(&self, span: Duration) -> Duration {
        // On Redis a test takes time, too.
        let left = if self.fleet.redis.is_none() { MS } else { span / 2 };
        self.pass(span - left).await;
        left
    }
}

/// A test for both stores, in paused time where no socket is involved.
macro_rules! on_both_clocks {
    ($( async fn $name:ident($world:ident, $config:expr) $body:block )*) => {
        $(
            mod $name {
                use super::*;

                async fn promise($world: World) $body

                #[tokio::test(start_paused = true)]
                async fn in_memory() {
                    promise(World { fleet: Fleet::in_memory(3, &$config) }).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_redis() {
                    promise(World { fleet: Fleet::on_redis(3, &$config).await }).await;
                }
            }
        )*
    };
}

/// The settings of these tests; a test that is about one of them names it.
fn usual() -> Config {
    quick().with_keep_outcome(4 * S).with_keep_failure(500 * MS).with_uncertain_memory(2 * S).with_wait_timeout(10 * S)
}

fn asks<A>(pod: &RefreshCoordinator, token: &str, provider: &Provider, answer: A) -> JoinHandle<Ending>
where
    A: FnOnce(&str) -> Answer + Send + 'static,
{
    let (pod, refresh, call) = (pod.clone(), Refresh::new(token), provider.answering(token, answer));
    tokio::spawn(async move { pod.refresh(refresh, call).await })
}

async fn ending<A>(pod: &RefreshCoordinator, token: &str, provider: &Provider, answer: A) -> Ending
where
    A: FnOnce(&str) -> Answer + Send + 'static,
{
    asks(pod, token, provider, answer).await.expect("no panic")
}

fn response(status: u16) -> ProviderResponse {
    ProviderResponse::new(status, "{\"error\" : \"as the provider\\u0020writes it\"}\n").with_header("x-test", "yes")
}

fn denied(error: &'static str) -> impl Fn(&str) -> Answer + Copy + Send + 'static {
    move |_| Err(ProviderFailure::denied(error).with_response(response(400)))
}

fn busy(retry_after: Option<Duration>) -> impl Fn(&str) -> Answer + Copy + Send + 'static {
    move |_| Err(ProviderFailure::busy(retry_after).with_response(response(429)))
}

fn unknown(_: &str) -> Answer {
    Err(ProviderFailure::unknown("reset").with_response(response(502)))
}

fn not_sent(_: &str) -> Answer {
    Err(ProviderFailure::not_sent("no address"))
}

fn tokens(token: &str) -> Answer {
    Ok(rotated(token))
}

/// Tokens without a new refresh token: the old one is used again.
fn kept(expires_in: u64) -> impl Fn(&str) -> Answer + Copy + Send + 'static {
    move |_| {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{expires_in}}}"#);
        Ok(TokenResponse::from_json(body).expect("a token response"))
    }
}

/// The presented refresh token comes back.
fn repeated(expires_in: u64) -> impl Fn(&str) -> Answer + Copy + Send + 'static {
    move |token| {
        let body = format!(r#"{{"access_token":"a","expires_in":{expires_in},"refresh_token":"{token}"}}"#);
        Ok(TokenResponse::from_json(body).expect("a token response"))
    }
}

/// What an ending says, without how the caller came to it.
fn said(ending: &Ending) -> String {
    let response = |response: Option<&ProviderResponse>| match response {
        None => "no response".to_owned(),
        Some(response) => {
            let headers: Vec<_> = response.headers().collect();
            format!("{} {headers:?} {}", response.status(), String::from_utf8_lossy(response.body()))
        }
    };
    match ending {
        Ok(refreshed) => format!("tokens: {}", response(Some(refreshed.tokens().response()))),
        Err(RefreshError::Provider { failure, .. }) => format!("{failure}: {}", response(failure.response())),
        Err(other) => format!("{other}"),
    }
}

/// An answer stays fresh for this long for newcomers of every pod, and not longer. A span of zero: for nobody.
async fn is_fresh_for<A>(world: &World, answer: A, span: Duration)
where
    A: Fn(&str) -> Answer + Copy + Send + 'static,
{
    let provider = Provider::open();
    let first = ending(world.pod(0), "t", &provider, answer).await;

    if span > Duration::ZERO {
        let newcomer = ending(world.pod(1), "t", &provider, tokens).await;
        assert_eq!(said(&newcomer), said(&first));
        let left = world.almost(span).await;
        for pod in &world.fleet.pods {
            let newcomer = ending(pod, "t", &provider, answer).await;
            // A success is told by its tokens only: what is left of their lifetime is less.
            if first.is_err() {
                assert_eq!(said(&newcomer), said(&first));
            } else {
                assert_eq!(newcomer.expect("tokens").role(), Role::Latecomer);
            }
        }
        assert_eq!(provider.total(), 1, "fresh for {span:?}, and asked again before");
        world.pass(left + MS).await;
    }

    let next = ending(world.pod(1), "t", &provider, tokens).await;
    assert_eq!(next.expect("tokens").role(), Role::Led);
    assert_eq!(provider.total(), 2, "fresh for {span:?}, and not asked again after");
}

/// Every caller that waited for this answer gets it: in the leader's pod, and over the fleet.
async fn is_given_to_all_who_wait<A>(world: &World, answer: A)
where
    A: Fn(&str) -> Answer + Copy + Send + 'static,
{
    let provider = Provider::held();
    let mut callers = vec![asks(world.pod(0), "t", &provider, answer)];
    provider.asked(1).await;
    for pod in &world.fleet.pods {
        for _ in 0..3 {
            callers.push(asks(pod, "t", &provider, tokens));
        }
    }
    until("all wait", async || {
        let sum = |count: fn(refresh_coordinator::Metrics) -> u64| {
            world.fleet.pods.iter().map(|pod| count(pod.metrics())).sum::<u64>()
        };
        (sum(|metrics| metrics.joined_fleet), sum(|metrics| metrics.joined_here)) == (2, 7)
    })
    .await;

    provider.release(100);

    let mut endings = Vec::new();
    for caller in callers {
        endings.push(caller.await.expect("no panic"));
    }
    for ending in &endings {
        assert_eq!(said(ending), said(&endings[0]));
    }
    assert_eq!(provider.total(), 1);
}

on_both_clocks! {
    async fn success_is_fresh_for_keep_outcome(world, usual()) {
        is_fresh_for(&world, tokens, 4 * S).await;
        assert_eq!(world.pod(1).metrics().reused, 1, "a reuse, and it is counted");
    }

    async fn success_is_fresh_for_nobody_with_keep_outcome_zero(
        world,
        usual().with_keep_outcome(Duration::ZERO)
    ) {
        is_fresh_for(&world, tokens, Duration::ZERO).await;
    }

    async fn success_without_a_new_refresh_token_is_not_fresh_past_its_expiry(
        world,
        usual().with_keep_outcome(30 * S)
    ) {
        // Half of its life: 5 s are more.
        is_fresh_for(&world, kept(8), 4 * S).await;
        assert_eq!(world.pod(1).metrics().reused, 0, "the token is used again, as it should be");
    }

    async fn presented_token_that_comes_back_is_used_again(world, usual().with_keep_outcome(30 * S)) {
        is_fresh_for(&world, repeated(8), 4 * S).await;
        assert_eq!(world.pod(1).metrics().reused, 0);
    }

    async fn other_claims_go_on_at_once_where_the_token_is_used_again(world, usual()) {
        let provider = Provider::open();
        ending(world.pod(0), "t", &provider, kept(3600)).await.expect("tokens");
        for scope in ["a", "b"] {
            let (call, refresh) = (provider.answering("t", repeated(3600)), Refresh::new("t"));
            let other = world.pod(1).refresh(refresh.parameters([("scope", scope)]), call).await.expect("tokens");

            assert_eq!(other.role(), Role::Led);
        }
        assert_eq!(provider.total(), 3);
    }

    async fn another_claim_is_told_to_read_the_session_again_and_not_to_come_when_the_outcome_is_over(
        world,
        usual().with_keep_outcome(30 * S)
    ) {
        let provider = Provider::open();
        ending(world.pod(0), "t", &provider, tokens).await.expect("tokens");

        let (call, refresh) = (provider.refresh("t"), Refresh::new("t").parameters([("scope", "a")]));
        let error = world.pod(1).refresh(refresh, call).await.expect_err("it was rotated");

        assert!(matches!(error, RefreshError::Refused(Refusal::AnotherClaim { .. })), "{error:?}");
        assert_eq!(error.retry_after(), Some(S));
    }

    async fn reusable_token_is_presented_for_each_claim_and_shared_within_one(
        world,
        usual().with_refresh_tokens(RefreshTokens::Reusable).with_keep_outcome(30 * S)
    ) {
        let provider = Provider::held();
        let mut callers = Vec::new();
        for scope in ["a", "b", "c"] {
            for pod in &world.fleet.pods {
                let (pod, call) = (pod.clone(), provider.refresh("t"));
                let refresh = Refresh::new("t").parameters([("scope", scope)]);
                callers.push(tokio::spawn(async move { pod.refresh(refresh, call).await }));
            }
        }
        // None of the three waits for another one's answer.
        provider.asked(3).await;
        provider.release(3);
        for caller in callers {
            caller.await.expect("no panic").expect("tokens");
        }

        assert_eq!(provider.total(), 3);
        assert_eq!(world.pod(0).metrics().reused, 0);
    }

    async fn what_is_not_understood_counts_as_rotated_and_is_handed_on(world, usual().with_keep_outcome(4 * S)) {
        let not_understood = |_: &str| {
            let response = ProviderResponse::new(200, "{\"accessToken\":\"a\"}").with_header("content-type", "x/y");
            Err(ProviderFailure::NotUnderstood { response })
        };
        is_fresh_for(&world, not_understood, 4 * S).await;
        let metrics = world.pod(0).metrics();
        assert_eq!((metrics.successes, world.pod(1).metrics().reused), (1, 1));
    }

    async fn what_was_not_processed_is_fresh_for_keep_failure(world, usual().with_keep_failure(4 * S)) {
        let not_processed = |_: &str| Err(ProviderFailure::not_processed("status 503").with_response(response(503)));
        is_fresh_for(&world, not_processed, 4 * S).await;
        assert_eq!(world.pod(0).metrics().not_processed, 1);
    }

    async fn what_was_not_processed_is_not_lost_under_the_policy_never(
        world,
        usual().with_uncertain(Uncertain::Never).with_keep_failure(Duration::ZERO).with_uncertain_memory(30 * S)
    ) {
        let provider = Provider::open();
        let gateway = |_: &str| Err(ProviderFailure::not_processed("status 503").with_response(response(503)));
        let error = ending(world.pod(0), "t", &provider, gateway).await.expect_err("no tokens");
        assert!(error.is_transient() && !error.is_session_over());

        let next = ending(world.pod(1), "t", &provider, tokens).await.expect("tokens");

        assert_eq!(next.role(), Role::Led);
    }

    async fn dead_token_is_known_by_the_names_of_the_settings_too(
        world,
        usual().with_dialect(Dialect { dead_token_errors: vec!["token_gone".to_owned()], ..Dialect::default() })
    ) {
        let provider = Provider::open();
        for error in ["invalid_grant", "refresh_token_already_used", "token_gone"] {
            let first = ending(world.pod(0), error, &provider, denied(error)).await;
            world.pass(10 * MS).await;
            let other = ending(world.pod(1), error, &provider, tokens).await;

            assert_eq!(said(&other), said(&first));
            assert!(first.expect_err("dead").is_session_over() && other.expect_err("dead").is_session_over());
        }
        assert_eq!(provider.total(), 3);
    }

    async fn access_token_that_lives_no_time_is_fresh_for_nobody(world, usual()) {
        is_fresh_for(&world, kept(0), Duration::ZERO).await;
    }

    async fn success_with_a_new_refresh_token_outlives_its_access_token(world, usual()) {
        let provider = Provider::open();
        let short = |_: &str| {
            let body = r#"{"access_token":"a","expires_in":1,"refresh_token":"r"}"#;
            Ok(TokenResponse::from_json(body).expect("a token response"))
        };
        ending(world.pod(0), "t", &provider, short).await.expect("tokens");

        world.pass(1200 * MS).await;
        let latecomer = ending(world.pod(1), "t", &provider, short).await.expect("tokens");

        // The successor is what counts: a caller that has it can refresh again.
        assert_eq!((latecomer.tokens().refresh_token(), latecomer.tokens().expires_in()), (Some("r"), Some(Duration::ZERO)));
        assert_eq!(provider.total(), 1);
    }

    async fn refused_client_is_refused_for_five_seconds(world, usual()) {
        let provider = Provider::open();
        let errors = ["invalid_client", "unauthorized_client", "unsupported_grant_type"];
        let mut first = Vec::new();
        for error in errors {
            first.push(said(&ending(world.pod(0), error, &provider, denied(error)).await));
        }
        let left = world.almost(5 * S).await;
        for (error, first) in errors.into_iter().zip(&first) {
            assert_eq!(said(&ending(world.pod(1), error, &provider, tokens).await), *first);
        }
        assert_eq!(provider.total(), 3);

        // This claim only: a client that authenticates otherwise is nobody's business.
        let (call, refresh) = (provider.refresh("invalid_client"), Refresh::new("invalid_client").client("app", "pw"));
        let other = world.pod(1).refresh(refresh, call).await;
        assert_eq!(other.expect("tokens").role(), Role::Led);

        world.pass(left + MS).await;
        for error in &errors[1..] {
            assert_eq!(ending(world.pod(1), error, &provider, tokens).await.expect("tokens").role(), Role::Led);
        }
        assert_eq!(provider.total(), 6);
    }

    async fn nonce_is_asked_for_each_time(world, usual()) {
        is_fresh_for(&world, denied("use_dpop_nonce"), Duration::ZERO).await;
    }

    async fn any_other_refusal_is_fresh_for_five_seconds(world, usual()) {
        is_fresh_for(&world, denied("invalid_scope"), 5 * S).await;
    }

    async fn refusal_is_fresh_for_nobody_with_keep_refusal_zero(
        world,
        usual().with_keep_refusal(Duration::ZERO)
    ) {
        is_fresh_for(&world, denied(""), Duration::ZERO).await;
    }

    async fn busy_provider_is_left_alone_until_it_said(world, usual()) {
        is_fresh_for(&world, busy(Some(4 * S)), 4 * S).await;
    }

    async fn busy_provider_that_says_no_time_is_left_alone_for_keep_failure(
        world,
        usual().with_keep_failure(4 * S)
    ) {
        is_fresh_for(&world, busy(None), 4 * S).await;
    }

    async fn latecomer_is_told_what_is_left_of_a_busy_providers_pause(world, usual()) {
        let provider = Provider::open();
        let first = ending(world.pod(0), "t", &provider, busy(Some(3 * S))).await.expect_err("busy");
        assert_eq!(first.retry_after(), Some(3 * S));

        world.pass(1500 * MS).await;
        let latecomer = ending(world.pod(1), "t", &provider, tokens).await.expect_err("still busy");

        let pause = latecomer.retry_after().expect("a time");
        assert!(pause <= 1500 * MS, "the provider said until when: {pause:?}");
        assert_eq!(provider.total(), 1);
    }

    async fn unsent_is_fresh_for_keep_failure(world, usual().with_keep_failure(4 * S)) {
        is_fresh_for(&world, not_sent, 4 * S).await;
    }

    async fn unknown_is_fresh_for_keep_failure_and_then_asked_again(world, usual().with_keep_failure(4 * S)) {
        is_fresh_for(&world, unknown, 4 * S).await;
    }

    async fn panic_is_an_unknown_outcome(world, usual().with_keep_failure(4 * S)) {
        is_fresh_for(&world, |_: &str| panic!("in the refresh function"), 4 * S).await;
        assert_eq!((world.pod(0).metrics().panics, world.pod(0).metrics().unknown), (1, 1));
    }

    async fn unknown_is_lost_under_the_policy_never(
        world,
        usual().with_uncertain(Uncertain::Never).with_keep_failure(2 * S).with_uncertain_memory(30 * S)
    ) {
        let provider = Provider::open();
        let first = ending(world.pod(0), "t", &provider, unknown).await;
        assert!(matches!(first, Err(RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. })));
        assert_eq!(said(&ending(world.pod(1), "t", &provider, tokens).await), said(&first), "while it is fresh");

        world.pass(2001 * MS).await;

        for pod in &world.fleet.pods {
            let error = ending(pod, "t", &provider, tokens).await.expect_err("lost");
            assert!(matches!(error, RefreshError::Lost { .. }), "{error:?}");
            assert!(!error.is_transient());
        }
        // Nor for another claim of the same client: it is the same token.
        let (call, refresh) = (provider.refresh("t"), Refresh::new("t").parameters([("scope", "mail")]));
        let error = world.pod(1).refresh(refresh, call).await.expect_err("lost");
        assert!(matches!(error, RefreshError::Lost { .. }), "{error:?}");
        assert_eq!(provider.total(), 1);
        // What one client brought about says nothing to another: it may have been a stranger.
        let (call, refresh) = (provider.refresh("t"), Refresh::new("t").client("app", "pw"));
        world.pod(1).refresh(refresh, call).await.expect("the provider judges");
        assert_eq!(provider.total(), 2);
    }

    async fn uncertain_token_is_presented_again_once_the_mark_is_over(
        world,
        usual().with_uncertain(Uncertain::Never).with_refresh_timeout(2 * S).with_call_limit(Some(2 * S))
    ) {
        let provider = Provider::open();
        ending(world.pod(0), "t", &provider, unknown).await.expect_err("unknown");
        let left = world.almost(2 * S).await;
        let error = ending(world.pod(1), "t", &provider, tokens).await.expect_err("lost");
        assert!(matches!(error, RefreshError::Lost { .. }), "{error:?}");

        world.pass(left + MS).await;
        let next = ending(world.pod(1), "t", &provider, tokens).await;

        assert_eq!(next.expect("the mark lives no longer than uncertain_memory").role(), Role::Led);
        assert_eq!(provider.total(), 2);
    }

    async fn waiters_get_tokens(world, usual()) {
        is_given_to_all_who_wait(&world, tokens).await;
    }

    async fn waiters_get_tokens_that_are_fresh_for_nobody(world, usual().with_keep_outcome(Duration::ZERO)) {
        is_given_to_all_who_wait(&world, tokens).await;
    }

    async fn waiters_get_a_dead_tokens_refusal(world, usual()) {
        is_given_to_all_who_wait(&world, denied("invalid_grant")).await;
    }

    async fn waiters_get_a_refused_clients_refusal(world, usual()) {
        is_given_to_all_who_wait(&world, denied("invalid_client")).await;
    }

    async fn waiters_get_a_nonce_that_is_fresh_for_nobody(world, usual()) {
        is_given_to_all_who_wait(&world, denied("use_dpop_nonce")).await;
    }

    async fn waiters_get_a_refusal_that_is_fresh_for_nobody(
        world,
        usual().with_keep_refusal(Duration::ZERO)
    ) {
        is_given_to_all_who_wait(&world, denied("invalid_request")).await;
    }

    async fn waiters_are_told_that_the_provider_is_busy(world, usual()) {
        is_given_to_all_who_wait(&world, busy(Some(2 * S))).await;
    }

    async fn waiters_are_told_that_nothing_was_sent(world, usual().with_keep_failure(Duration::ZERO)) {
        is_given_to_all_who_wait(&world, not_sent).await;
    }

    async fn waiters_are_told_that_nobody_knows(world, usual().with_keep_failure(Duration::ZERO)) {
        is_given_to_all_who_wait(&world, unknown).await;
    }

    async fn waiters_are_told_of_a_panic(world, usual().with_keep_failure(Duration::ZERO)) {
        is_given_to_all_who_wait(&world, |_: &str| panic!("in the refresh function")).await;
    }

    async fn waiters_are_told_what_nobody_knows_under_the_policy_never(
        world,
        usual().with_uncertain(Uncertain::Never).with_keep_failure(Duration::ZERO).with_uncertain_memory(30 * S)
    ) {
        is_given_to_all_who_wait(&world, unknown).await;
    }

    async fn latecomer_gets_the_providers_bytes_within_a_second(world, usual().with_keep_outcome(30 * S)) {
        let provider = Provider::open();
        let first = ending(world.pod(0), "t", &provider, tokens).await.expect("tokens");

        let latecomer = ending(world.pod(1), "t", &provider, tokens).await.expect("tokens");

        assert_eq!((latecomer.role(), latecomer.fence()), (Role::Latecomer, first.fence()));
        assert!(latecomer.age() <= S, "{:?}", latecomer.age());
        assert_eq!(latecomer.tokens().response().body(), first.tokens().response().body());
    }

    async fn latecomer_gets_what_is_left_of_the_lifetime(world, usual().with_keep_outcome(30 * S)) {
        let provider = Provider::open();
        let first = ending(world.pod(0), "t", &provider, tokens).await.expect("tokens");

        world.pass(2500 * MS).await;
        let latecomer = ending(world.pod(1), "t", &provider, tokens).await.expect("tokens");

        assert_eq!((latecomer.role(), provider.total()), (Role::Latecomer, 1));
        assert!(latecomer.age() >= 2500 * MS, "{:?}", latecomer.age());
        let left = latecomer.tokens().expires_in().expect("a lifetime");
        assert_eq!(left.as_secs(), (3600 * S - latecomer.age()).as_secs());
        let first = String::from_utf8_lossy(first.tokens().response().body()).into_owned();
        let expected = first.replace("3600", &left.as_secs().to_string());
        assert_eq!(String::from_utf8_lossy(latecomer.tokens().response().body()), expected, "nothing else is touched");
    }
}

#[tokio::test(start_paused = true)]
async fn success_without_a_new_refresh_token_is_fresh_until_a_tenth_of_its_life_is_left() {
    let world = World { fleet: Fleet::in_memory(3, &usual()) };

    is_fresh_for(&world, kept(3600), 3240 * S).await;
}

#[tokio::test(start_paused = true)]
async fn session_that_is_a_token_which_is_used_again_is_never_refused_for_living_on() {
    let world = World { fleet: Fleet::in_memory(1, &usual().with_max_refresh_attempts(5)) };
    let provider = Provider::open();

    for _ in 0..20 {
        ending(world.pod(0), "t", &provider, kept(20)).await.expect("tokens");
        world.pass(16 * S).await;
    }

    assert_eq!(provider.total(), 20);
}

#[tokio::test(start_paused = true)]
async fn provider_that_accepts_a_rotated_token_is_counted() {
    for (refresh_tokens, counted) in [(RefreshTokens::SingleUse, 1), (RefreshTokens::Reusable, 0)] {
        let config = usual().with_refresh_tokens(refresh_tokens).with_keep_outcome(Duration::ZERO);
        let world = World { fleet: Fleet::in_memory(1, &config) };
        let provider = Provider::open();

        for _ in 0..2 {
            ending(world.pod(0), "t", &provider, tokens).await.expect("tokens");
        }

        assert_eq!(provider.total(), 2, "the outcome is fresh for nobody");
        assert_eq!(world.pod(0).metrics().accepted_again, counted);
    }
}

#[tokio::test(start_paused = true)]
async fn busy_provider_costs_the_session_no_attempt() {
    let world = World { fleet: Fleet::in_memory(1, &usual().with_max_refresh_attempts(2)) };
    let provider = Provider::open();

    for _ in 0..9 {
        let error = ending(world.pod(0), "t", &provider, busy(Some(S))).await.expect_err("busy");
        assert_eq!(error.retry_after(), Some(S), "{error:?}");
        world.pass(1001 * MS).await;
    }

    assert_eq!(provider.total(), 9);
}

#[tokio::test(start_paused = true)]
async fn dead_token_is_refused_for_a_minute_in_memory() {
    let world = World { fleet: Fleet::in_memory(3, &usual()) };

    is_fresh_for(&world, denied("invalid_grant"), 60 * S).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_token_is_refused_for_longer_than_keep_failure_on_redis() {
    let world = World { fleet: Fleet::on_redis(2, &usual()).await };
    let provider = Provider::open();
    let first = ending(world.pod(0), "t", &provider, denied("invalid_grant")).await;

    world.pass(3 * world.pod(0).config().keep_failure).await;
    let newcomer = ending(world.pod(1), "t", &provider, tokens).await;

    assert_eq!(said(&newcomer), said(&first));
    assert_eq!(provider.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn busy_provider_is_left_alone_for_five_minutes_at_most() {
    let world = World { fleet: Fleet::in_memory(3, &usual()) };

    is_fresh_for(&world, busy(Some(3600 * S)), 300 * S).await;
}

/// Redis hears of the answer late; the access token's life began when it was given.
async fn success_that_lands_late(store_timeout: Duration) {
    let redis = RedisServer::start_own(&[]).await;
    let config = usual().with_keep_outcome(30 * S).with_lease(5 * S).with_store_timeout(store_timeout);
    let pods = [connect(&redis, &config).await, connect(&redis, &config).await];
    let provider = Provider::held();
    let leads = asks(&pods[0], "t", &provider, kept(4));
    provider.asked(1).await;

    // Until it ends, no script that writes runs.
    redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    provider.release(2);
    redis.wait(1500 * MS).await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    leads.await.expect("no panic").expect("tokens");
    let landed = format!("rc:{{{}}}:flight:*", config.namespace);
    let flight = redis.keys(&landed).await.pop().expect("a flight");
    redis.until(&["HGET", &flight, "state"], "landed").await;
    // Now it is older than two seconds, half of its life, however long all this took.
    redis.wait(800 * MS).await;
    let next = ending(&pods[1], "t", &provider, kept(4)).await.expect("tokens");

    assert_eq!((next.role(), provider.total()), (Role::Led, 2), "handed with an age of {:?}", next.age());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_that_lands_at_a_later_try_is_not_fresh_past_its_expiry() {
    success_that_lands_late(500 * MS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_that_was_long_on_its_way_to_redis_is_not_fresh_past_its_expiry() {
    success_that_lands_late(4 * S).await;
}

/// Not sent, but announced: 8 KiB are too much for every waiting pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answer_is_given_to_all_who_wait() {
    let world = World { fleet: Fleet::on_redis(3, &usual()).await };

    is_given_to_all_who_wait(&world, |_: &str| {
        let id_token = "i".repeat(20 * 1024);
        let body = format!(r#"{{"access_token":"a","refresh_token":"r","id_token":"{id_token}"}}"#);
        Ok(TokenResponse::from_json(body).expect("a token response"))
    })
    .await;
}

fn huge(_: &str) -> Answer {
    let id_token = "i".repeat(300 * 1024);
    let body = format!(r#"{{"access_token":"a","refresh_token":"r","id_token":"{id_token}"}}"#);
    Ok(TokenResponse::from_json(body).expect("a token response"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_too_large_for_redis_is_given_to_the_leaders_own_callers() {
    let world = World { fleet: Fleet::on_redis(2, &usual()).await };
    let provider = Provider::held();
    let leads = asks(world.pod(0), "t", &provider, huge);
    provider.asked(1).await;
    let joins = asks(world.pod(1), "t", &provider, huge);
    until("it is joined", async || world.pod(1).metrics().joined_fleet == 1).await;

    provider.release(1);

    assert_eq!(leads.await.expect("no panic").expect("tokens").tokens().refresh_token(), Some("r"));
    let joined = joins.await.expect("no panic");
    let told = matches!(&joined, Err(RefreshError::Provider { failure: ProviderFailure::Unknown { .. }, .. }));
    assert!(told, "{joined:?}");
    assert_eq!(provider.total(), 1);
}

/// A caller that could not be given the answer comes again, and the provider would take that for theft.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_token_whose_answer_was_too_large_is_not_presented_again() {
    let world = World { fleet: Fleet::on_redis(2, &usual().with_keep_outcome(30 * S)).await };
    let provider = Provider::open();
    ending(world.pod(0), "t", &provider, huge).await.expect("tokens");
    world.pass(2 * world.pod(0).config().keep_failure).await;

    let newcomer = ending(world.pod(1), "t", &provider, tokens).await;

    assert_eq!(provider.total(), 1, "{newcomer:?}");
    assert!(newcomer.expect_err("nobody can be given it").is_transient());
}
