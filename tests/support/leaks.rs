//! Searches a text for secrets, however they are written there.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A text, read in every way that an escape may have written it.
pub struct Searched {
    views: Vec<(&'static str, String)>,
}

impl Searched {
    pub fn new(text: &[u8]) -> Self {
        let unescaped = unescaped(text);
        let views = [
            ("as it is", text.to_vec()),
            ("URL-encoded", url_decoded(text)),
            ("escaped", unescaped.clone()),
            // A JSON text in a log line.
            ("escaped twice", self::unescaped(&unescaped)),
            ("URL-encoded and escaped", url_decoded(&unescaped)),
        ];
        // Secrets are ASCII: what is no UTF-8 around them does not matter.
        let views = views.into_iter().map(|(view, bytes)| (view, String::from_utf8_lossy(&bytes).into_owned()));
        Self { views: views.collect() }
    }

    /// Says how a secret stands here: plain, base64, hex or as numbers, and behind which escapes. None: it is not
    /// here. Secrets of less than eight bytes are refused, because they would be found by accident.
    pub fn find(&self, secret: &str) -> Option<String> {
        assert!(secret.len() >= 8, "a secret this short is found everywhere: {secret:?}");
        for (form, needle) in forms(secret.as_bytes()) {
            for (view, text) in &self.views {
                if text.contains(&needle) {
                    return Some(format!("{form}, {view}, in {}", around(text, &needle)));
                }
            }
        }
        None
    }
}

fn around(text: &str, needle: &str) -> String {
    let line = text.lines().find(|line| line.contains(needle)).unwrap_or(needle);
    line.chars().take(1000).collect()
}

/// A text that holds none of the secrets, each with the name it goes by in the message.
#[track_caller]
pub fn assert_none(what: &str, text: &[u8], secrets: &[(&str, &str)]) {
    let searched = Searched::new(text);
    for (name, secret) in secrets {
        if let Some(how) = searched.find(secret) {
            panic!("{what} holds the {name} {secret:?}: {how}");
        }
    }
}

fn forms(secret: &[u8]) -> Vec<(&'static str, String)> {
    let numbers = secret.iter().map(u8::to_string).collect::<Vec<_>>();
    let mut forms = vec![
        ("plain", String::from_utf8(secret.to_vec()).expect("secrets are ASCII")),
        ("hex", secret.iter().map(|byte| format!("{byte:02x}")).collect()),
        ("hex", secret.iter().map(|byte| format!("{byte:02X}")).collect()),
        ("numbers", numbers.join(", ")),
        ("numbers", numbers.join(",")),
    ];
    for alignment in 0..3 {
        let mut padded = vec![0; alignment];
        padded.extend_from_slice(secret);
        // Six bits a character: only those count that no neighbour of the secret has a part in.
        let (first, end) = ((8 * alignment).div_ceil(6), 8 * padded.len() / 6);
        for engine in [STANDARD, URL_SAFE] {
            forms.push(("base64", engine.encode(&padded)[first..end].to_owned()));
        }
    }
    forms
}

fn url_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(number);
        match (byte, hex) {
            (b'%', Some(code)) => {
                decoded.push(code as u8);
                rest = &after[2..];
            }
            _ => {
                decoded.push(if *byte == b'+' { b' ' } else { *byte });
                rest = after;
            }
        }
    }
    decoded
}

/// Undoes the escapes of JSON, of Rust's `Debug` and of MONITOR: `\"`, `\\`, `\/`, `\u0041`, `\x41`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut read = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let (b'\\', Some((escaped, after))) = (byte, after.split_first()) else {
            read.push(*byte);
            continue;
        };
        let digits = match escaped {
            b'u' => 4,
            b'x' => 2,
            _ => 0,
        };
        match after.get(..digits).and_then(number).and_then(char::from_u32) {
            Some(char) if digits > 0 => {
                read.extend_from_slice(char.to_string().as_bytes());
                rest = &after[digits..];
            }
            _ => {
                read.push(*escaped);
                rest = after;
            }
        }
    }
    read
}

fn number(hex: &[u8]) -> Option<u32> {
    hex.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}
