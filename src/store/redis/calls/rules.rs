//! What the scripts are told of the rules of admission: the keys they go by, and the settings, in the order that
//! every script has them in.

use super::words::{ms, packed};
use crate::admission::circuit::quiet;
use crate::config::Config;
use crate::identity::Hash;
use crate::store::redis::call::Call;
use crate::store::redis::keys::Keys;

/// `permits`, `budget`, `queue`.
pub(super) fn budget_keys(call: &mut Call<'_>, keys: &Keys) {
    call.key(keys.permits()).key(keys.budget()).key(keys.queue());
}

/// `attempts`, `permits`, `budget`, `queue`, `circuit`.
pub(super) fn all_keys(call: &mut Call<'_>, keys: &Keys, session: &Hash) {
    call.key(keys.attempts(session));
    budget_keys(call, keys);
    call.key(keys.circuit());
}

/// `limit`, `called_ms`.
pub(super) fn budget(call: &mut Call<'_>, config: &Config) {
    call.arg(config.max_concurrent_refreshes).arg(ms(config.called_for()));
}

/// The SETTINGs of `begin.lua`, in their order.
pub(crate) fn begin_settings(config: &Config) -> Vec<u8> {
    packed([
        ms(config.lease),
        ms(config.retry_lost_after()),
        ms(config.memory_of_lost()),
        ms(config.wait_timeout),
        config.max_refresh_attempts.into(),
        ms(config.refresh_attempt_window),
        ms(config.refresh_cooldown_period),
        config.max_concurrent_refreshes.into(),
        ms(config.called_for()),
        ms(config.budget_wait),
        config.breaker.half_open_requests.into(),
        ms(quiet(config)),
        ms(config.grace_of_lost()),
    ])
}

/// The SETTINGs of `complete.lua`, in their order.
pub(crate) fn complete_settings(config: &Config) -> Vec<u8> {
    packed([
        ms(config.store_timeout),
        ms(config.wait_timeout),
        ms(config.memory_of_lost()),
        ms(config.lease),
        config.breaker.max_failures.into(),
        ms(config.breaker.open_duration),
        ms(quiet(config)),
        config.max_concurrent_refreshes.into(),
        ms(config.called_for()),
    ])
}
