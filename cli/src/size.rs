//! A number of bytes as people write it.

use std::fmt;
use std::str::FromStr;

/// `65536`, `64KiB`, `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

const UNITS: [(&str, usize); 3] = [("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .unwrap_or((text, 1));
        digits
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or("expected a number of bytes, such as 65536, 64KiB or 1MiB")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("10B", 10), ("64KiB", 65536), ("65536", 65536), ("1 MiB", 1_048_576)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for text in ["", "KiB", "-1", "1.5KiB", "99999999999999999999", "1kb"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(65536).to_string(), "64KiB");
    }
}
