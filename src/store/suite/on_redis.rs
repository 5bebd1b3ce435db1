//! What only a store can get wrong that may forget, and that may lose its answers on the way.

use super::stage::*;
use crate::moment::Moment;
use crate::own_lease::OwnLease;

#[tokio::test]
async fn begin_with_the_same_attempt_gets_the_same_lead() {
    let stage = Stage::on_redis(Config { lease: 3 * S, ..config() }).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;
    let before = stage.snapshot().await;

    assert_eq!(lead(&stage.a, &asked).await.fence, lease.fence);
    assert_eq!(stage.snapshot().await, before);

    // Others may have been admitted meanwhile: it is admitted anew, and still charged once.
    stage.lease_over(&asked).await;
    assert!(lead(&stage.a, &asked).await.fence > lease.fence);
    let session = format!("rc:{{{}}}:attempts:{}", stage.config.namespace, asked.identity.session);
    let field = format!("attempts:{:016x}", asked.identity.account);
    assert_eq!(stage.redis.as_ref().expect("on redis").cli(&["HGET", &session, &field]).await, "1");
}

#[tokio::test]
async fn attempt_given_up_before_it_arrives_finds_itself_abandoned() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    stage.a.withdraw(&asked.id(), None).await.expect("an answer");

    stage.a.begin(&asked, None, &AdmissionTerms::at_once()).await.expect_err("an abandoned attempt led");

    lead(&stage.b, &ask("t")).await;
}

#[tokio::test]
async fn attempt_given_up_after_it_led_is_given_back_and_stays_so() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    lead(&stage.a, &asked).await;
    stage.a.withdraw(&asked.id(), None).await.expect("an answer");

    stage.a.begin(&asked, None, &AdmissionTerms::at_once()).await.expect_err("a repeated begin led after all");

    assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Unremarkable);
}

#[tokio::test]
async fn renewal_that_arrives_after_the_lead_was_given_back_changes_nothing() {
    let stage = Stage::on_redis(Config { lease: 60 * S, ..config() }).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;
    stage.a.abandon(&lease, &asked).await.expect("an answer");
    let before = stage.snapshot().await;

    assert_eq!(stage.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Superseded);

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

    // The pod that has seen the last fence is the first to notice.
    let begun = stage.a.begin(&ask("three"), None, &AdmissionTerms::at_once()).await.expect("an answer");
    assert!(matches!(begun, Begun::Recovering(_)), "{begun:?}");
    assert_eq!(stage.a.renew(&one, &first).await.expect("an answer"), Renewed::Renewed);
    assert_eq!(stage.a.renew(&two, &second).await.expect("an answer"), Renewed::Renewed);

    for token in ["one", "two"] {
        let begun = stage.b.begin(&ask(token), None, &AdmissionTerms::at_once()).await.expect("an answer");
        assert!(matches!(begun, Begun::Join(_)), "{begun:?}");
    }
    complete(&stage.a, &one, &first, &success("one")).await;
    assert_eq!(access_token(&landed(&stage.b, &ask("one"), None).await), "one");
    redis.wait(stage.config.lease).await;
    assert!(lead(&stage.b, &ask("three")).await.fence > two.fence);
}

#[tokio::test]
async fn pod_that_has_led_nothing_notices_that_redis_has_forgotten() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    lead(&stage.a, &asked).await;
    let redis = stage.redis.as_ref().expect("on redis");
    let late = RedisStore::connect(stage.target(), "late", Arc::new(stage.config.clone()), Arc::default()).await;
    let late = Store::Redis(late.expect("redis is there"));
    redis.cli(&["FLUSHALL"]).await;

    let begun = late.begin(&ask("t"), None, &AdmissionTerms::at_once()).await.expect("an answer");

    assert!(matches!(begun, Begun::Recovering(_)), "{begun:?}");
}

#[tokio::test]
async fn pod_is_back_in_the_register_when_redis_has_forgotten_it() {
    let stage = Stage::on_redis(config()).await;
    lead(&stage.a, &ask("t")).await;
    let redis = stage.redis.as_ref().expect("on redis");
    redis.cli(&["FLUSHALL"]).await;
    stage.a.begin(&ask("u"), None, &AdmissionTerms::at_once()).await.expect("an answer");
    redis.until(&["HEXISTS", &format!("rc:{{{}}}:meta", stage.config.namespace), "pod:a"], "1").await;

    let peppered = Config { pepper: Some("p".repeat(32).into()), ..stage.config.clone() };
    let refused = RedisStore::connect(stage.target(), "c", Arc::new(peppered), Arc::default()).await;

    assert!(refused.is_err());
}

