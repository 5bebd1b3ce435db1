//! Finds the tokens in a body, JSON, form-encoded or XML: under the names of the standard at its top or one envelope down, else wherever a
//! name has the same letters (`accessToken`).

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;

use super::dressing::{in_utf8, unwrapped};
use super::json::{self, Members, Object};
use super::xml::{self, Element};
use crate::secret::Secret;

/// An access token that is said to live for longer, as for ever, lives so long: to what time it is this can be added.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a token response says (RFC 6749 section 5.1).
#[derive(Clone)]
pub(super) struct Fields {
    pub(super) access_token: Secret,
    pub(super) token_type: Option<String>,
    pub(super) expires_in: Option<Duration>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) scope: Option<String>,
    /// Other refresh tokens beside that one, wherever they stand.
    pub(super) others: Vec<Secret>,
}

/// None where there is no access token.
pub(super) fn find(text: &[u8]) -> Option<Fields> {
    let find = |text: &[u8]| in_json(text).or_else(|| in_form(text)).or_else(|| in_xml(text));
    // In another character set the number is not found again, to take from it what has passed: nobody is told of that access token for
    // longer than of one whose end is not said.
    find(text).or_else(|| Some(Fields { expires_in: None, ..find(&in_utf8(text)?)? }))
}

/// Where in the body the number of `expires_in` stands, without the quotes of one that is text. None: there is none, or it stays the same
/// however late it is read.
pub(super) fn lifetime_span(text: &[u8]) -> Option<Range<usize>> {
    let is_span = |said: &Range<usize>| {
        let said = std::str::from_utf8(&text[said.clone()]).ok().and_then(whole_seconds);
        said.is_none_or(|number| until_moment(number, SystemTime::now()).is_none())
    };
    number_span(text).filter(is_span)
}

fn number_span(text: &[u8]) -> Option<Range<usize>> {
    let Some(objects) = Objects::of(text) else {
        let in_xml = || xml_element(&xml::elements(text)?, "expires_in").map(|element| element.span.clone());
        return form_span(text, "expires_in").or_else(in_xml);
    };
    let raw = objects.lifetime()?.get();
    // The raw value is a part of the body, so the distance of the two is its place.
    let start = raw.as_ptr() as usize - text.as_ptr() as usize;
    let quotes = usize::from(raw.starts_with('"'));
    Some(start + quotes..start + raw.len() - quotes)
}

/// Any field beside the tokens, or of a form a text.
pub(super) fn member(text: &[u8], name: &str) -> Option<serde_json::Value> {
    let utf8 = in_utf8(text);
    let text = utf8.as_deref().map_or(text, |utf8| &utf8[..]);
    match Objects::of(text) {
        Some(objects) => serde_json::from_str(objects.member(name)?.get()).ok(),
        None => {
            let in_xml = || xml_element(&xml::elements(text)?, name).map(|element| element.text().into_owned().into());
            form_value(text, name).map(|value| value.into_owned().into()).or_else(in_xml)
        }
    }
}

/// The JSON objects of a body. The first is the one that holds the access token.
struct Objects<'a> {
    all: Vec<Object<'a>>,
    named: Named,
}

/// By which names fields are found.
#[derive(Clone, Copy)]
enum Named {
    /// Those of the standard.
    Exactly,
    /// Those with the same letters.
    Alike,
}

impl<'a> Objects<'a> {
    /// None where it is no JSON, or nothing in it holds an access token.
    fn of(text: &'a [u8]) -> Option<Self> {
        let mut all = json::objects(unwrapped(text))?;
        let holds = |object: &Object<'_>, named| access_token(&object.members, named).is_some();
        let exactly = all.iter().position(|object| object.depth <= 1 && holds(object, Named::Exactly));
        let (holder, named) = match exactly {
            Some(holder) => (holder, Named::Exactly),
            None => {
                let alike = all.iter().enumerate().filter(|(_, object)| holds(object, Named::Alike));
                (alike.min_by_key(|(_, object)| object.depth)?.0, Named::Alike)
            }
        };
        all[..=holder].rotate_right(1);
        Some(Self { all, named })
    }

