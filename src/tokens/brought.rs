//! What a refresh brought for one claim, and what becomes of a session's row by it. Other claims may have written that row meanwhile:
//! what they wrote stays.

use std::time::{Duration, SystemTime};

use super::access_token::AccessToken;
use super::grant::Grant;
use super::held::Held;
use super::session_tokens::SessionTokens;
use crate::flight::refreshed::Refreshed;
use crate::secret::Secret;
use crate::token_response::TokenResponse;

pub(super) struct Brought<'a> {
    /// What its caller came with.
    held: &'a Held,
    grant: Grant,
    refresh_token: Secret,
    id_token: Option<Secret>,
    /// The refresh tokens that the new one may replace.
    walked: Vec<Secret>,
    at: SystemTime,
}

/// What is to be done with a row.
pub(super) enum Merge {
    /// It is to be replaced by this one.
    Write(Box<SessionTokens>),
    /// It holds what was brought.
    IsThere,
    /// Its claim was refreshed since, or another user has logged in.
    Newer,
}

impl<'a> Brought<'a> {
    /// An access token of which the provider does not say how long it lives counts as good for `assumed`.
    pub(super) fn of(refreshed: &Refreshed, held: &'a Held, at: SystemTime, assumed: Duration) -> Self {
        let tokens = refreshed.tokens();
        let walked = walked(held, refreshed.passed());
        let presented = walked.last().expect("BUG: a walk begins with what is held");
        let refresh_token = tokens.refresh_token().map_or_else(|| presented.clone(), Secret::from);
        let grant = Grant { fence: Some(refreshed.fence()), ..granted(tokens, at, assumed) };
        Self { held, grant, refresh_token, id_token: id_token(tokens), walked, at }.following()
    }

    /// An answer that leaves a field out means the one from before (RFC 6749 section 6).
    fn following(mut self) -> Self {
        let before = self.held.grant().and_then(|grant| grant.scope.clone());
        self.grant.scope = self.grant.scope.or(before);
        self
    }

    pub(super) fn merged_into(&self, row: &SessionTokens) -> Merge {
        let stored = Held::new(row.clone(), self.held.claim());
        if is_same(row.refresh_token(), &self.refresh_token) {
            return self.beside(&stored);
        }
        if self.walked.iter().any(|token| is_same(token, row.refresh_token())) {
            let row = row.rewritten(self.refresh_token.clone(), self.id_token.clone());
            return self.write(row, self.grant.clone());
        }
        self.late(&stored)
    }

    /// The row holds the refresh token that was brought: it is kept, or another caller of the flight has written.
    fn beside(&self, stored: &Held) -> Merge {
        match stored.grant() {
            Some(grant) if grant.has_same_token(&self.grant) && grant.fence == self.grant.fence => Merge::IsThere,
            Some(grant) if !stored.is_unchanged_since(self.held) && !self.grant.is_later_than(grant) => Merge::Newer,
            Some(_) | None => {
                let row = stored.row().rewritten(self.refresh_token.clone(), self.id_token.clone());
                self.write(row, self.grant.clone())
            }
        }
    }

    /// Others went on from the refresh token that was brought, or it is one beside theirs. Theirs stays.
    fn late(&self, stored: &Held) -> Merge {
        if stored.grant().is_some_and(|grant| grant.has_same_token(&self.grant)) {
            return Merge::IsThere;
        }
        if !stored.is_unchanged_since(self.held) || !stored.row().is_of_login_of(self.held.row()) {
            return Merge::Newer;
        }
        let row = stored.row().rewritten(stored.refresh_token().clone(), None);
        self.write(row, Grant { fence: None, ..self.grant.clone() })
    }

    fn write(&self, row: SessionTokens, grant: Grant) -> Merge {
        Merge::Write(Box::new(row.with_grant(self.held.claim(), grant, self.at)))
    }

    /// Whether this token was rotated by it.
    pub(super) fn has_rotated(&self, token: &str) -> bool {
        self.walked.iter().any(|walked| walked.expose() == token) && self.refresh_token.expose() != token
    }

