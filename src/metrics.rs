//! Words: what is counted. Each counter belongs to a turn of the way of a refresh.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::level::{Counted, Level};
pub(crate) use self::timings::{Stopwatch, Timings, Took};

mod level;
mod timings;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What a coordinator has counted since it was built. Flights and callers are counted apart: a thousand
        /// callers of one flight are one flight.
        ///
        /// With the feature `metrics` each is also a counter `refresh_coordinator_<name>_total` of the recorder that the process had
        /// installed for the crate `metrics` when the coordinator was built, added up over all coordinators of the process.
        /// Beside the counters that recorder is given these, which are not here:
        ///
        /// * `refresh_coordinator_wait_seconds`, a histogram: how long callers waited, by `role` (`led`, `joined_here`,
        ///   `joined_fleet`, `latecomer` as in [`Role`](crate::Role); `refused` without an outcome, such as after `refresh_timeout`).
        ///   Callers that went away are not in it.
        /// * `refresh_coordinator_provider_seconds`, a histogram: how long calls of refresh functions took, without any waiting for
        ///   a turn, by `class` (`success`, `denied`, `busy`, `not_sent`, `not_processed`, `unknown`, `lost`).
        /// * `refresh_coordinator_redis_seconds`, a histogram: how long Redis took, by `call` (`begin`, `complete`), with
        ///   the waiting for a connection, and with what was given up at `store_timeout`.
        /// * `refresh_coordinator_in_flight`, a gauge: flights under way, as [`in_flight`](crate::RefreshCoordinator::in_flight).
        /// * `refresh_coordinator_redis_connections`, a gauge: connections to Redis that stand, for commands and to hear news.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Metrics {
            /// Every name with its value and its help text, for an exporter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + use<> {
                [$((stringify!($name), self.$name, concat!($($doc),*).trim_ascii_start()),)*].into_iter()
            }
        }

        #[derive(Debug)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            pub(crate) timings: Timings,
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: Counter::called(
                        concat!("refresh_coordinator_", stringify!($name), "_total"),
                        concat!($($doc),*),
                    ),)*
                    timings: Timings::default(),
                }
            }
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Metrics {
                Metrics { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Callers that asked for a refresh.
    callers,
    /// Callers that joined a flight of their own pod.
    joined_here,
    /// Callers that gave up waiting (`refresh_timeout`, `wait_timeout`).
    timed_out,
    /// Callers that went away before their flight ended.
    gone,
    /// Flights this pod led, nearly all by a call of a refresh function.
    led,
    /// Flights this pod led without Redis (`on_store_outage = local`).
    led_alone,
    /// Flights this pod joined because another pod, or another claim, led them.
    joined_fleet,
    /// Flights answered with what was known already: an outcome that is kept, or that the token is lost.
    latecomers,
    /// Flights answered with new tokens that were held, because nobody had used them yet (`keep_until_used`).
    held_served,
    /// Flights that presented a newer token than the one that their caller came with (`keep_until_used`).
    walks_led,
    /// Flights that came with an old token after a newer one was used, or lost: their token went to the provider.
    walks_over,
    /// Answers that made way for newer ones before somebody had used them (`keep_at_most`).
    held_evicted,
    /// Sessions that were ended at the coordinator (logout).
    sessions_ended,
    /// Flights of a session that was ended: their callers got no tokens.
    ended,
    /// Refresh tokens of sessions that were ended, revoked at the provider.
    revoked,
    /// Refresh tokens of sessions that were ended that could not be revoked: they live until they end.
    not_revoked,
    /// Led flights that ended with tokens, or with a 2xx that was not understood.
    successes,
    /// Led flights the provider refused.
    denied,
    /// Led flights the provider was too busy for.
    busy,
    /// Led flights of which nothing was sent.
    not_sent,
    /// Led flights that the provider, or a gateway before it, did not process.
    not_processed,
    /// Led flights of which nobody knows what the provider did.
    unknown,
    /// Led flights that ended with a token that is lost.
    lost,
    /// Flights refused because the token was just rotated for another client, credential or scope.
    refused_another_claim,
    /// Flights refused because their session cools down (`max_refresh_attempts`).
    refused_cooling_down,
    /// Flights refused because the provider asked their session to come later.
    refused_limited,
    /// Flights refused because too many asked the provider already (`max_concurrent_refreshes`, `budget_wait`).
    refused_budget,
    /// Flights refused because the circuit is open (`breaker`).
    refused_circuit_open,
    /// Flights refused because this pod cannot reach the provider (`breaker`).
    refused_not_reaching,
    /// Flights refused because this pod's memory is short (`memory_pressure`).
    refused_memory_pressure,
    /// Flights that queued for their turn at the provider.
    queued,
    /// Flights that waited because Redis had started anew or may have lost writes: no new leads for one longest lease.
    waited_for_recovery,
    /// Callers and flights refused because the coordinator is closing.
    refused_closing,
    /// Callers refused because what they sent cannot be a refresh.
    refused_invalid,
    /// Flights this pod took over from a leader that was lost.
    taken_over,
    /// Refresh functions that panicked.
    panics,
    /// Tries of a hook (`before_told`) that failed or panicked.
    hooks_failed,
    /// Background tasks of this pod that panicked and were started again: an error of this crate.
    task_panics,
    /// Rotated tokens led again after their outcome was no longer kept: a reuse the provider will judge.
    reused,
    /// Rotated tokens that the provider accepted again (`refresh_tokens`).
    accepted_again,
    /// Successes that came after another success of the same token.
    second_successes,
    /// Leases found lost at renewal, while the refresh was still running.
    leases_lost,
    /// Leads that were over before the refresh function was called, as in a process that was stopped: begun again.
    leases_over,
    /// Leads given back because too few replicas had them in time (`wait_replicas`).
    leads_unreplicated,
    /// Outcomes that too few replicas had in time (`wait_replicas`): kept by this pod, as all are.
    outcomes_unreplicated,
    /// Attempts that could not be withdrawn from the store: what they took ends with their leases.
    not_withdrawn,
    /// Flights given up, and looks such as those of /readyz that failed, because the store was out of reach.
    store_outages,
    /// Access tokens that live so short that their session will use up its attempts (`max_refresh_attempts`).
    starving,
    /// Outcomes that Redis held and that could not be opened.
    unopened,
    /// Outcomes and calls to look that came by push.
    pushes,
    /// Looks at Redis for all flights that wait.
    looks,
    /// Times the subscription had to be made again.
    subscription_gaps,
}

#[derive(Debug)]
pub(crate) struct Counter {
    count: AtomicU64,
    /// That of the process, which all its coordinators count in.
    #[cfg(feature = "metrics")]
    exported: ::metrics::Counter,
}

impl Counter {
    #[cfg(feature = "metrics")]
    fn called(name: &'static str, help: &'static str) -> Self {
        ::metrics::describe_counter!(name, help.trim_ascii_start());
        let exported = ::metrics::counter!(name);
        // Seen before anything was counted: a rate needs a first value.
        exported.increment(0);
        Self { count: AtomicU64::new(0), exported }
    }

    #[cfg(not(feature = "metrics"))]
    fn called(_name: &'static str, _help: &'static str) -> Self {
        Self { count: AtomicU64::new(0) }
    }

    /// Counts one more; answers how many there were before. A statistic, ordered with nothing.
    pub(crate) fn add_one(&self) -> u64 {
        #[cfg(feature = "metrics")]
        self.exported.increment(1);
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
        #[cfg(feature = "metrics")]
        self.exported.increment(count);
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_explains_itself() {
        let counters = Counters::default();
        counters.led.add_one();

        let all: Vec<_> = counters.snapshot().iter().collect();

        let led = all.iter().find(|(name, ..)| *name == "led").expect("led is counted");
        assert_eq!(led, &("led", 1, "Flights this pod led, nearly all by a call of a refresh function."));
        assert!(all.iter().all(|(_, _, help)| help.ends_with('.')), "{all:?}");
    }
}
