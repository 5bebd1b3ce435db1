//! Undoes a content encoding (RFC 9110 section 8.4), of an answer that nobody asked for it or of a request, within bounds.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zeroize::Zeroizing;

/// No body grows beyond this: a few bytes can be made to stand for gigabytes.
const LARGEST: usize = 1024 * 1024;
/// More encodings upon each other than this are nobody's honest answer.
const MOST_LAYERS: usize = 3;
/// What a gzip file begins with (RFC 1952 section 2.3.1): some providers encode and do not say so.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How an encoding tells its end.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// What is not whole cannot be undone.
    Whole,
    Another,
}

/// The encoding that was done last.
#[cfg(feature = "http")]
pub(crate) fn outermost<'a>(body: &[u8], encodings: impl Iterator<Item = &'a str>) -> Coding {
    match layers(body, encodings).last().map(String::as_str) {
        Some("gzip" | "x-gzip" | "br") => Coding::Whole,
        _ => Coding::Another,
    }
}

/// The body without its encodings, where it has any that can be undone. `encodings` are the values of Content-Encoding,
/// in the order in which they were applied.
pub(crate) fn decoded<'a>(body: &[u8], encodings: impl Iterator<Item = &'a str>) -> Option<Zeroizing<Vec<u8>>> {
    let mut layers = layers(body, encodings);
    if layers.is_empty() || layers.len() > MOST_LAYERS {
        return None;
    }
    let mut text: Option<Zeroizing<Vec<u8>>> = None;
    while let Some(layer) = layers.pop() {
        text = Some(undone(&layer, text.as_deref().map_or(body, |text| &text[..]))?);
    }
    text
}

fn layers<'a>(body: &[u8], encodings: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut layers: Vec<_> = encodings
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    if layers.is_empty() && body.starts_with(&GZIP) {
        layers.push("gzip".to_owned());
    }
    layers
}

fn undone(encoding: &str, body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match encoding {
        "gzip" | "x-gzip" => all_of(MultiGzDecoder::new(body)),
        // By the RFC with the header of zlib; some servers have always sent it without.
        "deflate" => all_of(ZlibDecoder::new(body)).or_else(|| all_of(DeflateDecoder::new(body))),
        "br" => all_of(brotli_decompressor::Decompressor::new(body, 4096)),
        _ => None,
    }
}

/// None where it is damaged or too large. Sized at once: a buffer that grows would leave unwiped copies behind.
fn all_of(from: impl Read) -> Option<Zeroizing<Vec<u8>>> {
    let mut from = from.take(LARGEST as u64 + 1);
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let mut part = Zeroizing::new([0; 8 * 1024]);
    loop {
        let read = from.read(&mut part[..]).ok()?;
        if read == 0 {
            return Some(text);
        }
        if text.len() + read > LARGEST {
            return None;
        }
        if text.len() + read > text.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(LARGEST));
            larger.extend_from_slice(&text);
            text = larger;
        }
        text.extend_from_slice(&part[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn text_of(body: &[u8], encodings: &[&str]) -> Option<Vec<u8>> {
        decoded(body, encodings.iter().copied()).map(|text| text.to_vec())
    }

    #[test]
    fn encodings_are_undone_in_the_opposite_order() {
        let twice = gzip(&gzip(b"text"));

        for encodings in [&["gzip, x-gzip"][..], &["identity", "GZIP", "gzip"]] {
            assert_eq!(text_of(&twice, encodings).as_deref(), Some(&b"text"[..]), "{encodings:?}");
        }
        assert_eq!(text_of(&gzip(b"text"), &[]).as_deref(), Some(&b"text"[..]), "not said");
        assert_eq!(text_of(b"text", &["identity"]), None, "nothing to undo");
    }

    #[test]
    fn body_that_is_damaged_unknown_or_would_grow_too_large_stays_encoded() {
        let bomb = gzip(&vec![b' '; LARGEST + 1]);
        let whole = gzip(&vec![b' '; LARGEST]);

        assert_eq!(text_of(&whole, &["gzip"]).map(|text| text.len()), Some(LARGEST));
        assert_eq!(text_of(&bomb, &["gzip"]), None);
        assert_eq!(text_of(&gzip(b"text")[..12], &["gzip"]), None);
        assert_eq!(text_of(b"text", &["zstd"]), None);
        assert_eq!(text_of(b"text", &["gzip,gzip,gzip,gzip"]), None);
    }
}
