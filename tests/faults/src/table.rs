//! What the suite ends with.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checker::{Report, Row, Rule, Violation};
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
        violations(&report.violations).iter().for_each(|line| println!("  {line}"));
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

/// A defect shows a hundred times; a few of each rule are enough to find it.
fn violations(all: &[Violation]) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut by_rule: BTreeMap<Rule, Vec<&Violation>> = BTreeMap::new();
    all.iter().for_each(|violation| by_rule.entry(violation.rule).or_default().push(violation));
    let mut lines = Vec::new();
    for (rule, violations) in by_rule {
        for violation in violations.iter().take(SHOWN) {
            lines.push(format!("VIOLATION {rule:?} (run {:?}): {}", violation.run, violation.what));
        }
        if violations.len() > SHOWN {
            lines.push(format!("VIOLATION {rule:?}: {} more", violations.len() - SHOWN));
        }
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_of_one_rule_do_not_hide_those_of_another() {
        let violation = |rule, run| Violation { rule, run: Some(run), what: format!("what {run}") };
        let mut all: Vec<Violation> = (0..20).map(|run| violation(Rule::OnePresentation, run)).collect();
        all.push(violation(Rule::AnswerInTime, 20));

        assert_eq!(
            violations(&all),
            [
                "VIOLATION OnePresentation (run Some(0)): what 0",
                "VIOLATION OnePresentation (run Some(1)): what 1",
                "VIOLATION OnePresentation (run Some(2)): what 2",
                "VIOLATION OnePresentation: 17 more",
                "VIOLATION AnswerInTime (run Some(20)): what 20",
            ]
        );
    }
}
