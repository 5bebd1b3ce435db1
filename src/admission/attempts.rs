//! How often a claim may lead for its session: a fixed window, then a cooldown; and how long the provider asked it to stay
//! away. Which claim that is, [`session`](super::session) knows.
//!
//! In Redis: `attempts:<session>`, `lua/lib/attempts.lua`.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::error::Refusal;
use crate::outcome::{LONGEST_RETRY_AFTER, Outcome};

/// What is known of one claim of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    count: u32,
    window_start: Option<Instant>,
    /// How many flights may be led in this window, if that is more than the setting.
    allowed: u32,
    /// The window that ended with it stays as it is until the next one begins: its attempts may be given back.
    cooldown_until: Option<Instant>,
    /// Until when the provider asked the session to stay away (`held_until` in Redis).
    limited_until: Option<Instant>,
}

impl Attempts {
    /// Whether the session may lead once more. The first attempt too many starts the cooldown, unless nobody waits for it; asking
    /// again does not make it longer.
    pub(crate) fn admit(&mut self, is_background: bool, now: Instant, config: &Config) -> Result<(), Refusal> {
        if let Some(retry_after) = left(self.cooldown_until, now) {
            return Err(Refusal::CoolingDown { retry_after });
        }
        if let Some(retry_after) = left(self.limited_until, now) {
            return Err(Refusal::Limited { retry_after });
        }
        if self.count_in(now, config) >= config.max_refresh_attempts.max(self.allowed) {
            if is_background {
                let ends = self.window_start.map_or(now, |start| start + config.refresh_attempt_window);
                return Err(Refusal::CoolingDown { retry_after: ends.saturating_duration_since(now) });
            }
            let retry_after = config.refresh_cooldown_period;
            self.cooldown_until = Some(now + retry_after);
            return Err(Refusal::CoolingDown { retry_after });
        }
        Ok(())
    }

    /// Counts an attempt. Answers the start of the window it is charged to: where it can be given back.
    pub(crate) fn charge(&mut self, now: Instant, config: &Config) -> Instant {
        self.count = self.count_in(now, config) + 1;
        if self.count == 1 {
            self.window_start = Some(now);
            self.allowed = 0;
            self.cooldown_until = None;
        }
        self.window_start.expect("BUG: the first attempt starts the window")
    }

    /// Gives an attempt back, unless its window is over. A cooldown that began meanwhile is lifted: without this attempt
    /// there was none too many.
    pub(crate) fn uncharge(&mut self, charged: Instant, now: Instant) {
        let is_over = self.cooldown_until.is_some() && left(self.cooldown_until, now).is_none();
        if self.window_start == Some(charged) && !is_over {
            self.cooldown_until = None;
            self.count -= 1;
        }
    }

    /// So many flights may be led in the window that runs.
    pub(crate) fn allow(&mut self, allowed: u32) {
        if self.window_start.is_some() {
            self.allowed = allowed;
        }
    }

    /// The provider asked the session to stay away.
    pub(crate) fn limit(&mut self, now: Instant, retry_after: Duration) {
        let until = now + retry_after.min(LONGEST_RETRY_AFTER);
        self.limited_until = Some(self.limited_until.map_or(until, |limited| limited.max(until)));
    }

    /// Whether nothing has to be remembered any more.
    pub(crate) fn is_over(&self, now: Instant, config: &Config) -> bool {
        self.count_in(now, config) == 0
            && left(self.cooldown_until, now).is_none()
            && left(self.limited_until, now).is_none()
    }

    pub(crate) fn count_in(&self, now: Instant, config: &Config) -> u32 {
        match self.window_start {
            // The window is over with the cooldown: afterwards the count begins anew.
            _ if self.cooldown_until.is_some() => 0,
            Some(start) if now < start + config.refresh_attempt_window => self.count,
            Some(_) | None => 0,
        }
    }
}

/// Access tokens that live for less than this let their session lead more flights than the setting says.
const SHORT_LIFE: Duration = Duration::from_secs(5 * 60);
/// A shorter life counts as this.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

/// How many flights the session of this success may lead in a window, if that is more than the setting: two for each life
/// of its access token.
pub(crate) fn allowed_by(outcome: &Outcome, config: &Config) -> Option<u32> {
    let Outcome::Success(tokens) = outcome else { return None };
    let allowed = allowed_in_window(tokens.expires_in()?, config);
    (allowed > config.max_refresh_attempts).then_some(allowed)
}

fn allowed_in_window(lifetime: Duration, config: &Config) -> u32 {
    if lifetime >= SHORT_LIFE {
        return config.max_refresh_attempts;
    }
    let twice = (2 * config.refresh_attempt_window).as_nanos().div_ceil(lifetime.max(SHORTEST_LIFE).as_nanos());
    config.max_refresh_attempts.max(u32::try_from(twice).unwrap_or(u32::MAX))
}

/// Whether a session that refreshes whenever its access token has expired uses up its attempts.
pub(crate) fn would_starve(lifetime: Duration, config: &Config) -> bool {
    lifetime.saturating_mul(allowed_in_window(lifetime, config)) < config.refresh_attempt_window
}

