//! What the scripts are told of the rules of admission: the keys they go by, and the settings, in the order that
//! every script has them in.

use redis::ScriptInvocation;

use super::keys::Keys;
use super::ms;
use crate::admission::circuit::quiet;
use crate::config::Config;
use crate::token::Hash;

/// `permits`, `budget`, `queue`.
pub(super) fn budget_keys(call: &mut ScriptInvocation<'_>, keys: &Keys) {
    call.key(keys.permits()).key(keys.budget()).key(keys.queue());
}

/// `attempts`, `permits`, `budget`, `queue`, `circuit`.
pub(super) fn all_keys(call: &mut ScriptInvocation<'_>, keys: &Keys, session: &Hash) {
    call.key(keys.attempts(session));
    budget_keys(call, keys);
    call.key(keys.circuit());
}

/// `limit`, `called_ms`.
pub(super) fn budget(call: &mut ScriptInvocation<'_>, config: &Config) {
    call.arg(config.max_concurrent_refreshes).arg(ms(config.called_for()));
}

/// `max_attempts`, `window_ms`, `cooldown_ms`.
pub(super) fn attempts(call: &mut ScriptInvocation<'_>, config: &Config) {
    call.arg(config.max_refresh_attempts);
    call.arg(ms(config.refresh_attempt_window)).arg(ms(config.refresh_cooldown_period));
}

/// `max_failures`, `open_ms`, `quiet_ms`.
pub(super) fn circuit(call: &mut ScriptInvocation<'_>, config: &Config) {
    call.arg(config.breaker.max_failures).arg(ms(config.breaker.open_duration)).arg(ms(quiet(config)));
}
