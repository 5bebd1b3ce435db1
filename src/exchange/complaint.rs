//! What an answer complains of, in whatever dress: the error code of RFC 6749 section 5.2, and what providers have in
//! its place.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::dialect::Dialect;
use crate::token_response::dressing::unwrapped;
use crate::token_response::json::{self, Members, Object};

/// An error that an answer names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// For logs and callers: only what looks like a code. A message, a URL or a token in its place is not taken.
    pub(super) name: String,
    pub(super) is_token_dead: bool,
}

/// Which answers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// A 2xx without tokens: only what is an error for certain is one.
    Success,
    /// A 4xx.
    Refusal,
}

/// Fields that hold an error. Names are compared by their letters: `error_code` is `errorCode`.
const ERRORS: [&str; 7] = ["error", "errorcode", "errcode", "err", "errno", "errors", "errorresponse"];
/// Fields that hold an error, or what went well.
const STATES: [&str; 2] = ["code", "status"];
/// Fields that say whether it went well.
const VERDICTS: [&str; 4] = ["success", "issuccess", "succeeded", "ok"];
/// Fields within an error, the most telling first, and where else the name of a dead token may stand.
const DETAILS: [&str; 20] = [
    "code",
    "error",
    "type",
    "name",
    "reason",
    "status",
    "errorcode",
    "errorid",
    "errortype",
    "message",
    "msg",
    "errormessage",
    "errordescription",
    "description",
    "detail",
    "title",
    "errmsg",
    "subcode",
    "submsg",
    "faultstring",
];
/// Fields that say of what an error speaks.
const SUBJECTS: [&str; 5] = ["field", "param", "parameter", "property", "attribute"];
/// What stands in a field for errors where there is none.
const NONE: [&str; 7] = ["", "200", "ok", "success", "none", "null", "false"];

/// None where the answer names no error.
pub(super) fn find(status: Status, headers: &HeaderMap, text: &[u8], dialect: &Dialect) -> Option<Complaint> {
    let text = unwrapped(text);
    let objects = json::objects(text);
    let named = match &objects {
        Some(objects) => objects.iter().flat_map(|object| names_in(object, status)).collect(),
        None => names_in_text(text),
    };
    let plain = serde_json::from_slice::<Cow<'_, str>>(text).ok().map(Cow::into_owned);
    let mut names = named.into_iter().chain(plain).chain(challenges(headers)).map(|name| name.trim().to_owned());
    // In a success that is not read, only what says nothing else: a page may speak of another answer, and what follows may be the new
    // token.
    let says_it = |name: &str, dead: &str| match (status, &objects) {
        (Status::Success, None) => name == dead,
        (Status::Success, Some(_)) => name.ends_with(dead),
        _ => true,
    };
    let dead = names.find_map(|name| dialect.dead_token(&name).filter(|dead| says_it(&name, dead)).map(str::to_owned));
    // A refusal in a form that is not read, such as JSON that is damaged or a page: the name says it there, too.
    let in_text = || dialect.dead_token_in(text).filter(|_| status == Status::Refusal && objects.is_none());
    let needed = objects.as_deref().and_then(needed_of_user);
    if let Some(name) = dead.or_else(|| in_text().map(str::to_owned)).filter(|_| needed.is_none()) {
        return Some(Complaint { name, is_token_dead: true });
    }
    let name = match &objects {
        Some(objects) => needed.map(str::to_owned).or_else(|| error_in(status, objects)),
        None => form_fields(text)
            .find(|(key, value)| is_one_of(key, &ERRORS) && is_error(value))
            .map(|(_, value)| code(&value)),
    };
    name.map(|name| Complaint { name, is_token_dead: false })
}

