//! A setting that changes while the fleet runs, as an operator changes it: one pod after the other, and back again.

use crate::wire::Rules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Lease,
    StoreTimeout,
    RefreshTimeout,
    WaitTimeout,
    CallLimit,
    KeepOutcome,
    RetryLostAfter,
    Uncertain,
    UncertainMemory,
    OnStoreOutage,
    MaxConcurrent,
    MaxAttempts,
}

impl Setting {
    /// All of them, with the names of their rows.
    pub(crate) const ALL: [(&'static str, Self); 12] = [
        ("change of lease", Self::Lease),
        ("change of store_timeout", Self::StoreTimeout),
        ("change of refresh_timeout", Self::RefreshTimeout),
        ("change of wait_timeout", Self::WaitTimeout),
        ("change of call_limit", Self::CallLimit),
        ("change of keep_outcome", Self::KeepOutcome),
        ("change of retry_lost_after", Self::RetryLostAfter),
        ("change of uncertain", Self::Uncertain),
        ("change of uncertain_memory", Self::UncertainMemory),
        ("change of on_store_outage", Self::OnStoreOutage),
        ("change of max_concurrent_refreshes", Self::MaxConcurrent),
        ("change of max_refresh_attempts", Self::MaxAttempts),
    ];

    /// The rules with another value of it. Those that the checker bounds callers by become no longer.
    pub(crate) fn changed(self, rules: &Rules) -> Rules {
        let mut rules = rules.clone();
        match self {
            Self::Lease => rules.lease_ms += rules.lease_ms / 2,
            Self::StoreTimeout => rules.store_timeout_ms += rules.store_timeout_ms / 2,
            Self::RefreshTimeout => rules.refresh_timeout_ms -= rules.refresh_timeout_ms / 6,
            Self::WaitTimeout => rules.wait_timeout_ms -= rules.wait_timeout_ms / 6,
            Self::CallLimit => rules.call_limit_ms += rules.call_limit_ms / 4,
            Self::KeepOutcome => rules.keep_outcome_ms += rules.keep_outcome_ms / 2,
            Self::RetryLostAfter => rules.retry_lost_after_ms += 1000,
            Self::Uncertain => rules.presents_uncertain_tokens_again = !rules.presents_uncertain_tokens_again,
            Self::UncertainMemory => rules.uncertain_memory_ms += rules.uncertain_memory_ms / 2,
            Self::OnStoreOutage => rules.goes_on_alone = !rules.goes_on_alone,
            Self::MaxConcurrent => rules.max_concurrent -= rules.max_concurrent / 4,
            Self::MaxAttempts => rules.max_attempts += 2,
        }
        rules
    }
}
