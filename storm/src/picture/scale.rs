//! Where a time stands, and the grid and the axis that tell it.

use std::fmt::Write;

use super::layout::{LEFT, QUIET, RIGHT};

/// Where a time is on the way to the right. The same for all panels.
pub(super) struct Scale {
    /// Microseconds from the left end to the right one.
    span_us: f64,
    /// Between two ticks.
    step_us: f64,
}

impl Scale {
    pub(super) fn to(span_us: u64) -> Self {
        // A little more, so that the last mark does not stand on the edge.
        let span_us = (span_us as f64 * 1.02).max(1_000.0);
        let mut step_us = 1_000.0;
        let mut factors = [2.0, 2.5, 2.0].into_iter().cycle();
        while span_us / step_us > 10.0 {
            step_us *= factors.next().expect("BUG: it never ends");
        }
        Self { span_us, step_us }
    }

    pub(super) fn x(&self, us: u64) -> f64 {
        LEFT + us as f64 / self.span_us * (RIGHT - LEFT)
    }

    pub(super) fn unit(&self) -> &'static str {
        if self.is_seconds() { "Seconds" } else { "Milliseconds" }
    }

    fn is_seconds(&self) -> bool {
        self.span_us >= 10e6
    }

    pub(super) fn draw_grid(&self, svg: &mut String, top: f64, bottom: f64) {
        let mut lines = String::new();
        for us in self.ticks() {
            _ = write!(lines, "M{:.1} {top}V{bottom}", self.x(us));
        }
        _ = writeln!(svg, "<path d=\"{lines}\" stroke=\"#e4e4e4\"/>");
    }

    pub(super) fn draw_axis(&self, svg: &mut String, y: f64) {
        for us in self.ticks() {
            let number = us as f64 / if self.is_seconds() { 1e6 } else { 1e3 };
            _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"{QUIET}\">{number}</text>",
                self.x(us),
                y + 8.0
            );
        }
    }

    fn ticks(&self) -> impl Iterator<Item = u64> {
        let ticks = (self.span_us / self.step_us) as u64;
        let step_us = self.step_us as u64;
        (0..=ticks).map(move |tick| tick * step_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_has_a_few_round_ticks() {
        for (span_us, expected) in
            [(800, vec![0, 1_000]), (95_000, vec![0, 10_000, 20_000]), (2_400_000, vec![0, 500_000])]
        {
            let ticks: Vec<u64> = Scale::to(span_us).ticks().collect();

            assert_eq!(ticks[..expected.len()], expected, "{ticks:?}");
            assert!(ticks.len() <= 11, "{ticks:?}");
        }
    }
}