/// What is needed of the user where Entra ID says invalid_grant, and tells by a sub-error that it speaks of what was asked for: that they
/// consent to it, or do more than they did so far
/// (<https://learn.microsoft.com/en-us/dotnet/api/microsoft.identity.client.uirequiredexceptionclassification>).
fn needed_of_user(objects: &[Object<'_>]) -> Option<&'static str> {
    let top = objects.iter().filter(|object| object.depth == 0);
    top.filter_map(|object| scalar(member(&object.members, "suberror")?)).find_map(|suberror| match &suberror[..] {
        "consent_required" => Some("consent_required"),
        "basic_action" | "additional_action" | "message_only" => Some("interaction_required"),
        _ => None,
    })
}

/// Everything in an object that may be the name of an error.
fn names_in(object: &Object<'_>, status: Status) -> Vec<String> {
    let telling = |name: &str| is_one_of(name, &ERRORS) || is_one_of(name, &DETAILS);
    let values = object.members.iter().filter(|(name, _)| telling(name)).map(|(_, raw)| raw.get());
    let mut names: Vec<String> = values.flat_map(texts_of).collect();
    if status == Status::Success {
        return names;
    }
    // As Strava says it, `{"field":"refresh_token","code":"invalid"}`, and validators, `{"refresh_token":["is invalid"]}`.
    let is_subject = |name: &str| is_one_of(name, &["refreshtoken"]);
    let is_about_it =
        |(name, raw): (&str, &str)| is_one_of(name, &SUBJECTS) && scalar(raw).is_some_and(|it| is_subject(&it));
    let mut of_it: Vec<String> = Vec::new();
    if object.members.iter().any(|(name, raw)| is_about_it((name, raw.get()))) {
        of_it.clone_from(&names);
    }
    let named_so = object.members.iter().filter(|(name, _)| is_subject(name));
    of_it.extend(named_so.flat_map(|(_, raw)| texts_of(raw.get())));
    names.extend(of_it.iter().map(|what| format!("refresh_token {what}")));
    names.extend(of_it);
    names
}

/// A text, a number, or the texts of a list.
fn texts_of(raw: &str) -> Vec<String> {
    match raw.starts_with('[') {
        true => serde_json::from_str(raw).unwrap_or_default(),
        false => scalar(raw).into_iter().collect(),
    }
}

/// The same of what is no JSON: a form, the bare name, or an element of XML.
fn names_in_text(text: &[u8]) -> Vec<String> {
    const LONGEST_NAME: usize = 200;
    const LOOKED_THROUGH: usize = 4096;
    let start = String::from_utf8_lossy(&text[..text.len().min(LOOKED_THROUGH)]);
    if start.starts_with('<') {
        let contents = start.split('>').filter_map(|part| part.split_once('<')).map(|(content, _)| content.trim());
        return contents.filter(|content| !content.is_empty()).map(str::to_owned).collect();
    }
    let form = form_fields(text).filter(|(key, _)| is_one_of(key, &ERRORS) || is_one_of(key, &DETAILS));
    let bare = (text.len() <= LONGEST_NAME).then(|| start.into_owned());
    form.map(|(_, value)| value.into_owned()).chain(bare).collect()
}

fn form_fields(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(if text.starts_with(b"<") { &[] } else { text })
}

/// `error` of a WWW-Authenticate (RFC 6750 section 3).
fn challenges(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let parts = values.flat_map(|value| value.split([',', ' '])).filter_map(|part| part.trim().split_once('='));
    parts
        .filter(|(key, _)| key.eq_ignore_ascii_case("error"))
        .map(|(_, name)| name.trim_matches('"').to_owned())
        .collect()
}

/// The first error at the top or one envelope down.
fn error_in(status: Status, objects: &[Object<'_>]) -> Option<String> {
    let near = || objects.iter().filter(|object| object.depth <= 1).map(|object| &object.members);
    let named = near().find_map(|members| ERRORS.iter().find_map(|key| named_by(member(members, key)?)));
    let is_no_success = || near().any(|members| VERDICTS.iter().any(|key| member(members, key) == Some("false")));
    named
        .or_else(|| {
            let state =
                near().next().and_then(|members| STATES.iter().find_map(|key| scalar(member(members, key)?)))?;
            let is_error = match status {
                Status::Refusal => is_error(&state),
                // Words such as `active` and numbers such as 1 say that all is well. A number that is an error for certain
                // comes alone: beside a body there may be tokens in it, of a form that is not understood.
                Status::Success => {
                    objects[1..].iter().all(|object| object.members.is_empty())
                        && state.parse().is_ok_and(|number: u64| number >= 400)
                }
            };
            is_error.then(|| code(&state))
        })
        .or_else(|| is_no_success().then(|| UNNAMED.to_owned()))
}

/// The name of the error in a field, if there is one in it.
fn named_by(raw: &str) -> Option<String> {
    if let Some(name) = scalar(raw) {
        return is_error(&name).then(|| code(&name));
    }
    match raw {
        "true" => Some(UNNAMED.to_owned()),
        _ if raw.starts_with(['{', '[']) => {
            let objects = json::objects(raw.as_bytes())?;
            let details = objects.iter().find_map(|object| {
                DETAILS.iter().find_map(|key| scalar(member(&object.members, key)?)).filter(|name| is_error(name))
            });
            let strings =
                serde_json::from_str::<Vec<String>>(raw).unwrap_or_default().into_iter().find(|name| is_error(name));
            details.or(strings).map(|name| code(&name)).or_else(|| (!is_empty(raw)).then(|| UNNAMED.to_owned()))
        }
        _ => None,
    }
}

/// Whether nothing is in a list or an object, or only what says so.
fn is_empty(raw: &str) -> bool {
    let says_nothing = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => !is_error(text),
        serde_json::Value::Number(number) => !is_error(&number.to_string()),
        value => value.is_null() || *value == false,
    };
    match serde_json::from_str(raw) {
        Ok(serde_json::Value::Array(all)) => all.iter().all(says_nothing),
        Ok(serde_json::Value::Object(members)) => members.values().all(says_nothing),
        _ => false,
    }
}

fn member<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    members.iter().find(|(name, _)| is_one_of(name, &[key])).map(|(_, raw)| raw.get())
}

/// A text, or a number as one.
fn scalar(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'-' | b'0'..=b'9' => Some(raw.to_owned()),
        _ => None,
    }
}

