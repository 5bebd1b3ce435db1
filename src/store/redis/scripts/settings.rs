//! The settings that scripts are told, declared once for both sides: a pod packs them in this order behind the numbers of the
//! call, and the line by which a script unpacks them is made of their names.
//!
//! In one argument, because each costs as much as a small call.

use crate::admission::circuit::quiet;
use crate::config::{Config, Uncertain};
use crate::store::redis::calls::words::{Number, double, ms};

/// Numbers by the names that they have in a script.
pub(crate) struct Settings {
    /// Where the script unpacks them.
    mark: &'static str,
    numbers: &'static [Number],
}

pub(crate) const BEGIN: Settings = Settings {
    mark: "-- UNPACKED HERE: BEGIN in src/store/redis/scripts/settings.rs",
    numbers: &[
        // How long a pod waits at most, and how long it is remembered that a leader was lost, at least retry_ms. First, because a pod
        // that joins reads no others (lua/lib/join.lua).
        ("longest_wait_ms", |config| ms(config.longest_wait())),
        ("memory_ms", |config| ms(config.memory_of_lost())),
        // How long a lead lasts unless it is renewed.
        ("lease_ms", |config| ms(config.lease)),
        // What to do with a token of which nobody knows whether it was rotated: 0 is to present it again, 1 never to.
        ("uncertain", |config| (config.uncertain == Uncertain::Never).into()),
        // When the token of a lost leader is presented again, from the start of the lost flight.
        ("retry_ms", |config| ms(config.retry_lost_after())),
        // The limits of the session.
        ("max_attempts", |config| config.max_refresh_attempts.into()),
        ("window_ms", |config| ms(config.refresh_attempt_window)),
        ("cooldown_ms", |config| ms(config.refresh_cooldown_period)),
        // How many permits there are.
        ("limit", |config| config.max_concurrent_refreshes.into()),
        // How long a permit is kept for a flight that was called from the queue.
        ("called_ms", |config| ms(config.permit_reserved_for())),
        // How long a flight queues.
        ("budget_wait_ms", |config| ms(config.budget_wait())),
        // How many probes may be out.
        ("half_open", |config| config.breaker.half_open_requests.into()),
        // How long a circuit that does not move is remembered.
        ("quiet_ms", |config| ms(quiet(config))),
        // How long a lost leader may still be heard of, from when a pod first missed it.
        ("grace_ms", |config| ms(config.grace_of_lost())),
    ],
};

pub(crate) const COMPLETE: Settings = Settings {
    mark: "-- UNPACKED HERE: COMPLETE in src/store/redis/scripts/settings.rs",
    numbers: &[
        // How long this may have been on its way.
        ("late_ms", |config| ms(config.store_timeout)),
        // How long the record is kept at least when pods wait.
        ("wait_ms", |config| ms(config.wait_timeout)),
        // How long it is remembered that a leader was lost.
        ("memory_ms", |config| ms(config.memory_of_lost())),
        // How long an attempt that has not arrived is expected.
        ("lease_ms", |config| ms(config.lease)),
        // How long a rotated token's outcome is handed to newcomers, how long it is held for who comes again, and how many are.
        ("outcome_ms", |config| ms(config.keep_outcome)),
        ("until_used_ms", |config| ms(config.keep_until_used)),
        ("keep_at_most", |config| config.keep_at_most.into()),
        // The rules of the circuit.
        ("max_failures", |config| config.breaker.max_failures.into()),
        ("open_ms", |config| ms(config.breaker.open_duration)),
        ("quiet_ms", |config| ms(quiet(config))),
        // How many permits there are.
        ("limit", |config| config.max_concurrent_refreshes.into()),
        // How long a permit is kept for a flight that was called from the queue.
        ("called_ms", |config| ms(config.permit_reserved_for())),
    ],
};

impl Settings {
    /// As a script is told them, after the numbers of the call.
    pub(crate) fn packed(&self, config: &Config) -> Vec<u8> {
        self.numbers.iter().flat_map(|(_, number)| double(number(config))).collect()
    }

    /// The text of a script with the line that unpacks them, in place of its mark.
    pub(super) fn unpacked_in(&self, text: &str) -> String {
        let (before, after) = text.split_once(self.mark).expect("BUG: the script says where it unpacks its settings");
        let names: Vec<_> = self.names().collect();
        let format = "d".repeat(names.len());
        format!("{before}local {} = struct.unpack('<{format}', numbers, at){after}", names.join(", "))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.numbers.iter().map(|(name, _)| *name)
    }
}
