//! Values of flags as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use refresh_coordinator::MemoryPressure;

/// A duration as people write it: `30s`, `1m 30s`, `100ms`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// 16 TiB.
const MOST_MIB: u64 = 16 * 1024 * 1024;

/// What a pod takes for a shortage of memory: `off`, `cgroup`, or MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit(pub(crate) MemoryPressure);

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "off" => MemoryPressure::Off,
            "cgroup" => MemoryPressure::Cgroup,
            mib => {
                let mib = mib.parse().ok().filter(|mib| (1..=MOST_MIB).contains(mib));
                MemoryPressure::ResidentMib(
                    mib.ok_or_else(|| format!("expected off, cgroup, or a whole number of MiB, 1 to {MOST_MIB}"))?,
                )
            }
        }))
    }
}
