//! From when until when a certificate is valid.
//!
//! rustls judges that itself and tells nobody when it will be over. Of a certificate (RFC 5280, section 4.1) only as much is
//! read as stands before its dates.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

/// In seconds since 1970; what is before counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

impl Validity {
    /// None: it is no certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let signed = Element::first(certificate)?.inside(SEQUENCE)?;
        let mut rest = Element::first(signed)?.inside(SEQUENCE)?;
        let version = Element::first(rest)?;
        if version.tag == VERSION {
            rest = version.behind;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            rest = Element::first(rest)?.behind;
        }
        let not_before = Element::first(Element::first(rest)?.inside(SEQUENCE)?)?;
        let not_after = Element::first(not_before.behind)?;
        Some(Self { not_before: not_before.seconds()?, not_after: not_after.seconds()? })
    }

    /// The moment at which it is over.
    pub(crate) fn end(&self) -> SystemTime {
        // Dates have four digits for the year: far from the end of what a moment can hold.
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.not_after)
    }
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// An element of DER, and the bytes behind it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&[tag, length], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // So many bytes hold the length. None is longer than four gigabytes.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        Some(Self { tag, content, behind })
    }

    fn inside(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
    fn seconds(&self) -> Option<u64> {
        let text = std::str::from_utf8(self.content).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match (self.tag, text.len()) {
            (UTC_TIME, 12) => {
                let year: i64 = text[..2].parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
            }
            (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
            _ => return None,
        };
        let two = |at: usize| rest[at..at + 2].parse::<i64>().ok();
        let day = days_before(year, two(0)?, two(2)?);
        let seconds = day * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?;
        Some(u64::try_from(seconds).unwrap_or(0))
    }
}

/// Days from 1970-01-01 to a day, counted in years that begin with March: the day that may be there or not is the last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn valid(from: (i32, u8, u8), to: (i32, u8, u8)) -> Validity {
        let key = KeyPair::generate().expect("a key");
        let mut certificate = CertificateParams::new(["h".to_owned()]).expect("a name");
        certificate.not_before = date_time_ymd(from.0, from.1, from.2);
        certificate.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = certificate.self_signed(&key).expect("a certificate");
        Validity::of(certificate.der()).expect("dates")
    }

    #[test]
    fn dates_are_read_in_both_of_their_forms() {
        // Until 2049 with two digits for the year, then with four; leap years, and none in 2100.
        for (date, seconds) in [
            ((1970, 1, 1), 0),
            ((1999, 12, 31), 946_598_400),
            ((2000, 2, 29), 951_782_400),
            ((2000, 3, 1), 951_868_800),
            ((2026, 11, 28), 1_795_824_000),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
            ((9999, 12, 31), 253_402_214_400),
        ] {
            assert_eq!(valid(date, date), Validity { not_before: seconds, not_after: seconds }, "{date:?}");
        }
        assert_eq!(valid((1969, 12, 31), (1970, 1, 2)), Validity { not_before: 0, not_after: 86_400 });
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        let key = KeyPair::generate().expect("a key");
        let whole = CertificateParams::new(["h".to_owned()]).expect("a name").self_signed(&key).expect("a certificate");

        for length in 0..whole.der().len() {
            assert_eq!(Validity::of(&CertificateDer::from(&whole.der()[..length])), None, "{length} bytes");
        }
        for mut byte in 0..64 {
            // Wherever it is broken, something is said or nothing is, and nothing panics.
            let mut broken = whole.der().to_vec();
            byte = byte.min(broken.len() - 1);
            broken[byte] ^= 0xff;
            let _ = Validity::of(&CertificateDer::from(broken));
        }
    }
}
