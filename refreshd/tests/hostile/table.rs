//! What was seen, and what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use crate::attacks::Attack;
use crate::honest::Run;
use crate::rest::Rest;

/// An attack, and what stood before and after it.
pub(crate) struct Row {
    pub(crate) attack: Attack,
    pub(crate) before: Arc<Run>,
    pub(crate) during: Run,
    pub(crate) after: Arc<Run>,
    pub(crate) rest_before: Rest,
    pub(crate) rest_after: Rest,
    pub(crate) back_after: Duration,
}

/// So many times the longer of the two quiet runs an attack may make a call take.
const TIMES: u32 = 3;

impl Row {
    /// Shorter than `floor` nobody notices.
    fn allowed(&self, floor: Duration) -> Duration {
        (TIMES * self.before.percentile(99).max(self.after.percentile(99))).max(floor)
    }

    /// What an honest caller, or the operator, would complain of.
    pub(crate) fn wrong(&self, floor: Duration) -> Vec<String> {
        let name = self.attack.name();
        let mut wrong = Vec::new();
        let unanswered = [self.before.unanswered, self.during.unanswered, self.after.unanswered];
        if unanswered.iter().any(|calls| *calls > 0) {
            wrong.push(format!("{name}: unanswered honest calls before, during and after: {unanswered:?}"));
        }
        let (p99, allowed) = (self.during.percentile(99), self.allowed(floor));
        if p99 > allowed {
            wrong.push(format!("{name}: the p99 of honest calls was {p99:.1?}, allowed are {allowed:.1?}"));
        }
        if !self.rest_after.is_like(self.rest_before) {
            let (before, after) = (self.rest_before, self.rest_after);
            wrong.push(format!("{name}: {before:?} before, and {:.1?} after it {after:?}", self.back_after));
        }
        wrong
    }
}

pub(crate) fn print(rows: &[Row], floor: Duration) {
    println!(
        "{:<13} {:>15} {:>15} {:>15} {:>8} {:>10} {:>15} {:>11} {:>7}",
        "attack",
        "before p50/p99",
        "during",
        "after",
        "allowed",
        "unanswered",
        "resident MiB",
        "descriptors",
        "back in"
    );
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    for row in rows {
        let run = |run: &Run| format!("{}/{}", ms(run.percentile(50)), ms(run.percentile(99)));
        let (from, to) = (row.rest_before, row.rest_after);
        println!(
            "{:<13} {:>15} {:>15} {:>15} {:>8} {:>10} {:>15} {:>11} {:>7}",
            row.attack.name(),
            run(&row.before),
            run(&row.during),
            run(&row.after),
            ms(row.allowed(floor)),
            row.before.unanswered + row.during.unanswered + row.after.unanswered,
            format!("{} to {}", mib(from.resident), mib(to.resident)),
            format!("{} to {}", from.descriptors, to.descriptors),
            format!("{:.1} s", row.back_after.as_secs_f64()),
        );
    }
    println!("times in ms");
}
