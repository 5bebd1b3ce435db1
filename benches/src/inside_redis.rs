//! How many instructions a `redis-server` takes for what pods send it, counted by callgrind.

use std::path::Path;
use std::time::Duration;

use refresh_coordinator::RefreshCoordinator;

use crate::callgrind::{self, Counted};
use crate::one_thread;
use crate::pods::{connect, wide_and_alike};
use crate::redis_server::RedisServer;

/// What Redis does to a command that it reads, up to its reply. What it does by the clock is not counted: how often that is
/// depends on how slow callgrind is on this machine, and one look at its own memory is a fifth of a refresh.
const COMMANDS: Counted<'_> = Counted(&["readQueryFromClient"]);

/// Nothing by the clock within a command, either. A script that took longer than 10 ms, as it does where the machine is busy,
/// would be written down with a copy of each of its 30 arguments.
const NOTHING_BY_THE_CLOCK: [&str; 8] =
    ["--hz", "1", "--dynamic-hz", "no", "--activerehashing", "no", "--slowlog-log-slower-than", "-1"];

/// Instructions of a `redis-server` for all commands of what a pod does, and those by which the pod starts and ends. Callgrind
/// leaves what it counted in `out`. Outcomes are fresh for so long.
///
/// # Errors
///
/// Nothing was counted.
pub fn inside_redis(
    out: &Path,
    keep_outcome: Duration,
    work: impl AsyncFnOnce(&RefreshCoordinator),
) -> Result<u64, String> {
    inside_redis_of_fleet(out, 1, keep_outcome, async |pods| work(&pods[0]).await)
}

/// The same for what so many pods do.
///
/// # Errors
///
/// Nothing was counted.
pub fn inside_redis_of_fleet(
    out: &Path,
    pods: usize,
    keep_outcome: Duration,
    work: impl AsyncFnOnce(&[RefreshCoordinator]),
) -> Result<u64, String> {
    let server = callgrind::command("redis-server", COMMANDS, out);
    one_thread().block_on(async {
        let redis = RedisServer::start_by(server, &NOTHING_BY_THE_CLOCK).await;
        // Nor does any key end while it runs, and the pod does little beside its refreshes: every third of a lease it asks
        // where the endpoint leads.
        let config = wide_and_alike()
            // No longer than an outcome is kept and waited for.
            .with_lease(Duration::from_secs(60).min(keep_outcome + Duration::from_secs(30)))
            .with_keep_outcome(keep_outcome)
            .with_refresh_attempt_window(Duration::from_secs(60 * 60));
        // A server that knows nothing of the namespace would be waited for.
        redis.in_use(&config.namespace).await;
        let mut fleet = Vec::new();
        for _ in 0..pods {
            fleet.push(connect(&redis, &config).await);
        }
        work(&fleet).await;
        redis.shut_down().await;
    });
    callgrind::read(COMMANDS, out)
}