fn is_error(name: &str) -> bool {
    let name = name.trim();
    // Zero, also as 00000.
    let is_zero = || name.bytes().all(|byte| b"0.-".contains(&byte)) && name.parse() == Ok(0.0);
    !(NONE.iter().any(|none| none.eq_ignore_ascii_case(name)) || is_zero())
}

fn is_one_of(name: &str, letters: &[&str]) -> bool {
    let of_name = || name.bytes().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    letters.iter().any(|letters| of_name().eq(letters.bytes()))
}

const UNNAMED: &str = "unnamed_error";

fn code(name: &str) -> String {
    const LONGEST: usize = 40;
    let is_code = (1..=LONGEST).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_code { name.to_owned() } else { UNNAMED.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: Status, text: &str) -> Option<(String, bool)> {
        let complaint = find(status, &HeaderMap::new(), text.as_bytes(), &Dialect::default());
        complaint.map(|Complaint { name, is_token_dead }| (name, is_token_dead))
    }

    #[test]
    fn dead_token_is_known_in_any_dress() {
        for text in [
            r#"{"error":"invalid_grant"}"#,
            r#"{"status":"BAD_REFRESH_TOKEN"}"#,
            r#"{"error":{"code":"refresh_token_reused","message":"x"}}"#,
            r#"{"code":400,"error_code":"refresh_token_already_used","msg":"x"}"#,
            r#"{"errorCode":"invalid_refresh_token"}"#,
            r#"{"errors":[{"reason":"invalid_grant"}]}"#,
            r#"{"errors":["invalid_grant"]}"#,
            r#"[{"Error":"invalid_grant"}]"#,
            r#"{"data":{"error":{"type":"invalid_grant"}}}"#,
            r#"{"error":"InvalidGrant"}"#,
            r#"{"type":"https://errors.example/invalid-grant","title":"x","status":400}"#,
            r#"{"type":"about:blank","title":"Invalid grant","status":400}"#,
            r#"{"__type":"NotAuthorizedException","message":"Refresh Token has been revoked"}"#,
            r#"{"fault":{"detail":{"errorcode":"keymanagement.service.invalid_refresh_token"}}}"#,
            r#"{"error_code":"refresh_token_not_found","msg":"x"}"#,
            "error=bad_refresh_token&error_description=x",
            "\"invalid_grant\"",
            "invalid_grant\n",
            "<error><code> invalid_grant </code></error>",
            "cb({\"error\":\"invalid_grant\"});",
            ")]}'\n{\"error\":\"invalid_grant \"}",
            "{\"error\":\"invalid_grant\"}\0",
            r#"{"error":{"errorId":"INVALID_REFRESH_TOKEN","message":"x"}}"#,
            r#"{"error_response":{"code":"40002","msg":"x","sub_code":"isv.refresh-token-invalid","sub_msg":"x"}}"#,
            r#"{"ErrorCode":"invalid_request","Error":"Refresh Token expired"}"#,
            r#"{"error":"invalid_request","error_description":"Value passed for the token was invalid."}"#,
        ] {
            for status in [Status::Success, Status::Refusal] {
                assert!(found(status, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
            }
        }
        // Where it may be followed by the new token, only at a refusal.
        let more = r#"{"error":"invalid_token","error_description":"Invalid refresh token (expired): hush"}"#;
        let is_dead = |status| found(status, more).is_some_and(|(_, is_token_dead)| is_token_dead);
        assert!(is_dead(Status::Refusal) && !is_dead(Status::Success));
        for text in [
            "{'error':'invalid_grant'}",
            "{\"error\":\"invalid_grant\",\"error_description\":\"a\nb\"}",
            "{\"error\":\"invalid_grant\"}<!-- by a proxy -->",
            "<html><body>Error: invalid_grant</body></html>",
            "<error code=\"INVALID_GRANT\"/>",
        ] {
            assert!(found(Status::Refusal, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
            assert!(!found(Status::Success, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
        }
        for text in
            ["<html>not_invalid_grant</html>", "invalid_grants are not served here", "{'error':'unsupported-grant'}"]
        {
            assert!(!found(Status::Refusal, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
        }
        for text in [
            r#"{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#,
            r#"{"errors":{"refresh_token":["is invalid"]}}"#,
            r#"{"refreshToken":["The refresh token has expired."]}"#,
        ] {
            assert!(found(Status::Refusal, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
        }
        for text in [
            r#"{"errors":[{"resource":"Application","field":"client_id","code":"invalid"}]}"#,
            r#"{"errors":[{"field":"refresh_token","code":"required"},{"field":"scope","code":"invalid"}]}"#,
            r#"{"errors":{"refresh_token":["can't be blank"],"scope":["is invalid"]}}"#,
            r#"{"error":"invalid_scope","refresh_token":"r1"}"#,
        ] {
            assert!(!found(Status::Refusal, text).is_some_and(|(_, is_token_dead)| is_token_dead), "{text}");
        }
        let challenge = HeaderMap::from_iter([(
            header::WWW_AUTHENTICATE,
            "Bearer realm=\"x\", error=\"invalid_grant\"".parse().expect("a value"),
        )]);
        assert!(find(Status::Refusal, &challenge, b"", &Dialect::default()).is_some_and(|found| found.is_token_dead));
    }

    #[test]
    fn error_counts_only_where_it_says_something() {
        for text in [
            r#"{"error":null}"#,
            r#"{"error":""}"#,
            r#"{"error":0}"#,
            r#"{"error":"0","code":0,"ok":true}"#,
            r#"{"error":false,"errors":[],"err":{}}"#,
            r#"{"errors":[null, ""],"error":[false]}"#,
            r#"{"errorCode":"00000","errno":0.0,"err":"-0"}"#,
            r#"{"error":{"code":0,"message":""},"errors":{"a":null}}"#,
            r#"{"code":200,"status":"success","error":"ok"}"#,
            r#"{"status":"active","success":true}"#,
            r#"{"code":10000,"data":{"accessToken":"a"}}"#,
            "",
            "ok",
            "<html>error=1</html>",
        ] {
            assert_eq!(found(Status::Success, text), None, "{text}");
        }
        for (text, name) in [
            (r#"{"error":"expired"}"#, "expired"),
            (r#"{"error":{"code":7}}"#, "7"),
            (r#"{"error":{"text":"x"}}"#, "unnamed_error"),
            (r#"{"error":true}"#, "unnamed_error"),
            (r#"{"errors":[{}]}"#, "unnamed_error"),
            (r#"{"error":"the token t0k3n is bad"}"#, "unnamed_error"),
            (r#"{"errcode":40030,"errmsg":"x"}"#, "40030"),
            (r#"{"status":601,"body":{}}"#, "601"),
            (r#"{"error_response":{"code":"40002","msg":"x"},"sign":"x"}"#, "40002"),
            (r#"{"success":false,"message":"x"}"#, "unnamed_error"),
            (r#"callback( {"error":100015,"error_description":"x"} );"#, "100015"),
            ("error=slow", "slow"),
        ] {
            assert_eq!(found(Status::Success, text), Some((name.to_owned(), false)), "{text}");
        }
        assert_eq!(found(Status::Refusal, r#"{"status":"LOCKED"}"#), Some(("LOCKED".to_owned(), false)));
        assert_eq!(found(Status::Refusal, r#"{"message":"x"}"#), None);
    }
}
