//! Whether the name of an error, or its description, says that the refresh token is dead: by its letters alone, however it is written.
//! Nothing is here that may speak of another token: that of the client expires, too.

/// What says so in other words.
const NAMES: [&str; 4] = [
    "invalidgrant",
    // Ory Hydra: https://github.com/ory/hydra/issues/3004
    "tokeninactive",
    // X says no more of a refresh token that it does not take, and Shopify this.
    "valuepassedforthetokenwasinvalid",
    "thisrequestrequiresanactiverefreshtoken",
];

/// What became of it.
const FATES: [&str; 23] = [
    "invalid",
    "expired",
    "revoked",
    "unknown",
    "inactive",
    "used",
    "reused",
    "reuse",
    "reusedetected",
    "rotated",
    "invalidated",
    "consumed",
    "superseded",
    "deleted",
    "blacklisted",
    "malformed",
    "incorrect",
    "illegal",
    "wrong",
    "unrecognized",
    "bad",
    // One that is presented is not missing.
    "missingorinvalid",
    "invalidormissing",
];
/// Before what became of it.
const AUXILIARIES: [&str; 10] =
    ["is", "isalready", "isnow", "was", "wasalready", "has", "hasalready", "hasbeen", "hasalreadybeen", "already"];
/// Before what it is not.
const NEGATIONS: [&str; 9] =
    ["not", "isnot", "isnt", "wasnot", "nolonger", "isnolonger", "doesnot", "doesnt", "couldnotbe"];
const LIVING: [&str; 7] = ["valid", "active", "found", "known", "recognized", "exist", "exists"];

/// Before it, where that says nothing of it.
const LEADS: [&str; 12] = [
    "the",
    "this",
    "your",
    "a",
    "an",
    "old",
    "provided",
    "theprovided",
    "thespecified",
    "thegiven",
    "thesupplied",
    "theold",
];
/// Behind it, where that says nothing of it either.
const OF_THE_REQUEST: [&str; 6] = ["inrequest", "passed", "provided", "supplied", "specified", "given"];

/// The name in an error that says so. Nothing but known words is in it: it may be logged.
pub(super) fn named_in(error: &str) -> Option<&str> {
    // That its user has to log in again: https://openid.net/specs/openid-connect-core-1_0.html#AuthError. Only as it is written there,
    // because "Login required" is what gateways say of themselves.
    if error.trim().eq_ignore_ascii_case("login_required") {
        return Some(error.trim());
    }
    // As in `Invalid refresh token (expired): r1`, `The refresh token is expired (since 7 s)`, and in the first of two sentences.
    let clause = before_any(error, &[": ", "; ", ". ", "! ", "\n"]);
    let bare = before_any(clause, &[" (", " ["]);
    // As in `https://errors.example/invalid_grant` and `oauth.v2.InvalidRefreshToken`.
    let last = error.rsplit(['.', ':', '/', '#']).find(|part| !part.is_empty()).unwrap_or_default();
    [error, clause, bare, last].into_iter().map(str::trim).find(|part| is_name(part))
}

fn before_any<'a>(text: &'a str, stops: &[&str]) -> &'a str {
    let end = stops.iter().filter_map(|stop| text.find(stop)).min();
    &text[..end.unwrap_or(text.len())]
}

/// Whether these letters are such a name.
fn is_name(text: &str) -> bool {
    /// No name is longer; descriptions may be.
    const LONGEST: usize = 80;
    if text.len() > LONGEST {
        return false;
    }
    let letters: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let letters = letters.strip_suffix("error").or(letters.strip_suffix("exception")).unwrap_or(&letters);
    if NAMES.contains(&letters) {
        return true;
    }
    let Some((before, behind)) = letters.split_once("refreshtoken") else { return false };
    let behind = OF_THE_REQUEST.iter().find_map(|word| behind.strip_prefix(word)).unwrap_or(behind);
    if before.is_empty() || LEADS.contains(&before) {
        return is_fate(behind);
    }
    is_fate(before) && (behind.is_empty() || is_fate(behind))
}

/// Whether these letters tell what became of it: `hasalreadybeenused`, `isnotfoundorexpired`.
fn is_fate(letters: &str) -> bool {
    let is_joined = |joint: &str| {
        let mut places = letters.match_indices(joint);
        places.any(|(at, _)| is_one_fate(&letters[..at]) && is_fate(&letters[at + joint.len()..]))
    };
    is_one_fate(letters) || is_joined("or") || is_joined("and")
}

fn is_one_fate(letters: &str) -> bool {
    let follows = |before: &[&str], word: &[&str]| {
        before.iter().any(|before| letters.strip_prefix(before).is_some_and(|rest| word.contains(&rest)))
    };
    FATES.contains(&letters) || follows(&AUXILIARIES, &FATES) || follows(&NEGATIONS, &LIVING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_says_so_is_known_however_it_is_written() {
        for name in [
            "invalid_grant",
            "BAD_REFRESH_TOKEN",
            "refresh_token_already_used",
            "InvalidGrant",
            "InvalidGrantException",
            "token_inactive",
            "login_required",
            "Invalid \"refresh_token\" in request.",
            "invalid-grant",
            "Invalid grant.",
            "urn:example:error:invalid_grant",
            "https://errors.example/invalid_grant",
            "keymanagement.service.invalid_refresh_token",
            "isv.refresh-token-invalid",
            "REFRESH_TOKEN_EXPIRED",
            "refresh_token_not_found",
            "refresh_token_invalidated",
            "expired_refresh_token",
            "InvalidRefreshTokenException",
            "RefreshTokenReuseException",
            "IllegalRefreshToken",
            "Refresh Token has been revoked",
            "The refresh token is invalid or expired.",
            "The specified refresh token is invalid or expired",
            "Refresh token not found or expired",
            "Refresh token doesn't exist",
            "Old refresh token used.",
            "missing or invalid refresh token",
            "Invalid or expired refresh token",
            "Invalid refresh token provided",
            "The refresh token passed is incorrect or expired.",
            "Value passed for the token was invalid.",
            "This request requires an active refresh_token",
        ] {
            assert_eq!(named_in(name).map(|known| name.contains(known)), Some(true), "{name}");
        }
    }

    #[test]
    fn name_is_told_without_what_stands_beside_it() {
        for (text, name) in [
            ("Invalid refresh token (expired): hush", "Invalid refresh token (expired)"),
            ("Refresh token is expired (it was hush)", "Refresh token is expired"),
            ("Refresh token has expired. Log in again as hush", "Refresh token has expired"),
            ("the token hush: invalid_grant", "invalid_grant"),
            ("Invalid Params: invalid refresh_token", "invalid refresh_token"),
        ] {
            assert_eq!(named_in(text), Some(name));
        }
    }

    #[test]
    fn what_may_speak_of_something_else_is_no_name() {
        for name in [
            "",
            "invalid_token",
            "Login required",
            "expired_token",
            "token_expired",
            "missing_refresh_token",
            "refresh_token",
            "refresh_token_required",
            "refresh_token_valid",
            "refresh_token_not_supported",
            "no invalid_grant here",
            "refresh_token_expired_soon",
            "could not look whether the refresh token is expired",
            "invalid refresh token request",
            "invalid refresh token, client or secret",
            "refresh token unknown client",
            "invalid_grant_type",
            "Value passed for the authorization code was invalid.",
        ] {
            assert_eq!(named_in(name), None, "{name}");
        }
        // However its joints are cut.
        assert_eq!(named_in(&format!("refresh_token{}", "or".repeat(33))), None);
    }
}
