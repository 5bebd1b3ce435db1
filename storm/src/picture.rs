//! The storm as a picture: the first logins over time, without coordination above, with it below, on one scale.
//!
//! SVG by hand: what is hard about it is where things go, and no crate knows that.

mod layout;
mod scale;
mod marks;
mod panel;

use std::fmt::Write;

use crate::plan::{Mode, Plan};
use crate::results::Results;
use crate::tally::Figures;
use crate::timeline::Timeline;
use layout::{LEFT, QUIET, WIDTH, grouped};
use panel::Panel;
use scale::Scale;

/// Height of what stands above the panels, and below them.
const HEAD: f64 = 74.0;
const FOOT: f64 = 84.0;

/// The picture, a document of at most some 100 KB however big the storm was.
pub(crate) fn draw(plan: &Plan, results: &Results) -> String {
    let panels: Vec<Panel<'_>> = results
        .timelines
        .iter()
        .filter_map(|(mode, timeline)| {
            let (name, figures) = match mode {
                Mode::Without => ("Without coordination", results.without.as_ref()?),
                Mode::With => ("With coordination", results.with.as_ref()?),
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
    let shown = results.timelines.first().map_or(0, |(_, timeline)| timeline.logins.len());
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
