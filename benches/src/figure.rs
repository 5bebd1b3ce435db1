//! A figure as people read it, in tables and at the axes of plots.

/// Three figures that count.
pub fn short(figure: f64) -> String {
    let size = figure.abs();
    if size >= 100.0 || figure.fract() == 0.0 {
        let digits = format!("{figure:.0}");
        let bytes = digits.as_bytes();
        let mut grouped = String::new();
        for (i, byte) in bytes.iter().enumerate() {
            if i > 0 && (bytes.len() - i).is_multiple_of(3) && bytes[i - 1] != b'-' {
                grouped.push(',');
            }
            grouped.push(char::from(*byte));
        }
        grouped
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else if size >= 0.1 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.3}")
    }
}
