//! One mode: a row for each login, its life as a line, callers above the line, the provider on it and below it.

use std::fmt::Write;

use super::marks::{self, Strokes};
use super::{BAD, GOOD, QUIET, grouped};
use crate::timeline::{Ended, Login, Timeline};

pub(super) const WIDTH: f64 = 960.0;
/// Where time begins and ends; names stand before, words behind.
pub(super) const LEFT: f64 = 72.0;
const RIGHT: f64 = 750.0;

const ROW: f64 = 23.0;
/// What a panel's heading takes.
const HEADING: f64 = 34.0;
const GAP: f64 = 12.0;

/// One mode and what became of it.
pub(super) struct Panel<'a> {
    pub(super) name: &'static str,
    /// What became of all logins.
    pub(super) words: String,
    pub(super) is_good: bool,
    pub(super) timeline: &'a Timeline,
}

/// Where a time is on the way to the right. The same for all panels.
pub(super) struct Scale {
    /// Microseconds from the left end to the right one.
    span_us: f64,
    /// Between two ticks.
    step_us: f64,
}

impl Panel<'_> {
    pub(super) fn height(&self) -> f64 {
        HEADING + ROW * self.timeline.logins.len() as f64 + GAP
    }

    pub(super) fn draw(&self, svg: &mut String, top: f64, scale: &Scale) {
        let color = if self.is_good { GOOD } else { BAD };
        let rows = top + HEADING;
        _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{}\" font-size=\"15\"><tspan font-weight=\"bold\">{}</tspan><tspan fill=\"{color}\" \
             font-weight=\"bold\" dx=\"10\">{}</tspan></text>",
            top + 21.0,
            self.name,
            self.words
        );
        scale.draw_grid(svg, rows, rows + ROW * self.timeline.logins.len() as f64);
        let began_us = self.timeline.begin_us();
        for (number, login) in self.timeline.logins.iter().enumerate() {
            let row = Row { login, began_us, has_log: self.timeline.has_log, y: rows + ROW * (number as f64 + 0.5) };
            row.draw(svg, number + 1, scale);
        }
    }
}

/// One login of a panel.
struct Row<'a> {
    login: &'a Login,
    began_us: u64,
    has_log: bool,
    /// Where its line is.
    y: f64,
}

impl Row<'_> {
    fn draw(&self, svg: &mut String, number: usize, scale: &Scale) {
        let Self { login, y, .. } = *self;
        let x = |us: u64| scale.x(us.saturating_sub(self.began_us));
        let revoked = login.revoked_us().map(x);

        // The counts are for programs that read the picture.
        _ = writeln!(
            svg,
            "<g class=\"login\" data-callers=\"{}\" data-presentations=\"{}\" data-repeated=\"{}\" data-revoked=\"{}\">",
            login.calls.len(),
            login.presentations.len(),
            login.repeated(),
            u8::from(revoked.is_some())
        );
        _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{QUIET}\">login {number}</text>",
            LEFT - 8.0,
            y + 4.0
        );
        let alive_until = revoked.unwrap_or(RIGHT);
        _ = writeln!(svg, "<path d=\"M{LEFT} {y}H{alive_until:.1}\" stroke=\"{GOOD}\" stroke-width=\"2.5\"/>");
        if revoked.is_some() {
            _ = writeln!(svg, "<path d=\"M{alive_until:.1} {y}H{RIGHT}\" stroke=\"{BAD}\" stroke-dasharray=\"2 3\"/>");
        }

        let asked: Strokes = login.calls.iter().map(|call| x(call.asked_us)).collect();
        let repeated = login.presentations.iter().filter(|presentation| presentation.ended != Ended::Rotated);
        let repeated: Strokes = repeated.map(|presentation| x(presentation.at_us)).collect();
        asked.draw(svg, y - 6.0, QUIET);
        repeated.draw(svg, y + 6.0, BAD);
        for presentation in login.presentations.iter().filter(|presentation| presentation.ended == Ended::Rotated) {
            marks::draw_first(svg, x(presentation.at_us), y);
        }
        if let Some(revoked) = revoked {
            marks::draw_revoked(svg, revoked, y);
        }

        let (words, color) = self.words(revoked.is_some());
        _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" fill=\"{color}\">{words}</text>", RIGHT + 10.0, y + 4.0);
        svg.push_str("</g>\n");
    }

    fn words(&self, is_revoked: bool) -> (String, &'static str) {
        let words = match (self.has_log, self.login.presentations.len()) {
            (false, _) if is_revoked => "refused".to_owned(),
            (false, _) => "none refused".to_owned(),
            (true, 1) => "1 presentation".to_owned(),
            (true, presentations) => format!("{} presentations", grouped(presentations as u64)),
        };
        (format!("{} callers, {words}", grouped(self.login.calls.len() as u64)), if is_revoked { BAD } else { GOOD })
    }
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

    fn x(&self, us: u64) -> f64 {
        LEFT + us as f64 / self.span_us * (RIGHT - LEFT)
    }

    pub(super) fn unit(&self) -> &'static str {
        if self.is_seconds() { "Seconds" } else { "Milliseconds" }
    }

    fn is_seconds(&self) -> bool {
        self.span_us >= 10e6
    }

    fn draw_grid(&self, svg: &mut String, top: f64, bottom: f64) {
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
