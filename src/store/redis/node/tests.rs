//! Which of several answers is believed.

use redis::IntoConnectionInfo;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(1);

fn server(name: &str) -> ConnectionInfo {
    format!("redis://{name}").into_connection_info().expect("a URL")
}

/// What a sentinel says after a while; without anything it refuses.
type Says = (u64, Option<(u64, &'static str)>);

const NEW: Option<(u64, &str)> = Some((1, "new"));
const OLD: Option<(u64, &str)> = Some((0, "old"));

/// One that knows of the failover, and then sentinels that say these things after so many ms. Which server is found?
async fn found_after_a_failover(pause: Duration, sentinels: &[Says]) -> String {
    let before = Instant::now();
    let found = Found { serves: Serves::All(server("new")), asked: before, epoch: 1, told: before };
    tokio::time::advance(pause).await;
    let ask = |(after_ms, says): &Says| -> Asked<'static> {
        let (after, says) = (Duration::from_millis(*after_ms), *says);
        Box::pin(async move {
            tokio::time::sleep(after).await;
            let (epoch, name) = says.ok_or_else(|| nobody("it is gone"))?;
            Ok(Told { epoch, serves: Serves::All(server(name)), members: Vec::new() })
        })
    };
    let asked = sentinels.iter().map(ask).collect();
    let (told, are_all) = newest(asked, found.epoch, TIMEOUT).await.expect("somebody answers");
    let serves = if found.outlives(&told, are_all) { found.serves } else { told.serves };
    match serves {
        Serves::All(info) => info.addr().to_string(),
        Serves::Slots(_) => unreachable!("BUG: no cluster"),
    }
}

#[tokio::test(start_paused = true)]
async fn sentinel_that_has_told_of_a_new_master_and_answers_late_is_not_overruled_by_those_that_are_behind() {
    let slow = [(0, OLD), (1, OLD), (300, NEW)];
    assert_eq!(found_after_a_failover(Duration::ZERO, &slow).await, "new:6379");
    let silent = [(0, OLD), (1, OLD), (5000, NEW)];
    assert_eq!(found_after_a_failover(Duration::ZERO, &silent).await, "new:6379");
    let gone = [(0, OLD), (1, OLD), (2, None)];
    assert_eq!(found_after_a_failover(Duration::ZERO, &gone).await, "new:6379");
}

#[tokio::test(start_paused = true)]
async fn failover_that_all_sentinels_say_did_not_come_about_is_forgotten_at_once() {
    let all = [(0, OLD), (1, OLD), (300, OLD)];
    assert_eq!(found_after_a_failover(Duration::ZERO, &all).await, "old:6379");
}

#[tokio::test(start_paused = true)]
async fn failover_that_nobody_has_told_of_for_a_while_is_forgotten() {
    let silent = [(0, OLD), (1, OLD), (5000, NEW)];
    assert_eq!(found_after_a_failover(BELIEVED, &silent).await, "old:6379");
}
