//! What all of the picture keeps to: colours, where time begins and ends, how numbers are written.

pub(super) const GOOD: &str = "#0b6e99";
pub(super) const BAD: &str = "#c4361d";
pub(super) const QUIET: &str = "#666";

pub(super) const WIDTH: f64 = 960.0;
/// Where time begins and ends; names stand before, words behind.
pub(super) const LEFT: f64 = 72.0;
pub(super) const RIGHT: f64 = 750.0;

/// `80,000`.
pub(super) fn grouped(number: u64) -> String {
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
