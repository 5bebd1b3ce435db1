//! Words: a lease as its leader sees it, by the clocks of its own pod.
//!
//! The store decides who leads. But a leader that was stopped does not know what the store has decided meanwhile, so it
//! presents a token only while its lease stands by its own clocks: from when it asked, which is before the store gave it.

use std::time::Duration;

use tokio::time::Instant;

use crate::moment::Moment;

/// For how long a leader may believe that it leads, unless it renews.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnLease {
    /// When the lead, or the last renewal that was granted, was asked for.
    asked: Moment,
    length: Duration,
}

/// How old a lease is, as far as its leader has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAge {
    Young,
    /// Older than a third: it is to be renewed before a call is made under it.
    Old,
    /// Others may lead.
    Over,
}

impl OwnLease {
    pub(crate) fn new(asked: Moment, length: Duration) -> Self {
        Self { asked, length }
    }

    /// A renewal was granted that was asked for then.
    pub(crate) fn renewed(&mut self, asked: Moment) {
        self.asked = asked;
    }

    pub(crate) fn age(&self) -> LeaseAge {
        match self.asked.elapsed() {
            age if age >= self.length => LeaseAge::Over,
            age if age >= self.length / 3 => LeaseAge::Old,
            _ => LeaseAge::Young,
        }
    }

    /// When it is to be renewed. A third of the lease: two renewals may fail before it ends.
    pub(crate) fn renew_at(&self) -> Instant {
        self.asked.instant() + self.length / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::suspend;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn lease_grows_old_and_ends_by_its_own_clock_until_it_is_renewed() {
        let mut lease = OwnLease::new(Moment::now(), 30 * S);
        assert_eq!(lease.age(), LeaseAge::Young);

        tokio::time::advance(10 * S).await;
        assert_eq!(lease.age(), LeaseAge::Old);
        suspend(30 * S);
        assert_eq!(lease.age(), LeaseAge::Over);

        lease.renewed(Moment::now());
        assert_eq!(lease.age(), LeaseAge::Young);
    }
}
