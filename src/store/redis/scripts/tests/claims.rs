//! Several claims of one login, told by the scripts' own words.

use super::alone::{Alone, THREE, TWO, widened};

type Told = Vec<(&'static str, &'static str)>;

/// A flight of this claim with a token, as its holder.
fn of(flight: &'static str, claim: &'static str, holder: &'static str, attempt: &'static str) -> Told {
    let of_token = ["lock", "flight", "held", "name", "attempts"].map(|name| (name, flight));
    [&of_token[..], &[("claim", claim), ("holder", holder), ("attempt", attempt)]].concat()
}

fn and(told: &Told, more: &[(&'static str, &'static str)]) -> Told {
    [more, told].concat()
}

/// Where nothing else is known of a login, whatever is written of it ends: [`Alone::call`] looks.
pub(super) async fn come_to_unknown_logins(alone: &Alone) {
    let led_on = and(&of("d6", "c1d6", "a6", "e6"), &[("as", "claim"), ("owed", "f6")]);
    assert_eq!(alone.call("follow", &led_on).await[0], "own");

    let first = of("d5", "c1d5", "a5", "e5");
    assert_eq!(alone.call("begin", &and(&first, &[("chain", "direct a5 0 follows")])).await[0], "lead");
    for number in 0..63 {
        let claim = format!("b{number:03}");
        let told = and(&of("d5", "", "a5", TWO), &[]);
        alone.call("follow", &[&[("claim", claim.as_str())][..], &told].concat()).await;
    }
    let led = (alone.leads().to_string(), format!("a/{}", alone.leads()));
    let ours = [("own_fence", led.0.as_str()), ("owner", led.1.as_str())];
    let family = ("family", "a5 d5 a5 ffff eeee 1 1 60000 7200000");
    let lands = [("chain", "direct a5 d7 a7 c1d7 7200000"), ("link", "d7"), family];
    let before = [("before", "abcd 1 x 0 60000 7200000\nsealed")];
    alone.call("complete", &[&lands[..], &before, &ours, &first].concat()).await;
    assert_eq!(alone.redis.cli(&["HKEYS", "rc:{alone}:answers:a5"]).await, "abcd");
}

/// Two claims come with one token, one after the other presents the newest, and many others come.
pub(super) async fn follow_other_claims(alone: &Alone) {
    let first = of("d1", "c1a1", "a1", "d1");
    let second = of("d1", "c1a2", "a1", TWO);
    let third = of("d1", "c1a4", "a1", THREE);
    let chain = ("chain", "direct a1 0 follows");
    assert_eq!(alone.call("begin", &and(&first, &[chain])).await[0], "lead");
    let led = (alone.leads().to_string(), format!("a/{}", alone.leads()));
    assert_eq!(alone.call("begin", &and(&second, &[chain])).await[0], "claims");
    assert_eq!(alone.call("follow", &second).await[0], "wait");
    let lands = [("chain", "direct a1 d2 a2 c1b1 7200000"), ("link", "d2")];
    let ours = [("own_fence", led.0.as_str()), ("owner", led.1.as_str())];
    alone.call("complete", &[&lands[..], &ours, &first].concat()).await;

    let other = alone.call("follow", &second).await;
    assert_eq!((&*other[0], &*other[5], &*other[9]), ("other", "c1a1", "sealed"), "its turn: {other:?}");
    assert_eq!(alone.call("follow", &third).await[0], "wait");

    let newest = of("d2", "c1b2", "a2", "d2");
    assert_eq!(alone.call("begin", &and(&newest, &[("chain", "claim a2 1 follows")])).await[0], "lead");
    let led = (alone.leads().to_string(), format!("a/{}", alone.leads()));
    let ours = [("own_fence", led.0.as_str()), ("owner", led.1.as_str())];
    let lands =
        [("chain", "1 a2 d3 a3 c1c2 7200000"), ("link", "d3"), ("family", "a1 d1 a1 c1a2 c2 1 2 60000 7200000")];
    alone.call("complete", &[&lands[..], &ours, &newest].concat()).await;
    assert_eq!(alone.call("follow", &second).await[0], "given", "its answer was lost");
    let newest = alone.call("follow", &third).await;
    assert_eq!((&*newest[0], &*newest[2], &*newest[5], &*newest[6]), ("newest", "own key", "3", "token"));

    assert_eq!(alone.call("follow", &and(&of("d3", "c1c2", "a3", TWO), &[("as", "take")])).await[0], "unused");
    let mut said = String::new();
    for number in 0..64 {
        let claim = format!("f{number:03}");
        let told = and(&of("d1", "", "a1", "e1"), &[]);
        let told: Vec<_> = [&[("claim", claim.as_str())][..], &told].concat();
        said = alone.call("follow", &told).await.remove(0);
    }
    assert_eq!(said, "full");
    alone.set("family:a1", "called", "").await;
    alone.redis.cli(&["DEL", "rc:{alone}:order:a1"]).await;
    assert_eq!(alone.call("follow", &of("d3", "c1c2", "a3", TWO)).await[0], "own");
    let order = "rc:{alone}:order:a1";
    let waiting = |attempt, claim| format!("a {} d1 {}", widened("attempt", attempt), widened("claim", claim));
    for waiting in [waiting("e2", "c1a9"), waiting("e3", "c1a2")] {
        alone.redis.cli(&["ZADD", order, "1", &waiting]).await;
    }
    alone.redis.cli(&["PEXPIRE", order, "60000"]).await;
    assert_eq!(alone.call("follow", &of("d1", "c1a9", "a1", "e2")).await[0], "spent", "nobody knows this claim");
    assert_eq!(alone.redis.cli(&["ZRANGE", order, "0", "-1"]).await, waiting("e3", "c1a2"), "it waits no longer");
    alone.set("family:a1", "used", "9").await;
    assert_ne!(alone.call("follow", &of("d3", "c1c9", "a3", "e4")).await[0], "spent", "it has the newest token");

    let noted = alone.redis.cli(&["GET", "rc:{alone}:incarnation"]).await;
    alone.redis.cli(&["DEL", "rc:{alone}:incarnation"]).await;
    assert_eq!(alone.call("follow", &third).await[0], "forgotten");
    alone.redis.cli(&["SET", "rc:{alone}:incarnation", &noted]).await;
    assert_eq!(alone.call("end", &second).await[0], "family");
    assert_eq!(alone.call("follow", &third).await[0], "ended");
}
