//! What a mark looks like. Shape and place tell as much as colour does.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::layout::{BAD, GOOD, LEFT, QUIET};

/// Strokes of one kind in one row. Those that fall into one column are one, so that a picture has a size that does not
/// grow with the storm.
pub(super) struct Strokes(BTreeSet<i32>);

/// How wide a stroke is, and how far it is at least to the next.
const COLUMN: i32 = 2;
const HEIGHT: f64 = 6.0;

impl FromIterator<f64> for Strokes {
    fn from_iter<X: IntoIterator<Item = f64>>(xs: X) -> Self {
        Self(xs.into_iter().map(|x| x as i32 / COLUMN).collect())
    }
}

impl Strokes {
    /// Neighbours are drawn as one broad stroke.
    pub(super) fn draw(&self, svg: &mut String, y: f64, color: &str) {
        let mut path = String::new();
        let mut columns = self.0.iter().copied().peekable();
        let mut at = 0;
        while let Some(first) = columns.next() {
            let mut last = first;
            while let Some(next) = columns.next_if_eq(&(last + 1)) {
                last = next;
            }
            let (from, width) = (first * COLUMN, (last - first + 1) * COLUMN);
            _ = if at == 0 { write!(path, "M{from} {y}h{width}") } else { write!(path, "m{} 0h{width}", from - at) };
            at = from + width;
        }
        if !path.is_empty() {
            _ = writeln!(svg, "<path d=\"{path}\" stroke=\"{color}\" stroke-width=\"{HEIGHT}\"/>");
        }
    }
}

/// The first presentation of a token.
pub(super) fn draw_first(svg: &mut String, x: f64, y: f64) {
    _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"5\" fill=\"{GOOD}\" stroke=\"#fff\"/>");
}

/// The end of a login.
pub(super) fn draw_revoked(svg: &mut String, x: f64, y: f64) {
    _ = writeln!(
        svg,
        "<path d=\"M{:.1} {}l10 10m-10 0l10-10\" stroke=\"{BAD}\" stroke-width=\"3\"/>",
        x - 5.0,
        y - 5.0
    );
}

pub(super) fn draw_legend(svg: &mut String, y: f64) {
    let stroke = |svg: &mut String, x: f64, color: &str| Strokes::from_iter([x, x + 5.0]).draw(svg, y, color);
    let mut x = LEFT;
    let mut entry = |words: &str, width: f64, mark: &dyn Fn(&mut String, f64)| {
        mark(svg, x);
        _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{words}</text>", x + 14.0, y + 4.0);
        x += width;
    };
    entry("a caller asks", 120.0, &|svg, x| stroke(svg, x, QUIET));
    entry("its token is presented for the first time", 280.0, &|svg, x| draw_first(svg, x + 4.0, y));
    entry("it is presented again", 165.0, &|svg, x| stroke(svg, x, BAD));
    entry("the provider revokes the login", 200.0, &|svg, x| draw_revoked(svg, x + 4.0, y));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_of_a_column_are_one_and_neighbours_are_joined() {
        let mut svg = String::new();

        [10.0, 10.5, 11.9, 12.1, 40.0].into_iter().collect::<Strokes>().draw(&mut svg, 3.0, "#000");

        assert_eq!(svg, "<path d=\"M10 3h4m26 0h2\" stroke=\"#000\" stroke-width=\"6\"/>\n");
    }
}
