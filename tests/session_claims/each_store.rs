//! Over Redis with several pods, whichever of the shipped stores holds the sessions.

use refresh_coordinator::tokens::{AccessTokens, MemoryTokens, RedisTokens, TokenError, TokenStore};
use refresh_coordinator::{Config, OtherClaims, RefreshTokens};

use crate::provider::{Provider, Tokens};
use crate::support::fleet::connect;
use crate::support::redis::RedisServer;
use crate::support::session_stores::PutTokens;
use crate::support::session_stores::StaleOnce;
use crate::{Clock, S, claims, config, login, of, row, token};

async fn handles<T: PutTokens>(
    redis: &RedisServer,
    pods: usize,
    config: &Config,
    provider: &Provider,
    store: &T,
    clock: &Clock,
) -> Vec<AccessTokens<T>> {
    let mut handles = Vec::new();
    for _ in 0..pods {
        let pod = connect(redis, config).await;
        handles.push(clock.of(provider.access(&pod, store.clone())));
    }
    handles
}

/// Each of these handles asks at once.
async fn at_once<T: TokenStore>(handles: impl IntoIterator<Item = AccessTokens<T>>, session: &str) -> Vec<String> {
    let asked = handles.into_iter().map(|handle| {
        let session = session.to_owned();
        tokio::spawn(async move { token(&handle, &session).await })
    });
    let mut told = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        told.push(asked.await.expect("no panics"));
    }
    told
}

async fn two_claims_at_once_each_get_their_audience<T: PutTokens>(store: &T, config: Config) {
    let (redis, provider, clock) =
        (RedisServer::start_own(&[]).await, Provider::of(Tokens::SingleUse), Clock::stands());
    let pods = handles(&redis, 2, &config, &provider, store, &clock).await;
    for session in 0..20 {
        let name = format!("two {session}");
        store.put_tokens(&name, login(&format!("f{session}.1"), clock.now())).await;

        let told = at_once([of(&pods[0], "billing"), of(&pods[1], "mail")], &name).await;

        assert!(told[0].starts_with("billing of ") && told[1].starts_with("mail of "), "{told:?}");
        let held = row(store, &name).await;
        assert_eq!(
            (claims(&held), held.refresh_token().expose()),
            (vec!["billing", "mail"], &*format!("f{session}.3"))
        );
        assert_eq!(held.access_token().expose(), "login");
        let again = at_once([of(&pods[1], "billing"), of(&pods[0], "mail"), pods[0].clone()], &name).await;
        assert_eq!(again, [told[0].as_str(), told[1].as_str(), "login"], "they are held");
    }
    assert_eq!((provider.presentations(), provider.twice().len()), (40, 0));
}

async fn eight_claims_over_three_pods_go_on_for_ten_rounds<T: PutTokens>(store: &T) {
    let (redis, provider, clock) =
        (RedisServer::start_own(&[]).await, Provider::of(Tokens::SingleUse), Clock::stands());
    let pods = handles(&redis, 3, &config(), &provider, store, &clock).await;
    store.put_tokens("eight", login("f.1", clock.now())).await;
    let audiences: Vec<_> = (0..8).map(|claim| format!("api {claim}")).collect();

    for round in 0..10 {
        clock.goes_on(400);
        let all = audiences.iter().flat_map(|audience| pods.iter().map(move |pod| of(pod, audience)));
        let told = at_once(all, "eight").await;
        for (asked, token) in told.iter().enumerate() {
            let audience = &audiences[asked / 3];
            assert!(token.starts_with(&format!("{audience} of ")), "round {round}: {audience} was handed {token}");
            assert_eq!(token, &told[asked / 3 * 3], "all pods are handed the same");
        }
        assert_eq!(claims(&row(store, "eight").await), audiences, "nothing is lost");
    }

    assert_eq!(provider.twice(), Vec::<String>::new());
    assert_eq!(provider.presentations(), 80);
}

