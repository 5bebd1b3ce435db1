//! What this pod has last heard of the other living pods that matters for its own flights: pods may go by different
//! settings for a while, as when a fleet is upgraded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::{Config, Uncertain};

/// Told by every reply of `meta.lua`; before the first, this pod's own settings.
#[derive(Debug)]
pub(super) struct Register {
    own_lease_ms: u64,
    own_never: bool,
    longest_lease_ms: AtomicU64,
    anyone_never: AtomicBool,
    all_follow: AtomicBool,
}

impl Register {
    pub(super) fn new(config: &Config) -> Self {
        let own_lease_ms = u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX);
        let own_never = config.uncertain == Uncertain::Never;
        Self {
            own_lease_ms,
            own_never,
            longest_lease_ms: own_lease_ms.into(),
            anyone_never: own_never.into(),
            all_follow: true.into(),
        }
    }

    /// What a reply said of all living pods.
    pub(super) fn learn(&self, longest_lease: Duration, anyone_never: bool, all_follow: bool) {
        self.all_follow.store(all_follow, Ordering::Relaxed);
        let ms = u64::try_from(longest_lease.as_millis()).unwrap_or(u64::MAX);
        self.longest_lease_ms.store(ms.max(self.own_lease_ms), Ordering::Relaxed);
        self.anyone_never.store(anyone_never || self.own_never, Ordering::Relaxed);
    }

    /// The longest lease that a living pod goes by; never shorter than this pod's own.
    pub(super) fn longest_lease(&self) -> Duration {
        Duration::from_millis(self.longest_lease_ms.load(Ordering::Relaxed))
    }

    /// Whether all living pods go on where other claims went: one that does not, as those of a release before, tells no login where the
    /// newest token is.
    pub(super) fn all_follow(&self) -> bool {
        self.all_follow.load(Ordering::Relaxed)
    }

    /// Whether a living pod goes by `uncertain = never`: then every pod has to remember which tokens are uncertain.
    pub(super) fn remembers_strictly(&self) -> bool {
        self.anyone_never.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn own_settings_count_whatever_others_say() {
        let register = Register::new(&Config { lease: 10 * S, uncertain: Uncertain::Never, ..Config::default() });
        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, true));

        register.learn(S, false, true);

        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, true));
    }

    #[test]
    fn what_others_say_counts_until_they_say_otherwise() {
        let register = Register::new(&Config { lease: 10 * S, ..Config::default() });
        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, false));

        register.learn(60 * S, true, true);
        assert_eq!((register.longest_lease(), register.remembers_strictly()), (60 * S, true));
        register.learn(10 * S, false, true);

        assert_eq!((register.longest_lease(), register.remembers_strictly()), (10 * S, false));
    }
}