    /// What is beside the access token, then what is at the top or in another envelope.
    fn near(&self) -> impl Iterator<Item = &Members<'a>> {
        let others = self.all.iter().skip(1).filter(|object| object.depth <= 1);
        self.all.iter().take(1).chain(others).map(|object| &object.members)
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.near().find_map(|members| self.named.get(members, name))
    }

    /// How long the access token lives: in seconds for certain, where a provider says it so (Zoho, whose `expires_in` is in ms then).
    fn lifetime(&self) -> Option<&'a RawValue> {
        let certain = self.member("expires_in_sec").filter(|raw| seconds(raw.get().trim_matches('"')).is_some());
        certain.or_else(|| self.member("expires_in"))
    }
}

impl Named {
    fn get<'a>(self, members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
        match self {
            Self::Exactly => members.get(name),
            Self::Alike => members.get_alike(name),
        }
    }
}

fn access_token(members: &Members<'_>, named: Named) -> Option<Secret> {
    let raw = named.get(members, "access_token")?.get();
    let token: Secret = if raw.starts_with('"') { serde_json::from_str(raw).ok()? } else { return None };
    (!token.expose().is_empty()).then_some(token)
}

fn in_json(text: &[u8]) -> Option<Fields> {
    let objects = Objects::of(text)?;
    let text_of = |name| objects.member(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let refresh_token = objects.near().filter_map(|members| objects.named.get(members, "refresh_token"));
    let refresh_token = refresh_token.filter_map(|raw| Some((raw, token(raw)?))).next();
    let is_another = |raw: &RawValue| refresh_token.as_ref().is_none_or(|(given, _)| !std::ptr::eq(*given, raw));
    let others = objects.all.iter().flat_map(|object| {
        let named_so = object.members.iter().filter(|(name, _)| means_refresh_token(name));
        named_so.filter(|(_, raw)| is_another(raw)).flat_map(|(_, raw)| match token(raw) {
            Some(token) => vec![token],
            None => within(raw),
        })
    });
    Some(Fields {
        access_token: access_token(&objects.all[0].members, objects.named)?,
        token_type: text_of("token_type"),
        expires_in: objects.lifetime().and_then(|raw| seconds(raw.get().trim_matches('"'))),
        others: others.collect(),
        refresh_token: refresh_token.map(|(_, token)| token),
        scope: text_of("scope"),
    })
}

/// A token as JSON writes one; null, false and a text that says nothing say that there is none (RFC 6749 section 6).
fn token(raw: &RawValue) -> Option<Secret> {
    let raw = raw.get();
    let token = match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<Secret>(raw).ok()?,
        b'0'..=b'9' => Secret::from(raw),
        _ => return None,
    };
    says_something(token.expose()).then_some(token)
}

/// Whether a text is a token, and not what a template writes where there is none.
fn says_something(text: &str) -> bool {
    !["", "null", "undefined", "none"].iter().any(|nothing| nothing.eq_ignore_ascii_case(text.trim()))
}

/// What stands where a token should, and is none that could be presented: in it there may be one. Of a list of texts, these.
fn within(raw: &RawValue) -> Vec<Secret> {
    let is_empty = |inner: &str| inner[..inner.len() - 1].trim().is_empty();
    match raw.get().strip_prefix(['{', '[']) {
        Some(inner) if !is_empty(inner) => {
            let texts = serde_json::from_str::<Vec<Secret>>(raw.get());
            texts.unwrap_or_else(|_| vec![Secret::from(raw.get())])
        }
        _ => Vec::new(),
    }
}

/// `refreshToken` and `new_refresh_token`, but not `refresh_token_expires_in`.
fn means_refresh_token(name: &str) -> bool {
    json::letters(name).rev().zip(b"refreshtoken".iter().rev()).filter(|(letter, expected)| letter == *expected).count()
        == b"refreshtoken".len()
}

