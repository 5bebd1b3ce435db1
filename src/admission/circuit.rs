//! Whether the provider is to be left in peace: because it fails, or because it asked for it.
//!
//! One token is one failure, however many callers it has and however often it fails, and only what speaks of the provider's
//! health counts: three dead tokens stop nobody. Nor does a caller that is not [`known`](super::known). What befalls one client
//! alone opens it for that client alone, see [`concerned`](super::concerned). Half-open lets out exactly as many probes as are
//! allowed; only they decide, and the probe of a lost leader comes back with its lease. What was sent before an opening never
//! decides.
//!
//! In Redis: `circuit`, `lua/lib/circuit.lua`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::FAIR_PAUSE;
use super::concerned::{ClientName, Concerned, Failures};
use super::moved::{Moved, TripReason};
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::Hash;
use crate::outcome::{LONGEST_RETRY_AFTER, ProviderHealth};

/// So many different sessions that are limited within [`LIMITED_WITHIN`] are a limit of everybody.
const LIMITED_SESSIONS: u32 = 3;
const LIMITED_WITHIN: Duration = Duration::from_secs(10);

/// The circuit of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    state: State,
    /// What counts against the provider, of those for whom it is closed.
    failures: Failures,
    /// The last fence given before it opened: what was sent until then does not decide.
    opened_after: u64,
    /// Sessions that the provider limited lately, of which client, and when.
    limited: BTreeMap<(Hash, ClientName), Instant>,
    /// When it is forgotten, unless it moves.
    quiet_at: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        opening: Opening,
    },
    HalfOpen {
        /// By fence, the end of the lease.
        probes: BTreeMap<u64, Instant>,
        opening: Opening,
    },
}

/// Why it opened, and for whom. For all others it is closed.
#[derive(Clone, Copy, Debug)]
struct Opening {
    reason: TripReason,
    concerned: Concerned,
}

/// A flight that landed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flown {
    pub(crate) fence: u64,
    /// The last fence given, to whatever flight.
    pub(crate) last_fence: u64,
    /// By its flight.
    pub(crate) token: Hash,
    pub(crate) session: Hash,
    pub(crate) health: ProviderHealth,
}

/// The circuit breaker of a namespace, as it stands now: for everybody, or for the one client that it is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitState {
    /// Flights are led.
    Closed {
        /// Failed flights in a row.
        failures: u32,
    },
    /// No flight is led, of the client that it is open for if that is one alone.
    Open {
        /// When the first probe may go.
        retry_after: Duration,
        /// Why it opened.
        reason: TripReason,
    },
    /// `breaker.half_open_requests` flights may be led, and decide.
    HalfOpen {
        /// How many are.
        probes: u32,
        /// Why it opened.
        reason: TripReason,
    },
}

/// How a flight may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    /// As a probe, which decides.
    Probe,
}

impl Circuit {
    /// Whether a flight of this client may be led now.
    pub(crate) fn admit(
        &mut self,
        client: impl Fn() -> ClientName,
        now: Instant,
        config: &Config,
    ) -> Result<Passage, Refusal> {
        self.forget(now);
        match &mut self.state {
            State::Closed => Ok(Passage::Free),
            State::Open { opening, .. } | State::HalfOpen { opening, .. } if !opening.concerned.includes(client()) => {
                Ok(Passage::Free)
            }
            State::Open { until, .. } if *until > now => Err(Refusal::CircuitOpen { retry_after: *until - now }),
            State::Open { .. } => Ok(Passage::Probe),
            State::HalfOpen { probes, .. } => {
                let out = probes.values().filter(|until| **until > now);
                if out.clone().count() < config.breaker.half_open_requests as usize {
                    return Ok(Passage::Probe);
                }
                let first = out.min().map_or(Duration::ZERO, |until| *until - now);
                Err(Refusal::CircuitOpen { retry_after: first.min(FAIR_PAUSE) })
            }
        }
    }

    /// A flight that may pass as a probe is led. Probes of lost leaders make way. Answers whether it is the first since it opened.
    pub(crate) fn probe(&mut self, fence: u64, now: Instant, until: Instant, config: &Config) -> Option<Moved> {
        let mut moved = None;
        if let State::Open { opening, .. } = self.state {
            self.state = State::HalfOpen { probes: BTreeMap::new(), opening };
            moved = Some(Moved::HalfOpen { reason: opening.reason });
        }
        if let State::HalfOpen { probes, .. } = &mut self.state {
            probes.retain(|_, until| *until > now);
            probes.insert(fence, until);
            self.quiet_at = Some(until + quiet(config));
        }
        moved
    }

