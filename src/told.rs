//! Words: what was told a moment ago, and how what is told is filtered. What a caller can bring about as often as it likes is told once a second at most.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The target of all spans of this crate, by which a filter lets them in without all other lines of level debug.
pub(crate) const SPANS: &str = "refresh_coordinator::spans";

/// Between two lines for one reason.
const PAUSE: Duration = Duration::from_secs(1);

/// Reasons within a pause; what is above is left out. There are about twenty; one that holds a number may be any.
const MOST: usize = 64;

/// For each reason, when it was told last.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<String, Last>>);

#[derive(Debug)]
struct Last {
    at: Instant,
    left_out: u64,
}

impl Told {
    /// How many were left out since the last line for this reason, if the next one is due.
    pub(crate) fn due(&self, reason: &str) -> Option<u64> {
        self.due_at(reason, Instant::now())
    }

    fn due_at(&self, reason: &str, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = told.get_mut(reason) {
            if now < last.at + PAUSE {
                last.left_out += 1;
                return None;
            }
            let left_out = last.left_out;
            *last = Last { at: now, left_out: 0 };
            return Some(left_out);
        }
        if told.len() >= MOST {
            told.retain(|_, last| now < last.at + PAUSE);
        }
        if told.len() >= MOST {
            return None;
        }
        told.insert(reason.to_owned(), Last { at: now, left_out: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_a_second_with_what_was_left_out() {
        let (told, now) = (Told::default(), Instant::now());

        assert_eq!(told.due_at("budget", now), Some(0));
        assert_eq!((told.due_at("budget", now), told.due_at("budget", now + PAUSE / 2)), (None, None));
        assert_eq!(told.due_at("circuit_open", now), Some(0), "another reason");
        assert_eq!(told.due_at("budget", now + PAUSE), Some(2));
        assert_eq!(told.due_at("budget", now + 2 * PAUSE), Some(0));
    }

    #[test]
    fn reasons_without_end_are_told_within_bounds() {
        let (told, now) = (Told::default(), Instant::now());

        let lines = (0..1000).filter(|number| told.due_at(&format!("{number} bytes"), now).is_some()).count();

        assert_eq!(lines, MOST);
        assert_eq!(told.due_at("later", now + PAUSE), Some(0));
        assert_eq!(told.0.lock().expect("no panic").len(), 1);
    }
}
