//! What is counted while a storm goes on, and what it comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::Counts;
use crate::redis_load::Commands;
use crate::wire::{Heard, Presented, Roles};

/// Counts one mode.
#[derive(Default)]
pub(crate) struct Tally {
    links: u64,
    callers: u64,
    callers_in_error: u64,
    families_refused: u64,
    errors: BTreeMap<String, u64>,
    roles: Roles,
    access_tokens: AccessTokens,
    waits_us: Vec<u64>,
    spreads_us: Vec<u64>,
}

/// What became of one family in one wave, from all pods.
pub(crate) enum Link {
    /// The refresh token to present next.
    Next(String),
    /// The access token is new, the refresh token stays.
    Kept,
    /// A caller was told `invalid_grant`; another may have got a successor for all that.
    Refused(Option<String>),
    /// No caller got anything, and none was told that the token is dead.
    Failed,
}

/// What one mode came to. The names are for scripts, and stay.
#[derive(Serialize)]
pub(crate) struct Figures {
    /// Rotations asked for: tokens times chain, fewer where families died on the way.
    pub(crate) links: u64,
    /// Calls for these.
    pub(crate) callers: u64,
    /// Requests that reached the provider. Null where its log cannot be seen.
    pub(crate) presentations: Option<u64>,
    /// Families that the provider revoked. Null where its log cannot be seen.
    pub(crate) families_revoked: Option<u64>,
    /// Families of which a caller was told `invalid_grant`.
    pub(crate) families_refused: u64,
    pub(crate) callers_in_error: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) access_tokens: AccessTokens,
    pub(crate) wait: Waits,
    /// Null where the pods do not coordinate.
    pub(crate) roles: Option<Roles>,
    /// Null without Redis, or where it does not tell.
    pub(crate) redis: Option<RedisCost>,
    /// Between the first and the last caller that was let go.
    pub(crate) release_spread: Waits,
    /// The processes that the pods were. Empty where they were parts of this one.
    pub(crate) pids: Vec<u32>,
    pub(crate) seconds: f64,
}

/// Distinct access tokens that the callers of one family got for one rotation: fewest and most.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct AccessTokens {
    pub(crate) fewest: u64,
    pub(crate) most: u64,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Waits {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

#[derive(Serialize)]
pub(crate) struct RedisCost {
    pub(crate) commands_per_refresh: f64,
    #[serde(flatten)]
    pub(crate) commands: Commands,
}

/// What the driver knows beside what callers heard.
pub(crate) struct Circumstances {
    /// None where the provider's log cannot be seen.
    pub(crate) log: Option<Counts>,
    pub(crate) redis: Option<Commands>,
    pub(crate) has_roles: bool,
    pub(crate) pids: Vec<u32>,
    pub(crate) took: Duration,
}

impl Tally {
    /// Adds what all pods heard of one wave; one link for each of its families.
    pub(crate) fn add(&mut self, pods: Vec<Presented>) -> Vec<Link> {
        let first = pods.iter().map(|pod| pod.first_unix_us).min().unwrap_or_default();
        let last = pods.iter().map(|pod| pod.last_unix_us).max().unwrap_or_default();
        self.spreads_us.push(last.saturating_sub(first));

        let mut families: Vec<Heard> = Vec::new();
        for pod in pods {
            families.resize_with(pod.families.len(), Heard::default);
            for (family, heard) in families.iter_mut().zip(pod.families) {
                family.merge(heard);
            }
        }
        families.into_iter().map(|family| self.link(family)).collect()
    }

    fn link(&mut self, family: Heard) -> Link {
        let distinct = family.access_tokens.len() as u64;
        self.access_tokens.most = self.access_tokens.most.max(distinct);
        self.access_tokens.fewest = if self.links == 0 { distinct } else { self.access_tokens.fewest.min(distinct) };
        self.links += 1;
        self.callers += family.waits_us.len() as u64;
        self.waits_us.extend(family.waits_us);
        self.roles.add(family.roles);
        self.families_refused += u64::from(family.refused > 0);
        for (error, count) in family.errors {
            self.callers_in_error += count;
            *self.errors.entry(error).or_default() += count;
        }
        let next = family.next.map(|next| next.token);
        match next {
            next if family.refused > 0 => Link::Refused(next),
            Some(next) => Link::Next(next),
            None if distinct > 0 => Link::Kept,
            None => Link::Failed,
        }
    }

    pub(crate) fn figures(self, circumstances: Circumstances) -> Figures {
        let Circumstances { log, redis, has_roles, pids, took } = circumstances;
        let links = self.links;
        Figures {
            links,
            callers: self.callers,
            presentations: log.map(|log| log.presentations),
            families_revoked: log.map(|log| log.families_revoked),
            families_refused: self.families_refused,
            callers_in_error: self.callers_in_error,
            errors: self.errors,
            access_tokens: self.access_tokens,
            wait: Waits::of(self.waits_us),
            roles: has_roles.then_some(self.roles),
            redis: redis.map(|commands| RedisCost {
                commands_per_refresh: commands.sent as f64 / links.max(1) as f64,
                commands,
            }),
            release_spread: Waits::of(self.spreads_us),
            pids,
            seconds: took.as_secs_f64(),
        }
    }
}

impl Heard {
    fn merge(&mut self, other: Heard) {
        self.access_tokens.extend(other.access_tokens);
        if let Some(next) = other.next
            && self.next.as_ref().is_none_or(|mine| mine.fence <= next.fence)
        {
            self.next = Some(next);
        }
        self.roles.add(other.roles);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.refused += other.refused;
        self.waits_us.extend(other.waits_us);
    }
}

impl Roles {
    fn add(&mut self, other: Roles) {
        self.led += other.led;
        self.joined_here += other.joined_here;
        self.joined_fleet += other.joined_fleet;
        self.latecomer += other.latecomer;
    }
}

impl Waits {
    /// Nearest rank: each figure is a wait that a caller really had.
    fn of(mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let rank = |percent: usize| {
            let at = (waits.len() * percent).div_ceil(100).saturating_sub(1);
            waits.get(at).copied().unwrap_or_default()
        };
        Self { p50_us: rank(50), p99_us: rank(99), max_us: rank(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let waits = Waits::of((1..=200).rev().collect());

        assert_eq!((waits.p50_us, waits.p99_us, waits.max_us), (100, 198, 200));
        assert_eq!(Waits::of(vec![7]).p99_us, 7);
        assert_eq!(Waits::of(Vec::new()).max_us, 0);
    }

    #[test]
    fn one_family_is_counted_over_all_pods() {
        let heard =
            |token: &str| Heard { access_tokens: [token.to_owned()].into(), waits_us: vec![1], ..Heard::default() };
        let pod = |token| Presented { first_unix_us: 5, last_unix_us: 9, families: vec![heard(token)] };
        let mut tally = Tally::default();

        let links = tally.add(vec![pod("a"), pod("b"), pod("a")]);

        assert!(matches!(links[..], [Link::Kept]));
        assert_eq!((tally.links, tally.callers, tally.access_tokens.most), (1, 3, 2));
    }
}