fn left(until: Option<Instant>, now: Instant) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn config() -> Config {
        Config {
            max_refresh_attempts: 2,
            refresh_attempt_window: 10 * S,
            refresh_cooldown_period: 20 * S,
            ..Config::default()
        }
    }

    /// Judges, and charges the flight that is admitted.
    fn ask(attempts: &mut Attempts, now: Instant) -> Result<(), Refusal> {
        attempts.admit(false, now, &config())?;
        attempts.charge(now, &config());
        Ok(())
    }

    #[test]
    fn limit_of_n_admits_n_and_the_next_one_starts_the_cooldown() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());

        assert_eq!(ask(&mut attempts, start), Ok(()));
        assert_eq!(ask(&mut attempts, start + S), Ok(()));
        assert_eq!(ask(&mut attempts, start + 2 * S), Err(Refusal::CoolingDown { retry_after: 20 * S }));
        // Asking does not extend it.
        assert_eq!(ask(&mut attempts, start + 12 * S), Err(Refusal::CoolingDown { retry_after: 10 * S }));
        // Afterwards the count starts at 1.
        assert_eq!(ask(&mut attempts, start + 22 * S), Ok(()));
        assert_eq!(ask(&mut attempts, start + 23 * S), Ok(()));
        assert!(ask(&mut attempts, start + 24 * S).is_err());
    }

    #[test]
    fn window_is_fixed_and_starts_with_the_first_attempt() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        ask(&mut attempts, start).expect("the first");
        ask(&mut attempts, start + 9 * S).expect("the second");

        assert_eq!(ask(&mut attempts, start + 10 * S), Ok(()));
        assert_eq!(ask(&mut attempts, start + 11 * S), Ok(()));
        assert!(ask(&mut attempts, start + 12 * S).is_err());
    }

    #[test]
    fn attempt_is_given_back_to_its_own_window_only() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let charged = attempts.charge(start, &config());
        attempts.uncharge(charged, start);
        assert!(attempts.is_over(start, &config()));

        let charged = attempts.charge(start, &config());
        attempts.charge(start + 10 * S, &config());
        attempts.uncharge(charged, start + 10 * S);

        assert!(!attempts.is_over(start + 11 * S, &config()));
    }

    #[test]
    fn attempt_that_is_given_back_lifts_the_cooldown_that_it_brought_about() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let charged = attempts.charge(start, &config());
        attempts.charge(start, &config());
        ask(&mut attempts, start + S).expect_err("one too many");

        attempts.uncharge(charged, start + 2 * S);

        assert_eq!(ask(&mut attempts, start + 3 * S), Ok(()));
        ask(&mut attempts, start + 4 * S).expect_err("the other still counts");
    }

    #[test]
    fn attempt_that_is_given_back_after_its_cooldown_counts_for_nothing() {
        let config = Config { refresh_attempt_window: 60 * S, ..config() };
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let charged = attempts.charge(start, &config);
        attempts.charge(start, &config);
        attempts.admit(false, start + S, &config).expect_err("one too many");

        attempts.uncharge(charged, start + 21 * S);

        assert_eq!(attempts.count_in(start + 21 * S, &config), 0);
        let charged = attempts.charge(start + 22 * S, &config);
        attempts.uncharge(charged, start + 23 * S);
        assert!(attempts.is_over(start + 23 * S, &config));
    }

    #[test]
    fn only_an_access_token_that_lives_too_short_or_a_window_too_long_for_it_starves_its_session() {
        let long_window = Config { refresh_attempt_window: 3600 * S, ..config() };

        assert!(would_starve(S, &config()), "it counts as one of 5 s");
        assert!(!would_starve(5 * S, &config()));
        assert!(!would_starve(299 * S, &long_window));
        assert!(would_starve(300 * S, &long_window));
        assert!(!would_starve(1800 * S, &long_window));
        assert!(!would_starve(Duration::MAX, &config()));
    }

    #[test]
    fn short_life_of_the_access_token_allows_two_flights_for_each_in_the_window_that_runs() {
        let five_minutes = Config::default();
        for (lifetime, expected) in [(0, 120), (5, 120), (60, 10), (120, 5), (299, 5), (300, 5)] {
            assert_eq!(allowed_in_window(lifetime * S, &five_minutes), expected, "{lifetime} s");
        }
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        ask(&mut attempts, start).expect("the first");

        attempts.allow(4);

        for _ in 2..=4 {
            ask(&mut attempts, start + S).expect("allowed");
        }
        assert!(ask(&mut attempts, start + S).is_err());
        let mut anew = Attempts { cooldown_until: None, ..attempts };
        anew.charge(start + 11 * S, &config());
        anew.charge(start + 11 * S, &config());
        assert!(anew.admit(false, start + 11 * S, &config()).is_err(), "another window knows nothing of it");
    }

    #[test]
    fn provider_limits_a_session_for_five_minutes_at_most() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());

        attempts.limit(start, 3600 * S);
        attempts.limit(start, S);

        assert_eq!(ask(&mut attempts, start + 100 * S), Err(Refusal::Limited { retry_after: 200 * S }));
        assert_eq!(ask(&mut attempts, start + 300 * S), Ok(()));
    }

    #[test]
    fn session_is_over_when_window_cooldown_and_limit_are() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        assert!(attempts.is_over(start, &config()));
        ask(&mut attempts, start).expect("the first");
        assert!(!attempts.is_over(start + 9 * S, &config()));
        assert!(attempts.is_over(start + 10 * S, &config()));

        ask(&mut attempts, start + S).expect("the second");
        ask(&mut attempts, start + S).expect_err("one too many");

        assert!(!attempts.is_over(start + 20 * S, &config()));
        assert!(attempts.is_over(start + 21 * S, &config()));
    }
}
