//! Words: what is timed, and how many flights are under way. It reaches the recorder of the process (feature `metrics`); without the
//! feature these types are empty, and not even a clock is read.

use tokio::time::Instant;

use super::level::{Counted, Level};
use crate::outcome::Class;

/// What a coordinator times: histograms in seconds, and the gauge of its flights.
#[derive(Debug)]
pub(crate) struct Timings {
    /// How long callers waited, by how they came to their outcome.
    pub(crate) led: Timing,
    pub(crate) joined_here: Timing,
    pub(crate) joined_fleet: Timing,
    pub(crate) latecomer: Timing,
    /// Those that came to no outcome.
    pub(crate) refused: Timing,
    /// How long the provider took, by the class of its answer, in the order of [`CLASSES`].
    provider: [Timing; CLASSES.len()],
    /// How long Redis took, by what it was asked.
    pub(crate) begin: Timing,
    pub(crate) complete: Timing,
    in_flight: Level,
}

const CLASSES: [Class; 7] =
    [Class::Success, Class::Denied, Class::Busy, Class::NotSent, Class::NotProcessed, Class::Unknown, Class::TokenLost];

const WAITED: Described = Described {
    name: "refresh_coordinator_wait_seconds",
    help: "Time from a caller's question to its answer, by how it came to that; of callers that went away there is none.",
    label: "role",
};
const PROVIDER: Described = Described {
    name: "refresh_coordinator_provider_seconds",
    help: "Time that a call of a refresh function took, without any waiting for a turn, by what it brought.",
    label: "class",
};
const REDIS: Described = Described {
    name: "refresh_coordinator_redis_seconds",
    help: "Time from a flight's question to Redis until its answer, or until it was given up, by what was asked.",
    label: "call",
};
const IN_FLIGHT: &str = "refresh_coordinator_in_flight";

impl Default for Timings {
    fn default() -> Self {
        for described in [&WAITED, &PROVIDER, &REDIS] {
            described.describe();
        }
        Self {
            led: Timing::of(&WAITED, "led"),
            joined_here: Timing::of(&WAITED, "joined_here"),
            joined_fleet: Timing::of(&WAITED, "joined_fleet"),
            latecomer: Timing::of(&WAITED, "latecomer"),
            refused: Timing::of(&WAITED, "refused"),
            provider: CLASSES.map(|class| Timing::of(&PROVIDER, class.word())),
            begin: Timing::of(&REDIS, "begin"),
            complete: Timing::of(&REDIS, "complete"),
            in_flight: Level::called(IN_FLIGHT, "Flights under way in this pod, leading or waiting."),
        }
    }
}

impl Timings {
    /// That of the calls that ended so.
    pub(crate) fn provider(&self, class: Class) -> &Timing {
        let place = CLASSES.iter().position(|known| *known == class);
        &self.provider[place.expect("BUG: every class is in the list")]
    }

    /// A flight is under way until this is dropped.
    pub(crate) fn fly(&self) -> Counted {
        self.in_flight.rise()
    }
}

/// One histogram under one label.
#[derive(Debug)]
pub(crate) struct Timing {
    #[cfg(feature = "metrics")]
    histogram: ::metrics::Histogram,
}

impl Timing {
    #[cfg(feature = "metrics")]
    fn of(described: &Described, value: &'static str) -> Self {
        Self { histogram: ::metrics::histogram!(described.name, described.label => value) }
    }

    #[cfg(not(feature = "metrics"))]
    fn of(_described: &Described, _value: &'static str) -> Self {
        Self {}
    }

    /// Adds one that took this long.
    pub(crate) fn took(&self, took: Took) {
        #[cfg(feature = "metrics")]
        self.histogram.record(took.span);
        _ = took;
    }
}

/// A name with what is told of it.
struct Described {
    name: &'static str,
    help: &'static str,
    label: &'static str,
}

impl Described {
    fn describe(&self) {
        #[cfg(feature = "metrics")]
        ::metrics::describe_histogram!(self.name, ::metrics::Unit::Seconds, self.help);
        _ = (self.name, self.help, self.label);
    }
}

/// When something began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    #[cfg(feature = "metrics")]
    began: Instant,
}

impl Stopwatch {
    /// It begins now.
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            began: Instant::now(),
        }
    }

    /// It began then.
    pub(crate) fn since(began: Instant) -> Self {
        _ = began;
        Self {
            #[cfg(feature = "metrics")]
            began,
        }
    }

    /// It has ended now.
    pub(crate) fn stop(self) -> Took {
        Took {
            #[cfg(feature = "metrics")]
            span: self.began.elapsed(),
        }
    }
}

/// How long something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    #[cfg(feature = "metrics")]
    span: std::time::Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "metrics"))]
    fn nothing_is_held_where_nothing_is_exported() {
        assert_eq!((size_of::<Timings>(), size_of::<Stopwatch>()), (0, 0));
    }

    #[test]
    fn every_class_has_its_histogram() {
        let timings = Timings::default();

        for class in CLASSES {
            timings.provider(class).took(Stopwatch::start().stop());
        }
    }
}
