//! The facts. One more provider is one more entry; they stand in the order of their names.

use std::time::Duration;

use super::preset::{Fact, Preset};
use crate::config::RefreshTokens;
use crate::config::RefreshTokens::{Reusable, SingleUse};

const fn fact<T: Copy>(value: T, source: &'static str) -> Fact<T> {
    Fact { value, source }
}

/// A provider of which nothing is known but whether its tokens can be presented more than once.
const fn plain(name: &'static str, refresh_tokens: Fact<RefreshTokens>) -> Preset {
    Preset {
        name,
        refresh_tokens,
        grace: None,
        dead_token_errors: &[],
        passing_refusals: &[],
        gateway_texts: &[],
        narrows: None,
        revokes_access: None,
    }
}

const ATLASSIAN: &str = "https://developer.atlassian.com/cloud/oauth/getting-started/refresh-tokens/";
const ATLASSIAN_INVALID: &str = "https://github.com/ParabolInc/parabol/issues/11849";
const AUTH0: &str = "https://auth0.com/docs/secure/tokens/refresh-tokens/configure-refresh-token-rotation";
const DJANGO_SETTINGS: &str = "https://django-oauth-toolkit.readthedocs.io/en/latest/settings.html";
const DJANGO_VALIDATOR: &str =
    "https://github.com/django-oauth/django-oauth-toolkit/blob/master/oauth2_provider/oauth2_validators.py";
const ENTRA: &str = "https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens";
const ENTRA_LOOP: &str = "https://learn.microsoft.com/en-us/entra/msal/dotnet/advanced/client-and-server-throttling";
const FIREBASE: &str = "https://firebase.google.com/docs/reference/rest/auth#section-refresh-token";
const FIREBASE_SESSIONS: &str = "https://firebase.google.com/docs/auth/admin/manage-sessions";
const GITHUB: &str = "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/\
                      refreshing-user-access-tokens";
const GOOGLE: &str = "https://developers.google.com/identity/protocols/oauth2/web-server#offline";
// Where "Revoke Refresh Token" is off, its tokens are reusable; single-use is right for both.
const KEYCLOAK: &str = "https://www.keycloak.org/docs/latest/server_admin/index.html#_timeouts";
const OKTA: &str = "https://developer.okta.com/docs/guides/refresh-tokens/main/";
const SALESFORCE: &str = "https://help.salesforce.com/s/articleView?id=005316711&type=1";
const SALESFORCE_AT_ONCE: &str = "https://help.salesforce.com/s/articleView?id=release-notes.rn_security_refresh_token_requests.htm&release=250&type=5";
const SALESFORCE_RETRY: &str = "https://github.com/amazon-connect/amazon-connect-salesforce-lambda/issues/43";
const SUPABASE: &str = "https://supabase.com/docs/guides/auth/sessions";
const SUPABASE_ERRORS: &str = "https://supabase.com/docs/guides/auth/debugging/error-codes";
// Single-use for public clients, reusable for others; single-use is right for both.
const TWITCH: &str = "https://dev.twitch.tv/docs/authentication/refresh-tokens/";
const ZOHO: &str = "https://www.zoho.com/accounts/protocol/oauth/web-apps/access-token-expiry.html";
const ZOHO_DEAD: &str = "https://github.com/schmorrison/Zoho/pull/18";

pub(super) static PRESETS: [Preset; 13] = [
    Preset {
        dead_token_errors: &[fact("refresh_token is invalid", ATLASSIAN_INVALID)],
        ..plain("atlassian", fact(SingleUse, ATLASSIAN))
    },
    // An overlap period can be set; by default there is none.
    plain("auth0", fact(SingleUse, AUTH0)),
    Preset {
        narrows: Some(fact((), DJANGO_VALIDATOR)),
        revokes_access: Some(fact((), DJANGO_VALIDATOR)),
        ..plain("django-oauth-toolkit", fact(SingleUse, DJANGO_SETTINGS))
    },
    // It calls that invalid_grant.
    Preset { passing_refusals: &[fact("AADSTS50196", ENTRA_LOOP)], ..plain("entra", fact(Reusable, ENTRA)) },
    Preset {
        dead_token_errors: &[
            fact("TOKEN_EXPIRED", FIREBASE),
            fact("USER_DISABLED", FIREBASE),
            fact("USER_NOT_FOUND", FIREBASE),
        ],
        ..plain("firebase", fact(Reusable, FIREBASE_SESSIONS))
    },
    Preset {
        dead_token_errors: &[fact("bad_refresh_token", "https://github.com/orgs/community/discussions/24745")],
        revokes_access: Some(fact((), GITHUB)),
        ..plain("github", fact(SingleUse, GITHUB))
    },
    plain("google", fact(Reusable, GOOGLE)),
    plain("keycloak", fact(SingleUse, KEYCLOAK)),
    Preset { grace: Some(fact(Duration::from_secs(30), OKTA)), ..plain("okta", fact(SingleUse, OKTA)) },
    Preset {
        passing_refusals: &[
            fact("token request is already being processed", SALESFORCE_AT_ONCE),
            fact("retry your request", SALESFORCE_RETRY),
        ],
        ..plain("salesforce", fact(SingleUse, SALESFORCE))
    },
    Preset {
        grace: Some(fact(Duration::from_secs(10), SUPABASE)),
        dead_token_errors: &[
            fact("refresh_token_not_found", SUPABASE_ERRORS),
            fact("refresh_token_already_used", SUPABASE_ERRORS),
            fact("session_not_found", SUPABASE_ERRORS),
            fact("session_expired", SUPABASE_ERRORS),
        ],
        ..plain("supabase", fact(SingleUse, SUPABASE))
    },
    Preset { dead_token_errors: &[fact("Invalid refresh token", TWITCH)], ..plain("twitch", fact(SingleUse, TWITCH)) },
    Preset {
        dead_token_errors: &[fact("invalid_code", ZOHO_DEAD)],
        // More than ten refreshes in ten minutes, which it calls "Access Denied".
        passing_refusals: &[fact("too many requests continuously", ZOHO)],
        ..plain("zoho", fact(Reusable, ZOHO))
    },
];