    /// A leader that lives keeps its probe, if it has one.
    pub(crate) fn renew(&mut self, fence: u64, until: Instant, config: &Config) {
        if let State::HalfOpen { probes, .. } = &mut self.state
            && let Some(end) = probes.get_mut(&fence)
        {
            *end = until;
            self.quiet_at = Some(until + quiet(config));
        }
    }

    /// A leader is done, and its outcome says nothing here.
    pub(crate) fn release(&mut self, fence: u64) {
        if let State::HalfOpen { probes, .. } = &mut self.state {
            probes.remove(&fence);
        }
    }

    /// Learns from a flight of a known caller, of this client.
    pub(crate) fn learn(
        &mut self,
        flown: Flown,
        client: impl Fn() -> ClientName,
        now: Instant,
        config: &Config,
    ) -> Option<Moved> {
        let Flown { fence, last_fence, health, .. } = flown;
        self.forget(now);
        let opens = match &mut self.state {
            // Nothing of these was admitted since it opened.
            State::Open { opening, .. } if opening.concerned.includes(client()) => None,
            State::HalfOpen { probes, opening } if opening.concerned.includes(client()) => {
                match probes.remove(&fence) {
                    Some(until) if until > now && health == ProviderHealth::Healthy => {
                        self.state = State::Closed;
                        self.quiet_at = Some(now + quiet(config));
                        return Some(Moved::Closed);
                    }
                    Some(until) if until > now => {
                        opening_by(health, config).map(|(pause, reason)| (pause, Opening { reason, ..*opening }))
                    }
                    Some(_) | None => None,
                }
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } if fence <= self.opened_after => None,
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => self.count(flown, client, now, config),
        };
        let (pause, opening) = opens?;
        self.open(now, pause, opening, last_fence, config);
        let client = opening.concerned.client().map(|client| format!("{client:016x}"));
        Some(Moved::Opened { reason: opening.reason, pause, client })
    }

    /// A flight of those for whom it is closed. For how long this opens it, and for whom.
    fn count(
        &mut self,
        flown: Flown,
        client: impl Fn() -> ClientName,
        now: Instant,
        config: &Config,
    ) -> Option<(Duration, Opening)> {
        let Flown { token, session, health, .. } = flown;
        let is_one_out = !matches!(self.state, State::Closed);
        let (pause, reason, concerned) = match health {
            ProviderHealth::Neutral => return None,
            ProviderHealth::Healthy => {
                self.failures = Failures::default();
                return None;
            }
            ProviderHealth::Failing => {
                let client = client();
                self.failures.add(token, client);
                self.moves(now + quiet(config), is_one_out);
                let most = config.breaker.max_failures;
                let concerned = Concerned::by(self.failures.by_client(), client, most, is_one_out)?;
                (config.breaker.open_duration, TripReason::Failures, concerned)
            }
            ProviderHealth::FleetLimited(retry_after) => {
                let concerned = if is_one_out { Concerned::Everybody } else { Concerned::Client(client()) };
                (retry_after.min(LONGEST_RETRY_AFTER), TripReason::RetryAfter, concerned)
            }
            ProviderHealth::SessionLimited(retry_after) => {
                let client = client();
                self.limited.retain(|_, at| now < *at + LIMITED_WITHIN);
                self.limited.insert((session, client), now);
                self.moves(now + quiet(config).max(LIMITED_WITHIN), is_one_out);
                let mut by_client = BTreeMap::new();
                for (_, client) in self.limited.keys() {
                    *by_client.entry(*client).or_default() += 1;
                }
                let concerned = Concerned::by(&by_client, client, LIMITED_SESSIONS, is_one_out)?;
                let pause = retry_after.unwrap_or(config.breaker.open_duration).min(LONGEST_RETRY_AFTER);
                (pause, TripReason::SessionsLimited, concerned)
            }
        };
        Some((pause, Opening { reason, concerned }))
    }

    /// It is remembered until then; for as long as it is open for one client, at least.
    fn moves(&mut self, until: Instant, is_one_out: bool) {
        self.quiet_at = Some(self.quiet_at.filter(|_| is_one_out).map_or(until, |at| at.max(until)));
    }

    fn open(&mut self, now: Instant, pause: Duration, opening: Opening, last_fence: u64, config: &Config) {
        let until = now + pause;
        self.state = State::Open { until, opening };
        self.failures = Failures::default();
        self.opened_after = last_fence;
        self.limited.clear();
        self.quiet_at = Some(until + quiet(config));
    }

    fn forget(&mut self, now: Instant) {
        if self.quiet_at.is_some_and(|at| at <= now) {
            *self = Self::default();
        }
    }