async fn eight_claims_at_once_lose_nothing_where_each_refresh_gives_a_token_beside_the_others<T: PutTokens>(store: &T) {
    let (redis, provider, clock) = (RedisServer::start_own(&[]).await, Provider::of(Tokens::Reusable), Clock::stands());
    let config = config().with_refresh_tokens(RefreshTokens::Reusable);
    let pods = handles(&redis, 3, &config, &provider, store, &clock).await;
    store.put_tokens("beside", login("f.1", clock.now())).await;
    let audiences: Vec<_> = (0..8).map(|claim| format!("api {claim}")).collect();

    let told = at_once(audiences.iter().enumerate().map(|(n, audience)| of(&pods[n % 3], audience)), "beside").await;
    let again = at_once(audiences.iter().map(|audience| of(&pods[0], audience)), "beside").await;

    assert_eq!(told, again, "all are held");
    assert_eq!(claims(&row(store, "beside").await), audiences);
    assert_eq!(provider.presentations(), 8, "each is asked for once");
}

async fn logout_by_one_claim_ends_the_session_for_all<T: PutTokens>(store: &T) {
    let (redis, provider, clock) =
        (RedisServer::start_own(&[]).await, Provider::of(Tokens::SingleUse), Clock::stands());
    let pods = handles(&redis, 2, &config(), &provider, store, &clock).await;
    store.put_tokens("left", login("f.1", clock.now())).await;
    provider.hold();
    let (billing, mail) = (of(&pods[0], "billing"), of(&pods[1], "mail"));
    let under_way = tokio::spawn({
        let billing = billing.clone();
        async move { billing.token("left").await }
    });
    provider.asked(1).await;

    assert!(mail.end_session("left").await.expect("the store answers"));
    provider.release();

    let told = under_way.await.expect("no panics");
    assert!(matches!(told, Err(TokenError::SessionOver { .. })), "{told:?}");
    for handle in [&billing, &mail, &pods[0]] {
        assert!(matches!(handle.token("left").await, Err(TokenError::SessionOver { refusal: None })));
    }
    assert_eq!(provider.presentations(), 1);
    crate::support::wait::until("both are revoked", async || {
        let mut revoked = provider.revoked();
        revoked.sort();
        revoked == ["f.1", "f.2"]
    })
    .await;
}

async fn coordinator_that_has_forgotten_everything_presents_no_token_of_another_claim_twice<T: PutTokens>(store: &T) {
    let (redis, provider, clock) =
        (RedisServer::start_own(&[]).await, Provider::of(Tokens::SingleUse), Clock::stands());
    let config = config();
    let pods = handles(&redis, 1, &config, &provider, store, &clock).await;
    store.put_tokens("stale", login("f.1", clock.now())).await;
    let stale = row(store, "stale").await;
    token(&of(&pods[0], "billing"), "stale").await;
    pods[0].coordinator().close(10 * S).await;
    redis.cli(&["FLUSHALL"]).await;

    // A tab that read the session before billing was refreshed.
    let reborn = connect(&redis, &config).await;
    let late = clock.of(provider.access(&reborn, StaleOnce::new(stale, store.clone())));

    assert_eq!(token(&of(&late, "mail"), "stale").await, "mail of f.3");
    assert_eq!((provider.presentations(), provider.twice().len()), (2, 0));
    assert_eq!(claims(&row(store, "stale").await), ["billing", "mail"]);
}

async fn keeps_all_claims(store: impl PutTokens) {
    two_claims_at_once_each_get_their_audience(&store, config()).await;
    two_claims_at_once_each_get_their_audience(&store, config().with_other_claims(OtherClaims::Refuse)).await;
    eight_claims_over_three_pods_go_on_for_ten_rounds(&store).await;
    eight_claims_at_once_lose_nothing_where_each_refresh_gives_a_token_beside_the_others(&store).await;
    logout_by_one_claim_ends_the_session_for_all(&store).await;
    coordinator_that_has_forgotten_everything_presents_no_token_of_another_claim_twice(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_memory_keep_all_claims() {
    keeps_all_claims(MemoryTokens::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_redis_keep_all_claims() {
    let redis = RedisServer::start_own(&[]).await;
    keeps_all_claims(RedisTokens::new(redis.url(), "app:", 3600 * S).expect("a URL")).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_postgres_keep_all_claims() {
    use refresh_coordinator::tokens::PostgresTokens;

    let Some(postgres) = crate::support::postgres::PostgresServer::start() else { return };
    let store = PostgresTokens::new(sqlx::PgPool::connect(postgres.url()).await.expect("it is ready"));
    store.create_table().await.expect("a table");
    keeps_all_claims(store).await;
}
