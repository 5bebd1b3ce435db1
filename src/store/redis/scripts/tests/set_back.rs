//! A clock that was set back by an hour leaves stamps that are an hour ahead. Whatever they end, it is over after the
//! span that was set for it, and not an hour later.

use std::time::Duration;

use super::alone::{Alone, CLIENT, ONE, OTHER, With, ms_in, of_other, widened};
use super::rejected;

#[tokio::test]
async fn clock_that_was_set_back_makes_nothing_longer_than_its_setting() {
    let set_back = SetBack::new().await;

    set_back.cooldown_is_over().await;
    set_back.open_circuit_is_over().await;
    set_back.probe_is_over().await;
    set_back.permit_is_over().await;
    set_back.outcome_of_another_claim_is_over().await;
    set_back.lost_leader_is_over("leading", "started", "lost").await;
    set_back.lost_leader_is_over("lost", "again_at", "started").await;
    set_back.hold_of_a_session_is_shortened().await;
    set_back.claims_of_a_login_wait_no_longer().await;
}

/// A server with its clock set back by an hour, and a caller with short settings.
struct SetBack {
    alone: Alone,
    /// A stamp that was written before.
    far: String,
}

impl SetBack {
    const SHORT: With<'static> =
        &[("lease_ms", "400"), ("cooldown_ms", "400"), ("retry_ms", "400"), ("grace_ms", "400"), ("limit", "1")];

    async fn new() -> Self {
        let alone = Alone::new().await;
        let far = alone.far().await;
        Self { alone, far }
    }

    async fn begin(&self) -> Vec<String> {
        self.alone.call("begin", &of_other(Self::SHORT)).await
    }

    /// Writes fields that Redis itself keeps for longer than an hour.
    async fn set(&self, key: &str, fields: With<'_>) {
        for (field, value) in fields {
            self.alone.set(key, field, value).await;
        }
        self.keep(key).await;
    }

    async fn keep(&self, key: &str) {
        self.alone.redis.cli(&["PEXPIRE", &format!("rc:{{alone}}:{key}"), "7200000"]).await;
    }

    /// It is refused for so many ms at the most, and then not any more. Nothing is left.
    async fn refused(&self, why: &str, longest: u64) {
        let rest = rejected(&self.alone, &of_other(Self::SHORT), why).await;
        assert!(ms_in(&rest[0]) <= longest, "{rest:?}");
        self.alone.redis.wait(Duration::from_millis(longest)).await;
        let reply = self.begin().await;
        assert!(reply[..2] != ["rejected", why], "{why} still: {reply:?}");
        self.alone.redis.cli(&["FLUSHALL"]).await;
        self.alone.redis.in_use("alone").await;
    }

    async fn cooldown_is_over(&self) {
        self.set("attempts:session", &[("cooldown_until:acc0000000000000", &self.far)]).await;
        self.refused("cooling_down", 400).await;
    }

    async fn open_circuit_is_over(&self) {
        self.set("circuit", &[("state", "open"), ("open_until", &self.far), ("open_ms", "400")]).await;
        self.refused("circuit_open", 400).await;
    }

    async fn probe_is_over(&self) {
        self.set("circuit", &[("state", "half_open"), ("probe:1", &format!("{} 400", self.far))]).await;
        self.refused("circuit_open", 400).await;
    }

    async fn permit_is_over(&self) {
        self.alone.redis.cli(&["ZADD", "rc:{alone}:permits", &self.far, "b/1/400"]).await;
        self.alone.redis.cli(&["SET", "rc:{alone}:budget", "1"]).await;
        self.keep("permits").await;
        self.keep("budget").await;
        self.refused("budget", 1000).await;
    }

    async fn outcome_of_another_claim_is_over(&self) {
        let far = &self.far;
        let led = [("state", "landed"), ("owner", "b/1/60000"), ("lead", &led_as("another")), ("started", "1")];
        let outcome = [("token_state", "rotated"), ("class", "success"), ("landed_at", far), ("sealed", "sealed")];
        let fresh = [("fresh_ms", "400"), ("fresh_until", far)];
        self.set(&format!("flight:{OTHER}"), &[&led[..], &outcome, &fresh].concat()).await;
        self.refused("another_claim", 400).await;
    }

    /// The flight's record in this state, with this field as the stamp and the other one long ago.
    async fn lost_leader_is_over(&self, state: &str, stamp: &str, other: &str) {
        let led = [("state", state), ("owner", "b/1/60000"), ("lead", &led_as("claim")), ("lost_leaders", "1")];
        self.set(&format!("flight:{OTHER}"), &[&[(other, "1")][..], &led, &[(stamp, &self.far)]].concat()).await;
        let reply = self.begin().await;
        assert_eq!([&reply[0], &reply[3]], ["join", "lost"]);
        assert!(ms_in(&reply[4]) <= 400, "{reply:?}");
        self.alone.redis.wait(Duration::from_millis(400)).await;
        assert_eq!(self.begin().await[0], "lead");
        self.alone.redis.cli(&["FLUSHALL"]).await;
        self.alone.redis.in_use("alone").await;
    }

    /// The provider sets how long that is: 5 minutes at the most, also in what Redis keeps.
    async fn hold_of_a_session_is_shortened(&self) {
        self.set("attempts:session", &[("held_until:acc0000000000000", &self.far)]).await;
        let rest = rejected(&self.alone, &of_other(Self::SHORT), "limited").await;
        assert!(ms_in(&rest[0]) <= 300_000, "{rest:?}");
        let held_until =
            self.alone.redis.cli(&["HGET", "rc:{alone}:attempts:session", "held_until:acc0000000000000"]).await;
        assert!(ms_in(&held_until) <= self.alone.now_ms().await + 300_000);
    }

    /// Neither for a dead leader, nor for a turn that nobody takes, nor for a server that has recovered.
    async fn claims_of_a_login_wait_no_longer(&self) {
        self.alone.redis.cli(&["FLUSHALL"]).await;
        self.alone.redis.in_use("alone").await;
        let of = |claim| [&of_other(Self::SHORT)[..], &[("held", OTHER), ("holder", "a1"), ("claim", claim)]].concat();
        let leads = [&[("attempt", ONE), ("chain", "direct a1 0 follows")][..], &of("c1")].concat();
        assert_eq!(self.alone.call("begin", &leads).await[0], "lead");
        self.keep(&format!("lock:{OTHER}")).await;
        self.is_its_turn_soon(&of("c2")).await;

        self.alone.set("family:a1", "called", &format!("{ONE} {}", self.far)).await;
        self.is_its_turn_soon(&of("c2")).await;

        let noted = self.alone.redis.cli(&["GET", "rc:{alone}:incarnation"]).await;
        let (run_id, _) = noted.split_once(' ').expect("what stands there");
        self.alone.redis.cli(&["SET", "rc:{alone}:incarnation", &format!("{run_id} {} 400", self.far)]).await;
        self.is_its_turn_soon(&of("c2")).await;
    }

    async fn is_its_turn_soon(&self, claim: With<'_>) {
        let with = [&[("called_ms", "400")][..], claim].concat();
        let reply = self.alone.call("follow", &with).await;
        assert_eq!(reply[0], "wait", "{reply:?}");
        assert!(ms_in(&reply[1]) <= 600, "{reply:?}");
        self.alone.redis.wait(Duration::from_millis(400)).await;
        assert_eq!(self.alone.call("follow", &with).await[0], "own");
    }
}

/// As a leader writes of itself whose claim is this.
fn led_as(claim: &str) -> String {
    format!("{ONE} {} {CLIENT} acc0000000000000", widened("claim", claim))
}
