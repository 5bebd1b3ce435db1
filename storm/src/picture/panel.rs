//! One mode: a row for each login, its life as a line, callers above the line, the provider on it and below it.

use std::fmt::Write;

use super::layout::{BAD, GOOD, LEFT, QUIET, RIGHT, grouped};
use super::marks::{self, Strokes};
use super::scale::Scale;
use crate::timeline::{Judged, Login, Timeline};

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
            login.callers.len(),
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

        let asked: Strokes = login.callers.iter().map(|caller| x(caller.asked_us)).collect();
        let repeated = login.presentations.iter().filter(|presentation| presentation.judged != Judged::Rotated);
        let repeated: Strokes = repeated.map(|presentation| x(presentation.at_us)).collect();
        asked.draw(svg, y - 6.0, QUIET);
        repeated.draw(svg, y + 6.0, BAD);
        if let Some(revoked) = revoked {
            marks::draw_revoked(svg, revoked, y);
        }
        // Last: a revocation that follows at once must not cover it.
        for presentation in login.presentations.iter().filter(|presentation| presentation.judged == Judged::Rotated) {
            marks::draw_first(svg, x(presentation.at_us), y);
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
        (format!("{} callers, {words}", grouped(self.login.callers.len() as u64)), if is_revoked { BAD } else { GOOD })
    }
}
