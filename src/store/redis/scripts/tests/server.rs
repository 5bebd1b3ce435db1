//! Which server decides: what begin.lua asks for it.

use super::alone::{Alone, of_other};

/// Whether a lead was given after INFO was asked.
async fn asks(alone: &Alone, with: super::With<'_>) -> bool {
    alone.redis.cli(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(alone.call("begin", with).await[0], "lead");
    let stats = alone.redis.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_pubsub|numsub:calls=1,"), "{stats}");
    stats.contains("cmdstat_info:")
}

#[tokio::test]
async fn server_is_asked_which_one_it_is_where_no_pod_listens_there() {
    let alone = Alone::new().await;
    let run_id = alone.redis.cli(&["GET", "rc:{alone}:incarnation"]).await[..40].to_owned();
    let client = redis::Client::open(alone.redis.url()).expect("a URL");

    assert!(asks(&alone, &[]).await);

    let mut pod = client.get_async_pubsub().await.expect("a connection");
    pod.subscribe(format!("rc:{{alone}}:server:{run_id}")).await.expect("subscribed");
    assert!(!asks(&alone, &of_other(&[])).await);

    // Another one decided last: whoever listens here listens on the channel of this one.
    let other = format!("{} 0 0", "f".repeat(40));
    alone.redis.cli(&["SET", "rc:{alone}:incarnation", &other]).await;
    let third = of_other(&[("flight", "third"), ("lock", "third"), ("attempts", "third")]);
    assert_eq!(alone.call("begin", &third).await[0], "recovering");
}