fn in_form(text: &[u8]) -> Option<Fields> {
    // In JSON that is damaged, and in a page, a URL may look like one.
    if matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'<' | b'"')) {
        return None;
    }
    let value = |name| form_value(text, name).filter(|value| !value.is_empty());
    let secret = |name| value(name).map(|value| Secret::from(value.into_owned()));
    let named_so = form_urlencoded::parse(text.trim_ascii()).filter(|(key, _)| means_refresh_token(key));
    let others = named_so.filter(|(_, value)| says_something(value)).map(|(_, value)| Secret::from(value.into_owned()));
    Some(Fields {
        access_token: secret("access_token")?,
        token_type: value("token_type").map(Cow::into_owned),
        expires_in: value("expires_in").and_then(|value| seconds(&value)),
        refresh_token: secret("refresh_token").filter(|token| says_something(token.expose())),
        scope: value("scope").map(Cow::into_owned),
        // The one above among them.
        others: others.collect(),
    })
}

/// As Salesforce answers where it is asked for XML.
fn in_xml(text: &[u8]) -> Option<Fields> {
    let elements = xml::elements(text)?;
    let value = |name| Some(xml_element(&elements, name)?.text()).filter(|value| !value.is_empty());
    let secret = |name| value(name).map(|value| Secret::from(value.into_owned()));
    let named_so = elements.iter().filter(|element| means_refresh_token(element.name));
    // One that holds elements is none that is known, and says that there is another.
    let others = named_so
        .map(|element| if element.is_nested { Cow::Borrowed("nested") } else { element.text() })
        .filter(|value| says_something(value));
    Some(Fields {
        access_token: secret("access_token")?,
        token_type: value("token_type").map(Cow::into_owned),
        expires_in: value("expires_in").and_then(|value| seconds(&value)),
        refresh_token: secret("refresh_token").filter(|token| says_something(token.expose())),
        scope: value("scope").map(Cow::into_owned),
        // The one above among them.
        others: others.map(|value| Secret::from(value.into_owned())).collect(),
    })
}

fn xml_element<'a, 'b>(elements: &'b [Element<'a>], name: &str) -> Option<&'b Element<'a>> {
    elements.iter().find(|element| !element.is_nested && json::letters(element.name).eq(json::letters(name)))
}

fn form_value<'a>(text: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(text.trim_ascii()).find(|(key, _)| key == name).map(|(_, value)| value)
}

fn form_span(text: &[u8], name: &str) -> Option<Range<usize>> {
    let mut start = text.len() - text.trim_ascii_start().len();
    for pair in text.trim_ascii().split(|byte| *byte == b'&') {
        if let Some((key, value)) = form_urlencoded::parse(pair).next()
            && key == name
        {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            return (!value.is_empty()).then_some(start + equals + 1..start + pair.len());
        }
        start += pair.len() + 1;
    }
    None
}

/// Seconds as a number or as text, with decimals or without.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = whole_seconds(text)?;
    let span = || Duration::from_secs(seconds).min(LONGEST_LIFE);
    Some(until_moment(seconds, SystemTime::now()).unwrap_or_else(span))
}

/// A float that is too large or below zero becomes the nearest that there is.
fn whole_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let float = || text.parse::<f64>().ok().filter(|number| !number.is_nan()).map(|number| number as u64);
    text.parse().ok().or_else(float)
}

/// What is left until a moment that a provider says instead of a span, in seconds or milliseconds since 1970: as one it would be half a
/// century, and an access token that has ended would be handed on.
fn until_moment(number: u64, now: SystemTime) -> Option<Duration> {
    const DAY: u64 = 24 * 60 * 60;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let is_near = |moment: &u64| (now.saturating_sub(DAY)..now + 2 * 365 * DAY).contains(moment);
    let moment = [number, number / 1000].into_iter().find(is_near)?;
    Some(Duration::from_secs(moment.saturating_sub(now)))
}
