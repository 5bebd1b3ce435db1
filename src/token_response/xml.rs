//! The elements of a body in XML, as far as a token response has any: names, and texts without elements in them.

use std::borrow::Cow;
use std::ops::Range;

/// An element, and the text that it begins with.
pub(super) struct Element<'a> {
    /// Without its namespace.
    pub(super) name: &'a str,
    /// It holds more than that text.
    pub(super) is_nested: bool,
    text: &'a str,
    /// Where the text stands in the body.
    pub(super) span: Range<usize>,
}

/// All of them, in the order they came. None: it is no XML, or a page for a browser.
pub(super) fn elements(body: &[u8]) -> Option<Vec<Element<'_>>> {
    let body = std::str::from_utf8(body).ok()?;
    let start = body.trim_start();
    let is_page = || {
        let start = start.as_bytes();
        let begins = |with: &[u8]| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        begins(b"<!doctype html") || begins(b"<html")
    };
    if !start.starts_with('<') || is_page() {
        return None;
    }
    let (mut elements, mut rest) = (Vec::new(), body);
    while let Some((_, from)) = rest.split_once('<') {
        // What has no end is damaged.
        let Some((tag, content)) = from.split_once('>') else { break };
        let Some((text, after)) = text_of(content) else { break };
        rest = after;
        let name = tag.split(|letter: char| letter.is_ascii_whitespace()).next().unwrap_or_default();
        let is_start = !name.is_empty() && !name.starts_with(['/', '?', '!']) && !tag.ends_with('/');
        if is_start {
            // It holds nothing but a text where its end follows that.
            let is_nested = !after.strip_prefix("</").is_some_and(|end| end.starts_with(name));
            let start = text.as_ptr().addr() - body.as_ptr().addr();
            let name = name.rsplit(':').next().unwrap_or(name);
            elements.push(Element { name, is_nested, text, span: start..start + text.len() });
        }
    }
    Some(elements)
}

/// The text that something begins with, and what follows it.
fn text_of(content: &str) -> Option<(&str, &str)> {
    let (text, after) = match content.trim_start().strip_prefix("<![CDATA[") {
        Some(content) => content.split_once("]]>")?,
        None => content.split_at(content.find('<').unwrap_or(content.len())),
    };
    Some((text.trim(), after.trim_start()))
}

impl<'a> Element<'a> {
    /// Its text, with what stands for a character.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if !self.text.contains('&') {
            return Cow::Borrowed(self.text);
        }
        let mut text = String::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some((before, from)) = rest.split_once('&') {
            text.push_str(before);
            rest = match from.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest))) {
                Some((character, after)) => {
                    text.push(character);
                    after
                }
                None => {
                    text.push('&');
                    from
                }
            };
        }
        text.push_str(rest);
        Cow::Owned(text)
    }
}

/// What `&name;` stands for.
fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Vec<(&str, String)>> {
        let mut elements = elements(body.as_bytes())?;
        elements.retain(|element| !element.is_nested);
        assert!(elements.iter().all(|element| &body[element.span.clone()] == element.text));
        Some(elements.iter().map(|element| (element.name, element.text().into_owned())).collect())
    }

    #[test]
    fn elements_with_a_text_are_read_whatever_stands_around_them() {
        let body = "<?xml version=\"1.0\"?>\n<!-- x --><o:OAuth xmlns:o=\"x\"><o:a b=\"1\"> a&amp;b&#x21; </o:a><c><d/></c><e>\n\
                    <![CDATA[a&b]]> </e><f></f><g>1<h>2</h></g></o:OAuth>";
        let expected = [("a", "a&b!"), ("e", "a&b"), ("f", ""), ("h", "2")];

        assert_eq!(read(body).expect("XML"), expected.map(|(name, text)| (name, text.to_owned())));
    }

    #[test]
    fn what_is_no_xml_or_damaged_holds_nothing() {
        for body in ["", "{}", "a<b>1</b>", "<!DOCTYPE html><b>1</b>", " <HTML><b>1</b></HTML>"] {
            assert!(read(body).is_none(), "{body}");
        }
        for body in ["<", "<a", "<a>", "<a>1", "<a>1</b>", "<a>&#xffffffff;", "<a><![CDATA[1</a>", "<>1</>", "<a>1<a>"]
        {
            assert_eq!(read(body), Some(Vec::new()), "{body}");
        }
        assert_eq!(read("<a>&x;&</a>"), Some(vec![("a", "&x;&".to_owned())]));
    }
}