#[tokio::test]
async fn pod_begins_nothing_while_one_lives_that_does_not_agree() {
    let stage = Stage::on_redis(config()).await;
    let redis = stage.redis.as_ref().expect("on redis");
    let meta = format!("rc:{{{}}}:meta", stage.config.namespace);
    let other = "ends=9999999999999 protocols=2-2 pepper=another provider=- uncertain=retry lease=1000";
    redis.cli(&["HSET", &meta, "pod:other", other]).await;
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;

    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let refused = loop {
        match stage.a.begin(&ask(&Uuid::new_v4().to_string()), None, &AdmissionTerms::at_once()).await {
            Err(refused) => break refused,
            Ok(_) => assert!(tokio::time::Instant::now() < deadline, "begins beside another pepper"),
        }
    };

    assert!(refused.reason.contains("pepper") && refused.reason.contains("pod other"), "{refused}");
    assert!(stage.a.check().await.is_err(), "it is ready, and begins nothing");
    redis.cli(&["HDEL", &meta, "pod:other"]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while stage.a.begin(&ask(&Uuid::new_v4().to_string()), None, &AdmissionTerms::at_once()).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the other is gone");
        redis.wait(Duration::from_millis(20)).await;
    }
    stage.a.check().await.expect("it begins flights again");
}

#[tokio::test]
async fn uncertain_token_stays_so_in_a_redis_that_has_forgotten_the_flight() {
    let stage = Stage::on_redis(Config { uncertain: Uncertain::Never, keep_failure: Duration::ZERO, ..config() }).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;
    stage.redis.as_ref().expect("on redis").cli(&["FLUSHALL"]).await;

    complete(&stage.a, &lease, &asked, &failure(ProviderFailure::unknown("reset"))).await;

    assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::TokenLost);
}

#[tokio::test]
async fn success_too_large_to_share_is_not_presented_again() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;

    complete(&stage.a, &lease, &asked, &success(&"x".repeat(stage.config.max_shared))).await;

    assert_eq!(landed(&stage.b, &ask("t"), None).await.outcome.class(), Class::Unknown);
    assert_eq!(landed(&stage.a, &ask("t"), None).await.outcome.class(), Class::Success, "its own pod has it");
}

#[tokio::test]
async fn fresh_outcome_is_handed_out_also_beside_a_lock_that_holds_no_owner() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;
    complete(&stage.a, &lease, &asked, &success("a")).await;
    let redis = stage.redis.as_ref().expect("on redis");
    let lock = format!("rc:{{{}}}:lock:{}", stage.config.namespace, asked.identity.flight);

    redis.cli(&["RPUSH", &lock, "no owner"]).await;
    assert_eq!(landed(&stage.b, &ask("t"), None).await.fence, lease.fence);
    redis.cli(&["SET", &lock, "no owner"]).await;
    assert_eq!(landed(&stage.b, &ask("t"), None).await.fence, lease.fence);
}

#[tokio::test]
async fn mark_of_an_attempt_outlives_a_short_failure() {
    let stage = Stage::on_redis(Config { keep_failure: Duration::ZERO, ..config() }).await;
    let (first, late) = (ask("t"), ask("t"));
    let lease = lead(&stage.a, &first).await;
    stage.b.withdraw(&late.id(), None).await.expect("an answer");
    complete(&stage.a, &lease, &first, &failure(ProviderFailure::not_sent("dns"))).await;

    stage.b.begin(&late, None, &AdmissionTerms::at_once()).await.expect_err("an abandoned attempt led");
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

    let begun = stage.b.begin(&ask("t"), None, &AdmissionTerms::at_once()).await.expect("an answer");

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

    assert_eq!(stage.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Renewed);
    assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours));
    // A new lead is refused as a whole, not halfway.
    let refused = stage.b.begin(&ask("u"), None, &AdmissionTerms::at_once()).await.expect_err("led above maxmemory");

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

#[tokio::test]
async fn scripts_that_are_flushed_again_and_again_run_all_the_same() {
    let stage = Stage::on_redis(Config { store_timeout: 20 * S, lease: 60 * S, ..config() }).await;
    let mut connection = stage.redis.as_ref().expect("on redis").connect().await;
    let flushing = tokio::spawn(async move {
        loop {
            redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await.expect("flushed");
            // Else it would come between every loading and its call.
            for _ in 0..3 {
                redis::cmd("PING").query_async::<()>(&mut connection).await.expect("an answer");
            }
        }
    });

    for number in 0..300 {
        let asked = ask(&format!("t{number}"));
        let lease = lead(&stage.a, &asked).await;
        assert!(matches!(complete(&stage.a, &lease, &asked, &success("one")).await, Standing::Ours), "{number}");
    }

    flushing.abort();
}

