//! What the scripts are told of the rules of admission: the keys they go by, in the order that every script has them in,
//! and the settings of the budget.

use super::words::ms;
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

/// `known`, `first`, `second`.
pub(super) fn known_keys(call: &mut Call<'_>, keys: &Keys) {
    call.key(keys.known());
    keys.known_tokens().iter().for_each(|filter| {
        call.key(filter);
    });
}

/// `limit`, `called_ms`.
pub(super) fn budget(call: &mut Call<'_>, config: &Config) {
    call.arg(config.max_concurrent_refreshes).arg(ms(config.permit_reserved_for()));
}
