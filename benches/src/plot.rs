//! Curves as SVG: both axes by powers of ten, because what grows is to be seen beside what does not.

use std::fmt::Write;

/// A picture of some curves.
pub struct Plot {
    /// Its file, without `.svg`.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// What goes to the right.
    pub x: &'static str,
    /// What goes up.
    pub y: &'static str,
    /// By name, the points from left to right.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

const COLORS: [&str; 6] = ["#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#777777"];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

impl Plot {
    /// The picture.
    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let (x_low, x_high) = decades(points().map(|point| point.0));
        let (y_low, y_high) = decades(points().map(|point| point.1));
        let right = WIDTH - RIGHT;
        let bottom = HEIGHT - BOTTOM;
        let at_x = |x: f64| LEFT + (x.log10() - x_low) / (x_high - x_low) * (right - LEFT);
        let at_y = |y: f64| bottom - (y.log10() - y_low) / (y_high - y_low) * (bottom - TOP);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut line = |text: String| svg.push_str(&(text + "\n"));
        line(format!("<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>", escaped(self.title)));
        for power in x_low as i32..=x_high as i32 {
            let (value, x) = (10f64.powi(power), at_x(10f64.powi(power)));
            line(format!("<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"));
            line(format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 18.0, tick(value)));
        }
        for power in y_low as i32..=y_high as i32 {
            let (value, y) = (10f64.powi(power), at_y(10f64.powi(power)));
            line(format!("<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"));
            line(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, y + 4.0, tick(value)));
        }
        let middle = f64::midpoint(LEFT, right);
        line(format!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", HEIGHT - 12.0, escaped(self.x)));
        let middle = f64::midpoint(TOP, bottom);
        line(format!(
            "<text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(self.y)
        ));
        for (i, (name, points)) in self.curves.iter().enumerate() {
            let color = COLORS[i % COLORS.len()];
            let mut path = String::new();
            for (x, y) in points {
                _ = write!(path, "{:.1},{:.1} ", at_x(*x), at_y(*y));
                line(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>", at_x(*x), at_y(*y)));
            }
            line(format!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"));
            let y = TOP + 14.0 + 20.0 * i as f64;
            line(format!(
                "<line x1=\"{}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{color}\" stroke-width=\"3\"/>",
                right + 15.0,
                right + 35.0
            ));
            line(format!("<text x=\"{}\" y=\"{}\">{}</text>", right + 42.0, y + 4.0, escaped(name)));
        }
        svg + "</svg>\n"
    }
}

/// Whole powers of ten around all values.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        assert!(value > 0.0, "a logarithmic axis has no place for {value}");
        low = low.min(value.log10().floor());
        high = high.max(value.log10().ceil());
    }
    (low, high.max(low + 1.0))
}

fn tick(value: f64) -> String {
    if value >= 1.0 { crate::figure::short(value) } else { format!("{value}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
