//! More claims of one login than there is room for, and more flights than may wait: whose login it is is served, those that wait go on in
//! their order, and nothing of what was made up stays.

use super::chains::{by, held, to};
use super::claims::turn::{Turn, claim, comes, follow, two_claims, waits};
use super::stage::*;
use crate::retention::Retention;
use crate::store::{Coming, Followed, NewsSource};

/// So many claims of a login are known.
const MOST_CLAIMS: usize = 64;

/// So many of its flights wait for their turn.
const MOST_WAITING: usize = 1024;

/// A flight that waits for its turn.
type Waiting = (Ask, NewsSource);

fn crowded() -> Config {
    Config { max_refresh_attempts: 1_000_000, ..held() }
}

fn guessed(stage: &Stage, scope: usize) -> Ask {
    let refresh = Refresh::new("one").client("app", "guessed").parameters([("scope", scope.to_string())]);
    by(stage, refresh, Coming::Directly)
}

/// The provider refuses to give such a scope.
fn refused_scope() -> Arc<Outcome> {
    denied("invalid_scope")
}

/// The first claim leads, and the others wait: so many flights, of all other claims by turns.
async fn wait_behind_the_first(stage: &Stage, flights: usize) -> (Ask, Lease, Vec<Waiting>) {
    let first = claim(stage, "one", "0");
    let lease = lead(&stage.a, &first).await;
    let mut waiting = Vec::new();
    for number in 0..flights {
        let mut own = claim(stage, "one", &scope_of(number));
        let news = waits(stage, &mut own).await;
        waiting.push((own, news));
    }
    (first, lease, waiting)
}

/// Of the flight that came at this place.
fn scope_of(number: usize) -> String {
    (1 + number % (MOST_CLAIMS - 1)).to_string()
}

async fn is_refused(stage: &Stage, mut newcomer: Ask) {
    let followed = comes(stage, &mut newcomer).await;
    assert!(matches!(followed, Followed::Full), "{followed:?}");
}

/// In their turn all are refused their scopes.
async fn all_are_denied(stage: &Stage, (first, lease, waiting): (Ask, Lease, Vec<Waiting>)) {
    complete(&stage.a, &lease, &first, &refused_scope()).await;
    for (own, news) in waiting {
        let turn = Turn::called(stage, own, news).await;
        assert_eq!(turn.token(), "one");
        turn.lands(stage, &refused_scope()).await;
    }
}

/// On Redis: nothing is left of these.
async fn are_forgotten(stage: &Stage, names: &[&str]) {
    let Some(redis) = &stage.redis else { return };
    for name in names {
        let left = redis.keys(&format!("rc:{{{}}}:{name}:*", stage.config.namespace)).await;
        assert_eq!(left, [""; 0], "{name}");
    }
}

/// Those that wait have gone without a word, ten minutes ago.
async fn are_gone_without_a_word(stage: &Stage, waiting: Vec<Waiting>) {
    drop(waiting);
    let Some(redis) = &stage.redis else { return };
    // A pod that ends tells Redis nothing: only time does.
    is_refused(stage, claim(stage, "one", "1")).await;
    let orders = redis.keys(&format!("rc:{{{}}}:order:*", stage.config.namespace)).await;
    let [order] = &orders[..] else { panic!("{orders:?}") };
    let earlier = "for _, flight in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
                   redis.call('ZINCRBY', KEYS[1], -600 * 1000000, flight) end return redis.call('ZCARD', KEYS[1])";
    assert_eq!(redis.cli(&["EVAL", earlier, "1", order]).await, MOST_WAITING.to_string());
}

