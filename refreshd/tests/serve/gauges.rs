//! What `/metrics` tells whoever is on call of the fleet, read at the scrape.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::daemon::{Daemon, refresh};
use crate::promtool;
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;

/// Scrapes until this line is there.
async fn scraped(daemon: &Daemon, line: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, text) = daemon.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        if text.lines().any(|told| told == line) {
            return text;
        }
        assert!(Instant::now() < deadline, "no {line}: {text}");
        tokio::task::yield_now().await;
    }
}

/// All but the values.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name)).collect()
}

#[tokio::test]
async fn scrape_reads_circuit_permits_and_queue_and_leaves_them_out_while_redis_does_not_answer() {
    let redis = RedisServer::start_own(&[]).await;
    redis.in_use("default").await;
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, "{}")).await;
    let flags = ["--redis", redis.url(), "--max-concurrent-refreshes", "1", "--store-timeout", "15s", "--lease", "60s"];
    let daemon = Daemon::start(&provider, &flags).await;
    let _leads = daemon.write_refresh(refresh("r1")).await;
    provider.asked(1).await;
    let _queues = daemon.write_refresh(refresh("r2")).await;
    redis.until_queued("rc:{default}:queue", 1).await;

    let told = scraped(&daemon, "refreshd_queue_flights 1").await;
    let again = scraped(&daemon, "refreshd_queue_flights 1").await;

    for line in [
        "refreshd_permits_out 1",
        "refreshd_permits_limit 1",
        "refreshd_circuit_state{state=\"closed\"} 1",
        "refreshd_circuit_state{state=\"open\"} 0",
        "refreshd_circuit_open_seconds 0",
        "refreshd_store_reached 1",
        "refreshd_store_recovering_seconds 0",
        "refreshd_pods 1",
        "refreshd_leases_lost_total 0",
        "refreshd_taken_over_total 0",
        "refreshd_config_info{namespace=\"default\",lease_ms=\"60000\",keep_outcome_ms=\"30000\",on_store_outage=\"reject\",\
         uncertain=\"retry\",refresh_tokens=\"single_use\",other_claims=\"follow\"} 1",
    ] {
        assert!(told.lines().any(|told| told == line), "no {line}: {told}");
    }
    let age = told.lines().find_map(|line| line.strip_prefix("refreshd_queue_oldest_seconds ")).expect("an age");
    assert!(age.parse::<f64>().is_ok_and(|age| age > 0.0 && age < 60.0), "{age}");
    assert_eq!(names(&told), names(&again), "each scrape has the same order");
    let families: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.is_sorted(), "{families:?}");
    promtool::check(&told);

    let pid = nix::unistd::Pid::from_raw(redis.pid().expect("its own").try_into().expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("it is ours");
    let told = scraped(&daemon, "refreshd_store_reached 0").await;
    kill(pid, Signal::SIGCONT).expect("it is ours");

    assert!(!told.contains("refreshd_permits_out") && !told.contains("refreshd_circuit_state"), "{told}");
    assert!(told.contains("\nrefreshd_permits_limit 1\n") && told.contains("\nrefreshd_flights 2\n"), "{told}");
    promtool::check(&told);
}
