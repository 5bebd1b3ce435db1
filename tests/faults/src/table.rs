//! What the suite ends with.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checker::{Report, Row, Rule};
use crate::history::Kind;

/// Prints the table and says how many rows failed.
pub(crate) fn print(reports: &[Report], took: Duration) -> usize {
    let (mut passed, mut failed) = (0, 0);
    for report in reports {
        println!();
        println!(
            "fleet {}: {} refreshes in peace, {} of them failed",
            report.name, report.unfaulted, report.unfaulted_failed
        );
        println!(
            "{:<38} {:>4} {:>6} {:>5} {:>5} {:>5} {:>5} {:>5} {:>7} {:>8}  allowed by",
            "fault", "runs", "refr.", "again", "lost", "ended", "late", "perm.", "p50", "max"
        );
        for (fault, row) in &report.rows {
            println!("{}", line(fault, row));
        }
        let hard = report.rows.values().filter(|row| matches!(row.kind, Some(Kind::Process | Kind::Connection)));
        let (refreshes, too_many) =
            hard.fold((0, 0), |(refreshes, too_many), row| (refreshes + row.refreshes, too_many + row.not_allowed));
        println!(
            "  under faults of processes and connections: {refreshes} refreshes, {too_many} presentations too many"
        );
        if let Some(longest) = report.stood_still.iter().max() {
            println!(
                "  the machine stood still {} times, up to {} ms: what that touched is not counted as left in peace",
                report.stood_still.len(),
                longest / 1000
            );
        }
        let mut broken: BTreeMap<Rule, usize> = BTreeMap::new();
        report.violations.iter().for_each(|violation| *broken.entry(violation.rule).or_default() += 1);
        if !broken.is_empty() {
            println!("  BROKEN {broken:?}");
        }
        for note in &report.notes {
            println!("  in peace, and failed: {note}");
        }
        // A defect shows a hundred times; twenty are enough to find it.
        for violation in report.violations.iter().take(20) {
            println!("  VIOLATION {:?} (run {:?}): {}", violation.rule, violation.run, violation.what);
        }
        let mut takeovers = report.takeovers.clone();
        takeovers.sort_unstable();
        if let (Some(p50), Some(max)) = (takeovers.get(takeovers.len() / 2), takeovers.last()) {
            println!(
                "  from a leader's death to the outcome of those who wait: p50 {} ms, max {} ms, {} waited",
                p50 / 1000,
                max / 1000,
                takeovers.len()
            );
        }
        // A check is a fault in a fleet, and the fleet as a whole.
        let hit = report.violations.len().min(report.rows.len() + 1);
        failed += hit;
        passed += report.rows.len() + 1 - hit;
    }
    println!();
    println!("took {:.0} s", took.as_secs_f64());
    println!("faults: {passed} passed, {failed} failed");
    failed
}

fn line(fault: &str, row: &Row) -> String {
    let again: usize = row.allowed.values().sum::<usize>() + row.not_allowed;
    let ended: usize = row.sessions_named.values().sum::<usize>() + row.sessions_lost;
    let mut recovery = row.recovery.clone();
    recovery.sort_unstable();
    let p50 = recovery.get(recovery.len() / 2).copied().unwrap_or(0) / 1000;
    let max = recovery.last().copied().unwrap_or(0) / 1000;
    let mut grounds: Vec<String> =
        row.allowed.iter().map(|(ground, count)| format!("again {count}: {ground}")).collect();
    grounds.extend(row.sessions_named.iter().map(|(ground, count)| format!("ended {count}: {ground}")));
    format!(
        "{fault:<38} {:>4} {:>6} {again:>5} {:>5} {ended:>5} {:>5} {:>5} {p50:>4} ms {max:>5} ms  {}",
        row.runs,
        row.refreshes,
        row.outcomes_lost,
        row.late,
        row.permits_left,
        grounds.join("; ")
    )
}
