//! Sessions that were ended before another server takes over which lacks that write: the pod that ended them says so again.

use super::on_servers::{Servers, config};
use super::stage::*;

/// Waits until the server that took over knows of the end.
async fn is_ended_again(store: &Store, token: &str) {
    let deadline = Instant::now() + 20 * S;
    while !matches!(begin(store, &ask(token)).await, Begun::Ended) {
        assert!(Instant::now() < deadline, "{token} is not ended again");
        tokio::time::sleep(5 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_that_a_replica_lacks_is_told_again_before_anybody_leads() {
    let servers = Servers::start(config()).await;
    let leader = ask("under way");
    let lease = lead(&servers.b, &leader).await;
    servers.primary.detach(&servers.replica).await;
    for token in ["under way", "idle"] {
        servers.a.end_session(&ask(token)).await.expect("an answer");
    }

    servers.fail_over(&servers.replica);

    let (late, _way) = servers.late_pod(&servers.replica).await;
    for token in ["under way", "idle"] {
        // A flight that comes before that waits: a server that takes over gives no lead for a lease.
        let begun = begin(&late, &ask(token)).await;
        assert!(matches!(begun, Begun::Ended | Begun::Join(_) | Begun::Recovering(_)), "{token}: {begun:?}");
        is_ended_again(&late, token).await;
    }
    let standing = complete(&servers.b, &lease, &leader, &success("new")).await;
    assert!(matches!(standing, Standing::Ended), "{standing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_that_lands_again_where_another_server_took_over_is_for_nobody_once_its_session_has_ended() {
    let servers = Servers::start(config()).await;
    servers.primary.detach(&servers.replica).await;
    fly(&servers.a, &ask("t"), &success("new")).await;
    servers.a.end_session(&ask("t")).await.expect("an answer");

    servers.fail_over(&servers.replica);

    let (late, _way) = servers.late_pod(&servers.replica).await;
    // First the end is told again, then what has landed: no look finds the tokens between the two.
    let deadline = Instant::now() + 20 * S;
    loop {
        match begin(&late, &ask("t")).await {
            Begun::Ended => break,
            Begun::Recovering(_) => assert!(Instant::now() < deadline, "it is not ended again"),
            other => panic!("{other:?}"),
        }
    }
}