/// What was refused by an error has not run: there is nothing to take back.
#[tokio::test]
async fn refused_call_did_not_run_and_one_without_an_answer_may_have() {
    let stage = Stage::on_redis(config()).await;
    let redis = stage.redis.as_ref().expect("on redis");
    let begin =
        async |token| stage.a.begin(&ask(token), None, &AdmissionTerms::at_once()).await.expect_err("no answer");
    let queue = format!("rc:{{{}}}:queue", stage.config.namespace);
    redis.cli(&["SET", &queue, "text"]).await;

    let wrong_type = begin("t").await;
    redis.cli(&["DEL", &queue]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = begin("t").await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while stage.a.check().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "redis takes writes again");
        redis.wait(Duration::from_millis(5)).await;
    }
    redis.cli(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let silent = begin("t").await;

    assert!(wrong_type.reason.contains(&queue) && !wrong_type.may_have_run, "{wrong_type:?}");
    assert!(full.reason.contains("maxmemory") && !full.may_have_run, "{full:?}");
    assert!(silent.may_have_run, "{silent:?}");
}

#[tokio::test]
async fn begin_that_arrives_when_its_flight_is_over_changes_nothing() {
    let stage = Stage::on_redis(Config { keep_failure: Duration::ZERO, ..config() }).await;
    let asked = ask("t");
    let lease = lead(&stage.a, &asked).await;
    asked.note_unanswered();
    complete(&stage.a, &lease, &asked, &failure(ProviderFailure::not_sent("dns"))).await;
    // The failure is kept no longer than this.
    stage.redis.as_ref().expect("on redis").wait(Duration::from_millis(20)).await;

    stage.a.begin(&asked, None, &AdmissionTerms::at_once()).await.expect_err("it leads for nobody");

    assert_eq!(lead(&stage.b, &ask("t")).await.history, TokenHistory::Unremarkable);
}

/// A lead that Redis has forgotten, and that a renewal had no answer for.
async fn forgotten_lead(stage: &Stage, asked: &Ask) -> Lease {
    let lease = lead(&stage.a, asked).await;
    stage.redis.as_ref().expect("on redis").cli(&["FLUSHALL"]).await;
    let begun = stage.a.begin(&ask("another"), None, &AdmissionTerms::at_once()).await.expect("an answer");
    assert!(matches!(begun, Begun::Recovering(_)), "{begun:?}");
    asked.note_unanswered();
    lease
}

#[tokio::test]
async fn renewal_that_arrives_after_a_completion_puts_nothing_back() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    let lease = forgotten_lead(&stage, &asked).await;
    let completed = complete(&stage.a, &lease, &asked, &failure(ProviderFailure::not_sent("dns"))).await;
    assert!(matches!(completed, Standing::Stale), "{completed:?}");

    assert_eq!(stage.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Superseded);
}

#[tokio::test]
async fn renewal_that_arrives_after_its_lead_was_abandoned_puts_nothing_back() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    let lease = forgotten_lead(&stage, &asked).await;
    stage.a.abandon(&lease, &asked).await.expect("an answer");

    assert_eq!(stage.a.renew(&lease, &asked).await.expect("an answer"), Renewed::Superseded);
}

/// While Redis recovers nobody else was given a lead, however long the leader could not renew.
#[tokio::test]
async fn lease_that_is_over_by_its_own_clock_puts_its_flight_back_only_while_redis_recovers() {
    let stage = Stage::on_redis(config()).await;
    let asked = ask("t");
    let lease = forgotten_lead(&stage, &asked).await;
    let over = Lease { own: OwnLease::new(Moment::now(), Duration::ZERO), ..lease };
    assert_eq!(stage.a.renew(&over, &asked).await.expect("an answer"), Renewed::Renewed);

    let redis = stage.redis.as_ref().expect("on redis");
    redis.wait(stage.config.lease).await;
    let key = |name: &str| format!("rc:{{{}}}:{name}:{}", stage.config.namespace, asked.identity.flight);
    redis.cli(&["DEL", &key("lock")]).await;
    redis
        .cli(&["HSET", &key("flight"), "state", "lost", "owner", "-/1/1000", "lead", "given back", "lost_leaders", "1"])
        .await;

    assert_eq!(stage.a.renew(&over, &asked).await.expect("an answer"), Renewed::Superseded);
    let stands = Lease { own: OwnLease::new(Moment::now(), stage.config.lease), ..lease };
    assert_eq!(stage.a.renew(&stands, &asked).await.expect("an answer"), Renewed::Renewed);
}