    pub(super) fn refresh_token(&self) -> &Secret {
        &self.refresh_token
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What its caller is handed.
    pub(super) fn access_token(&self) -> AccessToken {
        let id_token = self.id_token.as_ref().or(self.held.row().id_token());
        AccessToken::new(self.grant.clone(), id_token.cloned())
    }
}

/// What a session begins with. None where the answer holds no refresh token.
pub(super) fn login(tokens: &TokenResponse, at: SystemTime, assumed: Duration) -> Option<SessionTokens> {
    let refresh_token = tokens.refresh_token().map(Secret::from)?;
    Some(SessionTokens::of(refresh_token, granted(tokens, at, assumed), id_token(tokens)))
}

/// The refresh tokens that new ones may replace.
pub(super) fn walked(held: &Held, passed: &[Secret]) -> Vec<Secret> {
    [held.refresh_token()].into_iter().chain(passed).cloned().collect()
}

pub(super) fn is_same(one: &Secret, other: &Secret) -> bool {
    one.expose() == other.expose()
}

fn granted(tokens: &TokenResponse, at: SystemTime, assumed: Duration) -> Grant {
    let grant = Grant::new(tokens.access_token().into(), at, tokens.expires_in().unwrap_or(assumed));
    Grant { scope: tokens.scope().map(str::to_owned), ..grant }
}

fn id_token(tokens: &TokenResponse) -> Option<Secret> {
    tokens.field("id_token").and_then(|token| token.as_str().map(Secret::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::claim::Claim;

    const S: Duration = Duration::from_secs(1);

    fn grant(access_token: &str, fence: Option<u64>) -> Grant {
        Grant { fence, ..Grant::new(access_token.into(), SystemTime::UNIX_EPOCH + 1000 * S, 300 * S) }
    }

    fn held(row: SessionTokens) -> Held {
        Held::new(row, &Claim::named("billing"))
    }

    fn login() -> SessionTokens {
        SessionTokens::new("a1", "r1", SystemTime::UNIX_EPOCH + 1000 * S, 300 * S)
    }

    /// The row after a refresh of this claim.
    fn refreshed(row: &SessionTokens, name: &str, refresh_token: &str, grant: Grant) -> SessionTokens {
        let row = row.rewritten(refresh_token.into(), None);
        row.with_grant(&Claim::named(name), grant, SystemTime::UNIX_EPOCH + 1000 * S)
    }

    /// What billing's refresh brought, whose caller came with `held`.
    fn brought<'a>(held: &'a Held, refresh_token: &str, grant: Grant) -> Brought<'a> {
        let walked = walked(held, &[]);
        let at = SystemTime::UNIX_EPOCH + 1000 * S;
        Brought { held, grant, refresh_token: refresh_token.into(), id_token: None, walked, at }
    }

    /// Refresh token and billing's access token of the row that is to be written, or what is said instead.
    fn told(merge: Merge) -> String {
        match merge {
            Merge::Write(row) => {
                let refresh_token = row.refresh_token().expose().to_owned();
                format!("{refresh_token} {}", held(*row).into_access_token().expose())
            }
            Merge::IsThere => "is there".to_owned(),
            Merge::Newer => "newer".to_owned(),
        }
    }

    #[test]
    fn late_answer_is_put_beside_what_others_went_on_to_and_over_nothing_that_its_claim_was_given_since() {
        let own = held(login());
        let new = brought(&own, "r2", grant("b2", Some(2)));
        let gone_on = refreshed(&login(), "mail", "r3", grant("m3", Some(3)));

        assert_eq!(told(new.merged_into(own.row())), "r2 b2");
        assert_eq!(told(new.merged_into(&gone_on)), "r3 b2", "their refresh token stays");
        let written = refreshed(&gone_on, "billing", "r3", grant("b2", None));
        assert_eq!(told(new.merged_into(&written)), "is there");
        let later = refreshed(&gone_on, "billing", "r4", grant("b4", Some(4)));
        assert_eq!(told(new.merged_into(&later)), "newer");
        assert_eq!(told(new.merged_into(&refreshed(&later, "mail", "r5", grant("m5", Some(5))))), "newer");
        let another = SessionTokens::new("x1", "x1", SystemTime::UNIX_EPOCH + 1000 * S, 300 * S);
        assert_eq!(told(new.merged_into(&another)), "newer", "of another login");
    }

    #[test]
    fn answer_for_a_token_that_is_kept_replaces_none_that_is_later() {
        let own = held(refreshed(&login(), "billing", "r1", grant("b1", Some(1))));
        let new = brought(&own, "r1", grant("b5", Some(5)));
        let row = |fence| refreshed(own.row(), "billing", "r1", grant("of another pod", Some(fence)));

        assert_eq!(told(new.merged_into(own.row())), "r1 b5");
        assert_eq!(told(new.merged_into(&row(4))), "r1 b5");
        assert_eq!(told(new.merged_into(&row(6))), "newer");
        assert_eq!(told(new.merged_into(&refreshed(own.row(), "billing", "r1", grant("b5", Some(5))))), "is there");
    }

    #[test]
    fn access_token_that_is_given_again_with_another_refresh_token_or_for_longer_is_written() {
        let own = held(refreshed(&login(), "billing", "r1", grant("b", Some(1))));

        assert_eq!(told(brought(&own, "r2", grant("b", Some(2))).merged_into(own.row())), "r2 b");
        assert_eq!(told(brought(&own, "r1", grant("b", Some(2))).merged_into(own.row())), "r1 b");
    }
}
