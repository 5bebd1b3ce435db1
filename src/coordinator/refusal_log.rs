//! Tells an operator of every refusal of our own: for each reason one line a second at most, with how many were left out.

use std::time::{Duration, SystemTime};

use tracing::info;

use crate::error::{RefreshError, Refusal};
use crate::identity::Identity;
use crate::told::Told;

#[derive(Debug)]
pub(super) struct RefusalLog {
    namespace: String,
    pod: String,
    told: Told,
}

/// A refusal as it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused<'a> {
    pub(super) reason: &'static str,
    /// What the store said, or the way to it.
    pub(super) cause: Option<&'a str>,
    pub(super) setting: Option<&'static str>,
    /// For whom the token was rotated, where it was.
    pub(super) rotated_for: Option<&'static str>,
    /// For how long the same would be refused.
    pub(super) lasts: Option<Duration>,
}

impl<'a> Refused<'a> {
    /// None where it is no refusal of ours.
    pub(super) fn of(error: &'a RefreshError) -> Option<Self> {
        let (reason, setting) = match error {
            // What the provider answered is told where it was asked.
            RefreshError::Provider { .. } | RefreshError::Lost { response: Some(_) } => return None,
            // An answer to who asked for no more.
            RefreshError::NotUnderWay => return None,
            RefreshError::SessionEnded => ("session_ended", None),
            RefreshError::Invalid(_) => ("invalid", None),
            RefreshError::Lost { response: None } => ("lost", Some("uncertain")),
            RefreshError::Refused(refusal) => (refusal.reason(), refusal.setting()),
            RefreshError::TimedOut { .. } => ("timed_out", Some("refresh_timeout")),
            RefreshError::StoreOutage { .. } => ("store_outage", Some("store_timeout")),
        };
        let cause = match error {
            RefreshError::StoreOutage { reason, .. } => Some(&reason[..]),
            _ => None,
        };
        let rotated_for = match error {
            RefreshError::Refused(Refusal::AnotherClaim { differs, .. }) => Some(differs.words()),
            _ => None,
        };
        Some(Self { reason, cause, setting, rotated_for, lasts: error.retry_after() })
    }
}

impl RefusalLog {
    pub(super) fn new(namespace: String, pod: String) -> Self {
        Self { namespace, pod, told: Told::default() }
    }

    /// Tells it, unless the same was told a moment ago. `of` is none where the refusal came before there was a flight.
    pub(super) fn tell(&self, refused: Refused<'_>, of: Option<&Identity>) {
        let Some(left_out) = self.told.due(refused.reason) else { return };
        let Refused { reason, cause, setting, rotated_for, lasts } = refused;
        let until = lasts.and_then(|lasts| SystemTime::now().checked_add(lasts));
        info!(
            reason,
            error = cause,
            setting,
            rotated_for,
            flight = of.map(|of| tracing::field::display(&of.flight)),
            session = of.map(|of| tracing::field::display(&of.session)),
            namespace = self.namespace,
            pod = self.pod,
            until = until.map(humantime::format_rfc3339_millis).map(tracing::field::display),
            left_out,
            "refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn refusal_of_ours_names_its_setting_and_what_the_provider_says_is_none() {
        let limited = crate::Refusal::CoolingDown { retry_after: PAUSE }.into();
        let limited = Refused::of(&limited).expect("ours");
        assert_eq!((limited.reason, limited.setting), ("cooling_down", Some("max_refresh_attempts")));
        assert_eq!(limited.lasts, Some(PAUSE));

        let outage =
            RefreshError::StoreOutage { reason: "max number of clients reached".to_owned(), retry_after: PAUSE };
        assert_eq!(Refused::of(&outage).expect("ours").cause, Some("max number of clients reached"));
        let failure = crate::ProviderFailure::denied("invalid_grant");
        assert!(Refused::of(&RefreshError::Provider { failure, fence: 1 }).is_none());
    }
}