    /// As it stands now.
    pub(crate) fn state(&mut self, now: Instant) -> CircuitState {
        self.forget(now);
        match &self.state {
            State::Closed => CircuitState::Closed { failures: self.failures.count() },
            State::Open { until, opening } if *until > now => {
                CircuitState::Open { retry_after: *until - now, reason: opening.reason }
            }
            State::Open { opening, .. } => CircuitState::HalfOpen { probes: 0, reason: opening.reason },
            State::HalfOpen { probes, opening } => {
                let probes = probes.values().filter(|until| **until > now).count();
                CircuitState::HalfOpen { probes: u32::try_from(probes).unwrap_or(u32::MAX), reason: opening.reason }
            }
        }
    }
}

/// The pause and the reason, if this opens the circuit.
fn opening_by(health: ProviderHealth, config: &Config) -> Option<(Duration, TripReason)> {
    match health {
        ProviderHealth::Failing => Some((config.breaker.open_duration, TripReason::Failures)),
        ProviderHealth::FleetLimited(retry_after) => {
            Some((retry_after.min(LONGEST_RETRY_AFTER), TripReason::RetryAfter))
        }
        ProviderHealth::Healthy | ProviderHealth::Neutral | ProviderHealth::SessionLimited(_) => None,
    }
}

/// For how long a circuit that does not move is remembered: until no call can be under way that was begun before it
/// moved. Failures that are further apart are not failures in a row.
pub(crate) fn quiet(config: &Config) -> Duration {
    config.call_limit() + config.breaker.open_duration
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Breaker;

    const S: Duration = Duration::from_secs(1);
    const CLIENT: ClientName = 1;

    struct Stage {
        circuit: Circuit,
        config: Config,
        start: Instant,
        last_fence: u64,
    }

    impl Stage {
        fn new(half_open_requests: u32) -> Self {
            let breaker = Breaker { max_failures: 3, open_duration: 30 * S, half_open_requests };
            let config = Config { breaker, ..Config::default() };
            Self { circuit: Circuit::default(), config, start: Instant::now(), last_fence: 0 }
        }

        /// Leads at second `at`, if the circuit lets it.
        fn lead(&mut self, at: u32) -> Result<u64, Duration> {
            self.lead_as(CLIENT, at)
        }

        fn lead_as(&mut self, client: ClientName, at: u32) -> Result<u64, Duration> {
            let now = self.start + at * S;
            match self.circuit.admit(|| client, now, &self.config) {
                Ok(passage) => {
                    self.last_fence += 1;
                    if passage == Passage::Probe {
                        self.circuit.probe(self.last_fence, now, now + 10 * S, &self.config);
                    }
                    Ok(self.last_fence)
                }
                Err(refusal) => Err(refusal.retry_after()),
            }
        }

        fn learn(&mut self, fence: u64, health: ProviderHealth, at: u32) {
            let session = Hash::of_probe(&fence.to_string());
            self.learn_of(session, fence, health, at);
        }

        fn learn_of(&mut self, session: Hash, fence: u64, health: ProviderHealth, at: u32) {
            self.learn_as(CLIENT, session, fence, health, at);
        }

        fn learn_as(&mut self, client: ClientName, session: Hash, fence: u64, health: ProviderHealth, at: u32) {
            let flown = Flown { fence, last_fence: self.last_fence, token: session, session, health };
            self.circuit.learn(flown, || client, self.start + at * S, &self.config);
        }

        /// A flight of this client, from its lead to its landing.
        fn fly_as(&mut self, client: ClientName, health: ProviderHealth, at: u32) {
            let fence = self.lead_as(client, at).expect("closed for this client");
            self.learn_as(client, Hash::of_probe(&fence.to_string()), fence, health, at);
        }

        fn fail(&mut self, times: u32, at: u32) {
            for _ in 0..times {
                let fence = self.lead(at).expect("closed");
                self.learn(fence, ProviderHealth::Failing, at);
            }
        }

        fn state(&mut self, at: u32) -> CircuitState {
            self.circuit.state(self.start + at * S)
        }
    }

    #[test]
    fn first_probe_makes_it_half_open_and_the_next_does_not_do_so_again() {
        let mut stage = Stage::new(2);
        stage.fail(3, 0);
        let later = stage.start + 31 * S;

        let moved = [8, 9].map(|fence| stage.circuit.probe(fence, later, later + 10 * S, &stage.config));

        assert_eq!(moved, [Some(Moved::HalfOpen { reason: TripReason::Failures }), None]);
    }

    #[test]
    fn circuit_opens_after_failures_in_a_row_and_a_probe_closes_it() {
        let mut stage = Stage::new(1);
        stage.fail(2, 0);
        let fence = stage.lead(0).expect("closed");
        stage.learn(fence, ProviderHealth::Healthy, 0);
        stage.fail(2, 1);
        assert_eq!(stage.state(1), CircuitState::Closed { failures: 2 });
        stage.fail(1, 2);
        assert_eq!(stage.state(2), CircuitState::Open { retry_after: 30 * S, reason: TripReason::Failures });
        assert_eq!(stage.lead(12), Err(20 * S));

        assert_eq!(stage.state(32), CircuitState::HalfOpen { probes: 0, reason: TripReason::Failures });
        let probe = stage.lead(32).expect("a probe");
        assert_eq!(stage.lead(32), Err(FAIR_PAUSE));
        stage.learn(probe, ProviderHealth::Healthy, 33);

        assert_eq!(stage.state(33), CircuitState::Closed { failures: 0 });
    }

    #[test]
    fn failed_probe_opens_it_for_the_whole_time_again() {
        let mut stage = Stage::new(1);
        stage.fail(3, 0);
        let probe = stage.lead(30).expect("a probe");

        stage.learn(probe, ProviderHealth::Failing, 35);

        assert_eq!(stage.lead(40), Err(25 * S));
        stage.lead(65).expect("the next probe");
    }

    #[test]
    fn exactly_as_many_probes_go_as_are_allowed() {
        let mut stage = Stage::new(2);
        stage.fail(3, 0);

        assert!(stage.lead(30).is_ok());
        assert!(stage.lead(31).is_ok());
        assert!(stage.lead(31).is_err());
        // The first one's lease is over: its leader is lost.
        assert!(stage.lead(40).is_ok());
        assert!(stage.lead(40).is_err());
    }

    #[test]
    fn probe_that_tells_nothing_makes_way_for_the_next() {
        let mut stage = Stage::new(1);
        stage.fail(3, 0);
        for health in [ProviderHealth::Neutral, ProviderHealth::SessionLimited(None)] {
            let probe = stage.lead(30).expect("a probe");
            stage.learn(probe, health, 30);
        }
        let probe = stage.lead(30).expect("a probe");
        stage.circuit.release(probe);

        assert!(stage.lead(30).is_ok());
    }

    #[test]
    fn renewed_probe_keeps_its_place_and_a_lost_one_decides_nothing() {
        let mut stage = Stage::new(1);
        stage.fail(3, 0);
        let probe = stage.lead(30).expect("a probe");
        stage.circuit.renew(probe, stage.start + 50 * S, &stage.config);
        assert!(stage.lead(45).is_err());

        let next = stage.lead(50).expect("the first is lost");
        stage.learn(probe, ProviderHealth::Failing, 51);
        assert_eq!(stage.state(51), CircuitState::HalfOpen { probes: 1, reason: TripReason::Failures });
        stage.learn(next, ProviderHealth::Healthy, 52);

        assert_eq!(stage.state(52), CircuitState::Closed { failures: 0 });
    }

    #[test]
    fn results_of_calls_from_before_the_opening_decide_nothing() {
        let mut stage = Stage::new(1);
        let late: Vec<u64> = (0..5).map(|_| stage.lead(0).expect("closed")).collect();
        stage.fail(3, 1);

        stage.learn(late[0], ProviderHealth::Healthy, 2);
        stage.learn(late[1], ProviderHealth::Failing, 20);
        assert_eq!(stage.state(21), CircuitState::Open { retry_after: 10 * S, reason: TripReason::Failures });
        let probe = stage.lead(31).expect("a probe");
        stage.learn(late[2], ProviderHealth::Healthy, 32);
        assert_eq!(stage.state(32), CircuitState::HalfOpen { probes: 1, reason: TripReason::Failures });
        stage.learn(probe, ProviderHealth::Healthy, 33);
        stage.learn(late[3], ProviderHealth::Failing, 34);
        stage.learn(late[4], ProviderHealth::FleetLimited(S), 34);

        assert_eq!(stage.state(34), CircuitState::Closed { failures: 0 });
    }

    #[test]
    fn refused_tokens_and_clients_are_neither_success_nor_failure() {
        let mut stage = Stage::new(1);
        stage.fail(2, 0);
        let fence = stage.lead(0).expect("closed");

        stage.learn(fence, ProviderHealth::Neutral, 0);

        assert_eq!(stage.state(0), CircuitState::Closed { failures: 2 });
    }

    #[test]
    fn provider_that_asks_everybody_to_stay_away_is_obeyed_for_five_minutes_at_most() {
        let mut stage = Stage::new(1);
        let fence = stage.lead(0).expect("closed");
        stage.learn(fence, ProviderHealth::FleetLimited(3600 * S), 0);

        assert_eq!(stage.lead(1), Err(299 * S));
        let probe = stage.lead(300).expect("one probe goes first");
        assert!(stage.lead(300).is_err());
        stage.learn(probe, ProviderHealth::FleetLimited(7 * S), 300);
        assert_eq!(stage.state(300), CircuitState::Open { retry_after: 7 * S, reason: TripReason::RetryAfter });
    }

    #[test]
    fn three_limited_sessions_hold_everybody_and_one_does_not() {
        let mut stage = Stage::new(1);
        let one = Hash::of_probe("one");
        for at in 0..5 {
            let fence = stage.lead(at).expect("closed");
            stage.learn_of(one, fence, ProviderHealth::SessionLimited(Some(60 * S)), at);
        }
        // The first is forgotten by now.
        for at in [14, 20, 21] {
            let fence = stage.lead(at).expect("closed");
            stage.learn(fence, ProviderHealth::SessionLimited(Some(60 * S)), at);
        }

        assert_eq!(stage.lead(21), Err(60 * S));
        assert_eq!(stage.state(22), CircuitState::Open { retry_after: 59 * S, reason: TripReason::SessionsLimited });
    }

    #[test]
    fn three_failures_of_one_token_are_one() {
        let mut stage = Stage::new(1);
        let token = Hash::unkeyed("t");
        for _ in 0..3 {
            let fence = stage.lead(0).expect("closed");
            stage.learn_of(token, fence, ProviderHealth::Failing, 0);
        }
        assert_eq!(stage.state(0), CircuitState::Closed { failures: 1 });

        stage.fail(2, 0);

        assert!(matches!(stage.state(0), CircuitState::Open { .. }));
    }

    #[test]
    fn client_whose_requests_fail_is_left_out_and_no_other() {
        for health in [ProviderHealth::Failing, ProviderHealth::SessionLimited(Some(30 * S))] {
            let mut stage = Stage::new(1);
            for at in 0..3 {
                stage.fly_as(1, health, at);
            }

            assert_eq!(stage.lead_as(1, 10), Err(22 * S));
            // Two of another client meanwhile are too few, and a success forgets failures.
            for at in [11, 24] {
                stage.fly_as(2, health, at);
                stage.fly_as(2, health, at);
                stage.fly_as(2, ProviderHealth::Healthy, at);
            }
            // It has a probe of its own.
            stage.fly_as(1, ProviderHealth::Healthy, 32);
            assert_eq!(stage.lead_as(1, 33).map(drop), Ok(()));
        }
    }

    #[test]
    fn failures_of_other_clients_open_it_for_everybody() {
        let mut stage = Stage::new(1);
        for _ in 0..2 {
            stage.fly_as(1, ProviderHealth::Failing, 0);
        }
        stage.fly_as(2, ProviderHealth::Failing, 0);
        assert_eq!(stage.state(0), CircuitState::Closed { failures: 3 });
        stage.fly_as(2, ProviderHealth::Failing, 0);

        stage.fly_as(3, ProviderHealth::Failing, 0);

        assert!([1, 2, 3, 4].iter().all(|client| stage.lead_as(*client, 1) == Err(29 * S)));
    }

    #[test]
    fn failures_of_others_while_it_is_open_for_one_open_it_for_everybody() {
        let mut stage = Stage::new(1);
        stage.fail(3, 0);
        for client in [2, 3, 4] {
            stage.fly_as(client, ProviderHealth::Failing, 10);
        }

        assert!([1, 2, 5].iter().all(|client| stage.lead_as(*client, 20) == Err(20 * S)));
    }

    #[test]
    fn provider_that_asks_two_clients_to_stay_away_is_left_alone_by_everybody() {
        let mut stage = Stage::new(1);
        stage.fly_as(1, ProviderHealth::FleetLimited(20 * S), 0);
        assert_eq!(stage.lead_as(1, 1), Err(19 * S));

        stage.fly_as(2, ProviderHealth::FleetLimited(20 * S), 1);

        assert_eq!(stage.lead_as(3, 2), Err(19 * S));
    }

    #[test]
    fn quiet_circuit_is_forgotten() {
        let mut stage = Stage::new(1);
        stage.fail(2, 0);
        assert_eq!(stage.state(89), CircuitState::Closed { failures: 2 });
        assert_eq!(stage.state(90), CircuitState::Closed { failures: 0 });

        stage.fail(3, 90);
        assert!(matches!(stage.state(209), CircuitState::HalfOpen { .. }));
        assert_eq!(stage.state(210), CircuitState::Closed { failures: 0 });
    }
}
