//! What stands around the text of a body: a character set of two bytes, a guard against being run as a script, a call of JSONP.

#[cfg(feature = "http")]
use std::borrow::Cow;

use zeroize::Zeroizing;

/// The text in UTF-8 where it is in another character set, without its byte order mark: in UTF-16 (RFC 7159 section 8.1), or else where it
/// cannot be UTF-8 in ISO 8859-1, of which each byte is a letter.
pub(crate) fn in_utf8(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (rest, is_big) = match text {
        [0xff, 0xfe, rest @ ..] => (rest, false),
        [0xfe, 0xff, rest @ ..] => (rest, true),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => (text, true),
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => (text, false),
        _ if std::str::from_utf8(text).is_ok() => return None,
        _ => {
            let mut utf8 = Zeroizing::new(Vec::with_capacity(text.len() * 2));
            text.iter()
                .for_each(|letter| utf8.extend_from_slice(char::from(*letter).encode_utf8(&mut [0; 2]).as_bytes()));
            return Some(utf8);
        }
    };
    let units = rest.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    let units = units.map(|pair| if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) });
    // Sized at once: a buffer that grows would leave unwiped copies behind.
    let mut utf8 = Zeroizing::new(Vec::with_capacity(rest.len() * 3 / 2 + 3));
    for letter in char::decode_utf16(units) {
        let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
        utf8.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(utf8)
}

/// The JSON in a text: without what guards it, without the call it is an argument of, and without NULs behind it.
pub(crate) fn unwrapped(text: &[u8]) -> &[u8] {
    const GUARDS: [&[u8]; 5] = [b")]}',", b")]}'", b"while(1);", b"for(;;);", b"{}&&"];
    let bare = trimmed(text);
    let bare = GUARDS.iter().find_map(|guard| bare.strip_prefix(*guard)).map_or(bare, <[u8]>::trim_ascii_start);
    argument(bare).unwrap_or(bare)
}

/// Of `name({...});`.
fn argument(text: &[u8]) -> Option<&[u8]> {
    const LONGEST_NAME: usize = 128;
    let open = text.iter().take(LONGEST_NAME).position(|byte| *byte == b'(')?;
    let name = text[..open].trim_ascii();
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(byte));
    let inner = text[open + 1..].strip_suffix(b";").unwrap_or(&text[open + 1..]).trim_ascii_end().strip_suffix(b")")?;
    let inner = inner.trim_ascii();
    (is_name && inner.starts_with(b"{")).then_some(inner)
}

/// Whether a text tells its own end, and has come to it: JSON, bare or in a call, or XML.
#[cfg(feature = "http")]
pub(crate) fn has_ended(text: &[u8]) -> bool {
    let utf8 = in_utf8(text);
    let text = utf8.as_deref().map_or(text, |text| &text[..]);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let bare = unwrapped(text);
    match bare.first() {
        Some(b'{' | b'[') => {
            // Text that is in another character set than it should be has an end, too.
            let bare = String::from_utf8_lossy(bare);
            let read = serde_json::from_str::<serde::de::IgnoredAny>(&bare).is_ok();
            drop(wiped(bare));
            read
        }
        Some(b'<') => root(bare).is_some_and(|name| {
            let end = bare.strip_suffix(b">").map(<[u8]>::trim_ascii_end);
            end.is_some_and(|end| end.strip_suffix(name).is_some_and(|end| end.ends_with(b"</")))
        }),
        _ => false,
    }
}

/// The name of the first element of XML.
#[cfg(feature = "http")]
fn root(text: &[u8]) -> Option<&[u8]> {
    let mut starts = text.split(|byte| *byte == b'<').skip(1);
    let start = starts.find(|start| !matches!(start.first(), None | Some(b'?' | b'!')))?;
    let end = start.iter().position(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte))?;
    (end > 0).then(|| &start[..end])
}

#[cfg(feature = "http")]
fn wiped(text: Cow<'_, str>) -> Option<Zeroizing<String>> {
    match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(copy) => Some(Zeroizing::new(copy)),
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !(byte.is_ascii_whitespace() || *byte == 0)).map_or(0, |last| last + 1);
    text[..end].trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_in_what_stands_around_it() {
        for text in [
            "{\"a\":1}",
            "\r\n {\"a\":1}\n\0\0",
            "cb({\"a\":1});",
            " window.call_back( {\"a\":1} )\n",
            "while(1);{\"a\":1}",
            ")]}',\n{\"a\":1}",
            "for(;;); {\"a\":1}",
        ] {
            assert_eq!(unwrapped(text.as_bytes()), b"{\"a\":1}", "{text}");
        }
        for text in ["a=(1)", "({\"a\":1})", "cb(1)", "cb({\"a\":1}", "a b({})"] {
            assert_eq!(unwrapped(text.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn text_in_another_character_set_is_the_same_in_utf8() {
        let little: Vec<u8> = "{\"\u{e9}\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "{\"\u{e9}\":1}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for text in
            [little.clone(), big.clone(), [&[0xff, 0xfe], &little[..]].concat(), [&[0xfe, 0xff], &big[..]].concat()]
        {
            assert_eq!(in_utf8(&text).as_deref().map(|text| &text[..]), Some("{\"\u{e9}\":1}".as_bytes()));
        }
        assert_eq!(in_utf8(b"{\"\xe9\":1}").as_deref().map(|text| &text[..]), Some("{\"\u{e9}\":1}".as_bytes()));
        assert!(in_utf8("{\"\u{e9}\":1}".as_bytes()).is_none());
        assert!(in_utf8(b"{\"a\":1}\0").is_none() && in_utf8(b"").is_none() && in_utf8(b"\0\0\0\0").is_none());
    }

    #[cfg(feature = "http")]
    #[test]
    fn text_has_ended_where_nothing_can_be_missing() {
        let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for text in [
            &b" {\"a\":\"\xe9\"}\0"[..],
            b"\xef\xbb\xbf[1]",
            b"cb({\"a\":1});",
            b"<?xml version=\"1.0\"?><!-- x --><r a=\"1\"><b>1</b></r >\n",
            b"<html><body></body></html>",
            &wide,
        ] {
            assert!(has_ended(text), "{}", String::from_utf8_lossy(text));
        }
        for text in [
            &b"{\"a\":1"[..],
            b"cb({\"a\":1}",
            b"<r><b>1</b>",
            b"<r><r1></r1>",
            b"<?xml version=\"1.0\"?>",
            b"a=1&b=2",
            b"\"a\"",
            b"",
            &wide[..wide.len() - 2],
        ] {
            assert!(!has_ended(text), "{}", String::from_utf8_lossy(text));
        }
    }
}
