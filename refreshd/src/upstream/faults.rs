//! What is told of the provider's headers that break the rules of HTTP.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Once for each name and fault, and for so many of them: what a provider sends is not to fill a log.
pub(super) fn tell(name: &[u8], what: &'static str) {
    const MOST: usize = 64;
    static TOLD: Mutex<BTreeSet<(String, &str)>> = Mutex::new(BTreeSet::new());
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < MOST && told.insert((name.clone(), what)) {
        tracing::warn!(header = name, what, "the provider sends a header that breaks the rules of HTTP");
    }
}
