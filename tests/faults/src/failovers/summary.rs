//! What a run of failovers ends with.

use std::time::Duration;

use super::arguments::FailoverArguments;
use super::judge::Report;

/// A flight whose lead came later than this waited: for the server to recover, or for a machine that is busy.
const WAITED: u64 = 100_000;

/// Prints it, and answers whether every promise was kept.
pub(crate) fn print(report: &Report, arguments: &FailoverArguments, waited: u64, took: Duration) -> bool {
    let FailoverArguments { failovers, seed, rate, lag, lease, .. } = arguments;
    println!(
        "{failovers} failovers in {:.0} s, seed {seed}: {rate} refreshes per second, lease {lease} ms, replica {lag} ms behind",
        took.as_secs_f64()
    );
    println!("  {} presentations, {} answers{}", report.presentations, report.answers.len(), spread(&report.answers));
    println!("  presented beside a living leader: {}", report.beside_a_leader.len());
    println!("  successes lost: {}", report.successes_lost.len());
    println!("  fences given twice: {}", report.fences_twice.len());
    println!("  callers that came to no end: {}", report.endless.len());
    println!("  of either, where a process stood still meanwhile: {}", report.where_the_machine_stood_still.len());
    println!(
        "  processes stood still for more than a third of the lease: {} times{}",
        report.stood_still.len(),
        spread(&sorted(&report.stood_still))
    );
    println!("  told to come again: {:?}", report.refused);
    let late: Vec<u64> = report.leads_after.iter().copied().filter(|span| *span >= WAITED).collect();
    println!("  flights that waited for a server to recover: {waited}");
    println!(
        "  of {} flights that came just after a failover, {} waited{}",
        report.leads_after.len(),
        late.len(),
        spread(&late)
    );
    let broken = [
        ("beside a leader", &report.beside_a_leader),
        ("success lost", &report.successes_lost),
        ("no end", &report.endless),
        ("stood still", &report.where_the_machine_stood_still),
    ];
    for (kind, all) in broken {
        all.iter().take(5).for_each(|what| println!("  {kind}: {what}"));
    }
    let is_kept = report.beside_a_leader.is_empty()
        && report.successes_lost.is_empty()
        && report.endless.is_empty()
        && report.fences_twice.is_empty()
        // A run in which nothing happened shows nothing.
        && report.presentations > failovers * usize::try_from(*rate).unwrap_or(0);
    let word = if is_kept { "1 passed, 0 failed" } else { "0 passed, 1 failed" };
    println!("failovers: {word}");
    is_kept
}

fn sorted(spans: &[u64]) -> Vec<u64> {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    spans
}

/// Of spans in their order.
fn spread(spans: &[u64]) -> String {
    let Some(max) = spans.last() else { return String::new() };
    let at = |percent: usize| spans[(spans.len() - 1) * percent / 100] / 1000;
    format!(": p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), max / 1000)
}