both! {
    async fn login_of_which_nobody_is_owed_anything_is_forgotten_after_wait_timeout(stage, crowded()) {
        let flood = wait_behind_the_first(&stage, MOST_CLAIMS - 1).await;
        let kept = Retention::of(&refused_scope(), &stage.config).kept;

        all_are_denied(&stage, flood).await;

        stage.pass(stage.config.wait_timeout).await;
        are_forgotten(&stage, &["family", "order", "answers"]).await;
        // The record of the token tells what became of its presentation, as that of any does, until nobody asks for it any more.
        stage.pass(kept).await;
        are_forgotten(&stage, &["flight"]).await;
        // There is room for claims that are none of those.
        two_claims(&stage).await;
        assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "three");
    }

    async fn owner_behind_sixty_four_made_up_scopes_is_served_with_each_of_its_tokens(stage, crowded()) {
        let flood = wait_behind_the_first(&stage, MOST_CLAIMS - 1).await;
        let mut own = claim(&stage, "one", "owner");
        let news = waits(&stage, &mut own).await;

        all_are_denied(&stage, flood).await;

        let turn = Turn::called(&stage, own, news).await;
        assert_eq!((turn.token(), turn.lease.history), ("one", TokenHistory::Unremarkable));
        turn.lands(&stage, &to("two")).await;
        for (token, next) in [("two", "three"), ("three", "four")] {
            stage.pass(3 * S).await;
            let turn = Turn::at_once(&stage, token, "owner").await;
            assert_eq!(turn.token(), token);
            turn.lands(&stage, &to(next)).await;
        }
    }

    async fn sixty_four_scopes_of_strangers_take_no_place_of_the_owner(stage, crowded()) {
        let first = guessed(&stage, 0);
        let lease = lead(&stage.b, &first).await;
        let mut strangers = Vec::new();
        for scope in 1..MOST_CLAIMS {
            strangers.push(waits(&stage, &mut guessed(&stage, scope)).await);
        }
        complete(&stage.b, &lease, &first, &denied("invalid_client")).await;

        two_claims(&stage).await;

        assert_eq!(Turn::at_once(&stage, "two", "a").await.token(), "three");
    }

    async fn full_order_drains_in_order_and_newcomer_is_refused_only_while_it_is_full(stage, crowded()) {
        let (first, lease, mut waiting) = wait_behind_the_first(&stage, MOST_WAITING).await;
        is_refused(&stage, claim(&stage, "one", "1")).await;
        let (last, of_last) = waiting.last_mut().expect("they wait");
        let Followed::Wait(news) = follow(&stage.b, last).await else { panic!("it has its place") };
        *of_last = news;

        complete(&stage.a, &lease, &first, &to("2")).await;
        // The first of them is called, and leaves its place to one more.
        let mut newcomer = claim(&stage, "one", "1");
        let news = waits(&stage, &mut newcomer).await;
        waiting.push((newcomer, news));
        is_refused(&stage, claim(&stage, "one", "1")).await;
        let mut newest = 2;
        for (number, (own, mut news)) in waiting.into_iter().enumerate() {
            if number < MOST_CLAIMS - 1 {
                let turn = Turn::called(&stage, own, news).await;
                assert_eq!(turn.token(), newest.to_string());
                newest += 1;
                turn.lands(&stage, &to(&newest.to_string())).await;
            } else {
                // Another flight of its claim was answered.
                assert!(matches!(news.news().await, News::BeginAgain));
                let Followed::Given(given) = follow(&stage.b, &own).await else { panic!("nothing is given") };
                let given_to = if number == MOST_WAITING { 0 } else { number % (MOST_CLAIMS - 1) };
                assert_eq!(access_token(&given), format!("of {}", 3 + given_to));
            }
        }

        assert_eq!(Turn::at_once(&stage, "2", "0").await.token(), newest.to_string());
    }

    async fn flights_that_left_full_order_without_a_word_make_way(stage, crowded()) {
        let (first, lease, waiting) = wait_behind_the_first(&stage, MOST_WAITING).await;

        are_gone_without_a_word(&stage, waiting).await;

        let mut newcomer = claim(&stage, "one", "1");
        let news = waits(&stage, &mut newcomer).await;
        complete(&stage.a, &lease, &first, &to("two")).await;
        assert_eq!(Turn::called(&stage, newcomer, news).await.token(), "two");
    }
}
