//! What a refusal of the provider speaks of: the token, the client, or something else.

/// The kinds of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    DeadToken,
    /// The client is at fault.
    Client,
    /// The caller has only to come again with a nonce (RFC 9449 section 8).
    Nonce,
    /// What was asked for is not to be had without the user, who has to consent or to prove more: the token is as it was, for other
    /// scopes and resources (OpenID Connect Core section 3.1.2.6).
    User,
    /// The provider cannot answer for now, or is asked too often (RFC 6749 section 4.1.2.1, RFC 8628 section 3.5).
    Passing,
    Other,
}

impl Denial {
    /// The kind of the refusal that is called so.
    pub(crate) fn of(error: &str, is_token_dead: bool) -> Self {
        match error {
            _ if is_token_dead => Self::DeadToken,
            // The last one is GitHub's.
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "incorrect_client_credentials" => {
                Self::Client
            }
            "temporarily_unavailable" | "server_error" | "slow_down" => Self::Passing,
            "interaction_required" | "consent_required" | "account_selection_required" => Self::User,
            "use_dpop_nonce" => Self::Nonce,
            _ => Self::Other,
        }
    }

    /// Whether the way in which the client authenticated may be the reason: a client of which the provider does not know what it is may
    /// be told anything, such as that the request is invalid.
    pub(crate) fn may_be_of_authentication(self) -> bool {
        match self {
            Self::Client | Self::Other => true,
            Self::DeadToken | Self::User | Self::Nonce | Self::Passing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::authentication::Authentication;
    use crate::identity::Payer;
    use crate::outcome::{Outcome, ProviderFailure};
    use crate::token_response::ProviderResponse;

    #[test]
    fn session_pays_for_no_fault_of_the_client_or_the_provider() {
        let is_charged = |error: &str| {
            let refused = Outcome::Failure(ProviderFailure::denied(error));
            refused.is_charged(Payer::Session)
        };

        for free in [
            "invalid_client",
            "incorrect_client_credentials",
            "consent_required",
            "temporarily_unavailable",
            "slow_down",
        ] {
            assert!(!is_charged(free), "{free}");
        }
        for charged in ["invalid_scope", "invalid_grant", "http_400"] {
            assert!(is_charged(charged), "{charged}");
        }
    }

    #[test]
    fn what_will_pass_and_a_nonce_are_transient() {
        let is_transient = |error: &str| ProviderFailure::denied(error).is_transient();

        assert!(
            ["temporarily_unavailable", "server_error", "slow_down", "use_dpop_nonce"].into_iter().all(is_transient)
        );
        assert!(!["incorrect_client_credentials", "invalid_grant", "invalid_scope"].into_iter().any(is_transient));
    }

    #[test]
    fn refusal_of_a_client_tells_how_it_authenticated() {
        let refused = |error: &str| {
            let response = ProviderResponse::new(401, "").authenticated(Authentication::BASIC);
            ProviderFailure::denied(error).with_response(response).refused_authentication()
        };

        assert_eq!(["invalid_client", "invalid_request"].map(refused), [Some(Authentication::BASIC); 2]);
        assert_eq!(["invalid_grant", "use_dpop_nonce"].map(refused), [None; 2]);
        assert_eq!(ProviderFailure::denied("invalid_client").refused_authentication(), None);
    }
}
