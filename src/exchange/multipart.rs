//! Parameters of a token request that come as the parts of a form (RFC 7578), as `curl -F` and some HTTP clients send
//! them. Frameworks read them into the same place as those of other forms, so that their providers take them.

use http::HeaderValue;

use super::form;
use super::pair::{Pair, exact};
use crate::secret::Secret;

/// RFC 2046 section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// The parts in the order they came. None: it cannot be read for certain, or there is a file in it.
pub(super) fn pairs(content_type: &HeaderValue, body: &[u8]) -> Option<Vec<Pair>> {
    let content_type = content_type.to_str().ok()?;
    let boundary = parameter(content_type, "boundary")?;
    if boundary.len() > LONGEST_BOUNDARY {
        return None;
    }
    let delimiter = format!("\r\n--{boundary}");
    // The first one may be the beginning of the body, as if a line had ended before it.
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => split_at(body, delimiter.as_bytes())?.1,
    };
    let mut pairs = Vec::new();
    while !rest.starts_with(b"--") {
        let (part, next) = split_at(rest, delimiter.as_bytes())?;
        pairs.push(pair(part)?);
        rest = next;
    }
    Some(pairs)
}

/// What one part says. It begins with what is left of the line of its delimiter.
fn pair(part: &[u8]) -> Option<Pair> {
    let (head, value) = split_at(part, b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    lines.next().filter(|line| line.trim().is_empty())?;
    let mut name = None;
    for line in lines {
        let (header, value) = line.split_once(':')?;
        match header.to_ascii_lowercase().as_str() {
            "content-disposition" if parameter(value, "filename").is_none() => name = Some(parameter(value, "name")?),
            "content-disposition" | "content-transfer-encoding" => return None,
            _ => {}
        }
    }
    Some((exact(name?.to_owned()), Secret::from(form::text(value.to_vec()))))
}

/// The value of a parameter of a header. None also where it is quoted with an escape.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = value.trim();
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => value,
        };
        (key.trim().eq_ignore_ascii_case(name) && !value.is_empty() && !value.contains(['"', '\\'])).then_some(value)
    })
}

fn split_at<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = text.windows(delimiter.len()).position(|part| part == delimiter)?;
    Some((&text[..place], &text[place + delimiter.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &'static str, body: &str) -> Option<Vec<(String, String)>> {
        let pairs = pairs(&HeaderValue::from_static(content_type), body.as_bytes())?;
        Some(pairs.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect())
    }

    #[test]
    fn parts_are_read_as_they_are() {
        let curl = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1+%20\r\n2\r\n--x\r\n\
                    content-disposition: form-data; name=b\r\nContent-Type: text/plain\r\n\r\n\r\n--x--\r\n";

        let expected = [("a", "1+%20\r\n2"), ("b", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read("multipart/form-data; boundary=x", curl).as_deref(), Some(&expected[..]));
        let with_preamble = format!("before\r\n{curl}after");
        assert_eq!(
            read("multipart/form-data; charset=u; Boundary=\"x\"", &with_preamble).as_deref(),
            Some(&expected[..])
        );
    }

    #[test]
    fn what_may_be_read_otherwise_is_not_read() {
        const TYPE: &str = "multipart/form-data; boundary=x";
        let part = |head: &str| format!("--x\r\n{head}\r\n\r\n1\r\n--x--");
        for (content_type, body) in [
            ("multipart/form-data", part("Content-Disposition: form-data; name=a")),
            (TYPE, part("Content-Disposition: form-data; name=\"a\"; filename=\"f\"")),
            (TYPE, part("Content-Disposition: form-data; name=\"a\\\"b\"")),
            (TYPE, part("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64")),
            (TYPE, part("Content-Type: text/plain")),
            (TYPE, "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1".to_owned()),
            (TYPE, String::new()),
        ] {
            assert_eq!(read(content_type, &body), None, "{content_type} {body}");
        }
        assert!(read(TYPE, &part("Content-Disposition: form-data; name=a")).is_some());
    }
}
