//! Whether a token that no leader holds may be presented, and by whom.

use std::time::Duration;

use tokio::time::Instant;

use super::clients::UncertainEnd;
use super::record::{FlightRecord, State};
use crate::config::{Config, Uncertain};
use crate::identity::Hash;
use crate::outcome::TokenState;
use crate::store::contract::TokenHistory;

/// Whether a token that no leader holds may be presented.
pub(super) enum NextLead {
    /// By a leader that is told this of the token, after so many of its client that were lost.
    May { history: TokenHistory, lost: u32 },
    /// A lost leader may still come back with the answer.
    NotBefore(Instant),
    /// It may have been rotated under this fence, and the policy is `never`.
    Never { fence: u64 },
    /// It was rotated for somebody else, a moment ago.
    AnotherClaim { retry_after: Duration },
}

impl FlightRecord {
    /// Whether a client may present the token now, where no leader holds it. What happened to another client's flight says
    /// nothing of what this one's credential would bring.
    pub(super) fn next_lead(
        &self,
        client: Hash,
        is_known: impl FnOnce() -> bool,
        now: Instant,
        config: &Config,
    ) -> NextLead {
        let is_own = self.is_of(client);
        let lost_leaders = NextLead::May { history: TokenHistory::LostLeaders, lost: self.lost };
        let next = match &self.state {
            State::Leading => unreachable!("BUG: a leading flight without a lock was just marked lost"),
            State::Abandoned => None,
            State::LeaderLost { heard_until } => {
                let again_at = self.started + config.retry_lost_after();
                let heard_until = heard_until.map(|at| if is_own { at.max(again_at) } else { at });
                match heard_until {
                    Some(heard_until) if heard_until > now => Some(NextLead::NotBefore(heard_until)),
                    _ if !is_own => None,
                    _ if config.uncertain == Uncertain::Never => Some(NextLead::Never { fence: self.fence }),
                    _ => Some(lost_leaders),
                }
            }
            State::Rotated => Some(NextLead::May { history: TokenHistory::Rotated, lost: 0 }),
            State::Landed { outcome, fresh_until, .. } => match outcome.token_state() {
                TokenState::Rotated if *fresh_until > now => {
                    Some(NextLead::AnotherClaim { retry_after: *fresh_until - now })
                }
                TokenState::Rotated => Some(NextLead::May { history: TokenHistory::Rotated, lost: 0 }),
                TokenState::Unknown if is_own && config.uncertain == Uncertain::Never => {
                    Some(NextLead::Never { fence: self.fence })
                }
                // The leader that took over learned nothing of the token: it is as uncertain as before.
                TokenState::Untouched | TokenState::Unknown if is_own && self.lost > 0 => Some(lost_leaders),
                TokenState::Kept | TokenState::Dead | TokenState::Untouched | TokenState::Unknown => None,
            },
        };
        match next {
            Some(next @ (NextLead::NotBefore(_) | NextLead::Never { .. } | NextLead::AnotherClaim { .. })) => next,
            _ => self.next_lead_after_others(client, next, is_known, config),
        }
    }

    /// The same, by what is kept of this client since others led.
    fn next_lead_after_others(
        &self,
        client: Hash,
        next: Option<NextLead>,
        is_known: impl FnOnce() -> bool,
        config: &Config,
    ) -> NextLead {
        let unremarkable = NextLead::May { history: TokenHistory::Unremarkable, lost: 0 };
        let Some(others) = &self.others else { return next.unwrap_or(unremarkable) };
        let is_never = config.uncertain == Uncertain::Never;
        match others.uncertain(client) {
            Some(end) if is_never => NextLead::Never { fence: end.fence },
            _ if is_never && !self.is_of(client) && others.are_too_many() && !is_known() => {
                NextLead::Never { fence: self.fence }
            }
            Some(UncertainEnd { lost, .. }) if lost > 0 => {
                next.unwrap_or(NextLead::May { history: TokenHistory::LostLeaders, lost })
            }
            Some(_) | None => next.unwrap_or(unremarkable),
        }
    }
}
