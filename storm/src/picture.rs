//! The storm as a picture: the first logins over time, without coordination above, with it below, on one scale.
//!
//! SVG by hand: what is hard about it is where things go, and no crate knows that.

mod marks;
mod panel;

use std::fmt::Write;

use crate::plan::{Mode, Plan};
use crate::storm::Outcome;
use crate::tally::Figures;
use crate::timeline::Timeline;
use panel::{LEFT, Panel, Scale, WIDTH};

/// How many logins are shown: one wave, unless fewer are presented at once. More would be too thin to be told apart.
pub(crate) const LOGINS: usize = 10;

const GOOD: &str = "#0b6e99";
const BAD: &str = "#c4361d";
const QUIET: &str = "#666";

/// Height of what stands above the panels, and below them.
const HEAD: f64 = 74.0;
const FOOT: f64 = 84.0;

/// The picture, a document of at most some 100 KB however big the storm was.
pub(crate) fn draw(plan: &Plan, outcome: &Outcome) -> String {
    let panels: Vec<Panel<'_>> = outcome
        .timelines
        .iter()
        .filter_map(|(mode, timeline)| {
            let (name, figures) = match mode {
                Mode::Without => ("Without coordination", outcome.without.as_ref()?),
                Mode::With => ("With coordination", outcome.with.as_ref()?),
            };
            Some(Panel { name, words: words(plan, figures), is_good: is_good(figures), timeline })
        })
        .collect();
    let span_us = panels.iter().map(|panel| span_us(panel.timeline)).max().unwrap_or_default();
    let scale = Scale::to(span_us);
    let bottom = HEAD + panels.iter().map(Panel::height).sum::<f64>();
    let height = bottom + FOOT;
    let title = format!(
        "{} callers in {} pods refresh each of {} logins at once",
        grouped((plan.pods * plan.callers) as u64),
        grouped(plan.pods as u64),
        grouped(plan.tokens as u64)
    );

    let mut svg = String::new();
    // Writing to a String cannot fail.
    _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">"
    );
    _ = writeln!(svg, "<title>{title}</title>");
    let all: Vec<String> = panels.iter().map(|panel| format!("{}: {}.", panel.name, panel.words)).collect();
    _ = writeln!(svg, "<desc>{}</desc>", all.join(" "));
    _ = writeln!(svg, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
    _ = writeln!(svg, "<text x=\"16\" y=\"32\" font-size=\"19\" font-weight=\"bold\">{title}</text>");
    _ = writeln!(
        svg,
        "<text x=\"16\" y=\"53\" font-size=\"13\" fill=\"{QUIET}\">A refresh token works once. When one comes again, the \
         provider takes it for stolen and revokes the login.</text>"
    );
    let mut top = HEAD;
    for panel in &panels {
        panel.draw(&mut svg, top, &scale);
        top += panel.height();
    }
    scale.draw_axis(&mut svg, bottom);
    let shown = outcome.timelines.first().map_or(0, |(_, timeline)| timeline.logins.len());
    let which = if shown == plan.tokens { "All" } else { "The first" };
    _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" fill=\"{QUIET}\">{} since the first caller asked. {which} {shown} of {} logins are \
         shown.</text>",
        bottom + 40.0,
        scale.unit(),
        grouped(plan.tokens as u64)
    );
    marks::draw_legend(&mut svg, bottom + 66.0);
    svg.push_str("</svg>\n");
    svg
}

/// What became of the whole mode, not only of what is shown.
fn words(plan: &Plan, figures: &Figures) -> String {
    let logins = grouped(plan.tokens as u64);
    let asked = match figures.presentations {
        Some(presentations) => format!("{} presentations", grouped(presentations)),
        None => "presentations unknown".to_owned(),
    };
    let lost = match figures.families_revoked {
        Some(revoked) => format!("{} of {logins} logins revoked", grouped(revoked)),
        None => format!("{} of {logins} logins refused", grouped(figures.families_refused)),
    };
    let in_error = grouped(figures.callers_in_error);
    format!("{asked}, {lost}, {in_error} of {} callers in error", grouped(figures.callers))
}

fn is_good(figures: &Figures) -> bool {
    figures.families_revoked.unwrap_or(figures.families_refused) == 0 && figures.callers_in_error == 0
}

fn span_us(timeline: &Timeline) -> u64 {
    timeline.end_us().saturating_sub(timeline.begin_us())
}

/// `80,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(80_000), grouped(1_234_567)],
            ["0", "999", "80,000", "1,234,567"]
        );
    }
}
