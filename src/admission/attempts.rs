//! How often a session may lead: a fixed window, then a cooldown; and how long the provider asked it to stay away.
//!
//! In Redis: `attempts:<session>`, `lua/lib/attempts.lua`.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::error::Refusal;
use crate::outcome::LONGEST_RETRY_AFTER;

/// What is known of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    count: u32,
    window_start: Option<Instant>,
    cooldown_until: Option<Instant>,
    held_until: Option<Instant>,
}

impl Attempts {
    /// Whether the session may lead once more. The first attempt too many starts the cooldown; asking again does
    /// not make it longer.
    pub(crate) fn admit(&mut self, now: Instant, config: &Config) -> Result<(), Refusal> {
        if let Some(retry_after) = left(self.cooldown_until, now) {
            return Err(Refusal::CoolingDown { retry_after });
        }
        if let Some(retry_after) = left(self.held_until, now) {
            return Err(Refusal::Limited { retry_after });
        }
        if self.count_in(now, config) >= config.max_refresh_attempts {
            let retry_after = config.refresh_cooldown_period;
            // The window is over with it: afterwards the count begins anew.
            *self = Self { cooldown_until: Some(now + retry_after), held_until: self.held_until, ..Self::default() };
            return Err(Refusal::CoolingDown { retry_after });
        }
        Ok(())
    }

    /// Counts an attempt. Answers the start of the window it is charged to: where it can be given back.
    pub(crate) fn charge(&mut self, now: Instant, config: &Config) -> Instant {
        self.count = self.count_in(now, config) + 1;
        if self.count == 1 {
            self.window_start = Some(now);
        }
        self.window_start.expect("BUG: the first attempt starts the window")
    }

    /// Gives an attempt back, unless its window is over.
    pub(crate) fn uncharge(&mut self, charged: Instant) {
        if self.window_start == Some(charged) {
            self.count -= 1;
        }
    }

    /// The provider asked the session to stay away.
    pub(crate) fn hold(&mut self, now: Instant, retry_after: Duration) {
        let until = now + retry_after.min(LONGEST_RETRY_AFTER);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    /// Whether nothing has to be remembered any more.
    pub(crate) fn is_over(&self, now: Instant, config: &Config) -> bool {
        self.count_in(now, config) == 0
            && left(self.cooldown_until, now).is_none()
            && left(self.held_until, now).is_none()
    }

    pub(crate) fn count_in(&self, now: Instant, config: &Config) -> u32 {
        match self.window_start {
            Some(start) if now < start + config.refresh_attempt_window => self.count,
            Some(_) | None => 0,
        }
    }
}

/// Whether a session that refreshes whenever its access token has expired uses up its attempts.
pub(crate) fn would_starve(lifetime: Duration, config: &Config) -> bool {
    lifetime.saturating_mul(config.max_refresh_attempts) < config.refresh_attempt_window
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
        attempts.admit(now, &config())?;
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
        attempts.uncharge(charged);
        assert!(attempts.is_over(start, &config()));

        let charged = attempts.charge(start, &config());
        attempts.charge(start + 10 * S, &config());
        attempts.uncharge(charged);

        assert!(!attempts.is_over(start + 11 * S, &config()));
    }

    #[test]
    fn access_token_that_outlives_its_share_of_the_window_starves_nobody() {
        assert!(would_starve(Duration::from_millis(4999), &config()));
        assert!(!would_starve(5 * S, &config()));
        assert!(!would_starve(Duration::MAX, &config()));
    }

    #[test]
    fn provider_holds_a_session_for_five_minutes_at_most() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());

        attempts.hold(start, 3600 * S);
        attempts.hold(start, S);

        assert_eq!(ask(&mut attempts, start + 100 * S), Err(Refusal::Limited { retry_after: 200 * S }));
        assert_eq!(ask(&mut attempts, start + 300 * S), Ok(()));
    }

    #[test]
    fn session_is_over_when_window_cooldown_and_hold_are() {
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
