//! How far a storm is, on stderr: at a terminal one line that is written over, elsewhere a plain line every few seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// At a terminal the line is gone when this is dropped.
pub(crate) struct Progress {
    /// What is done now.
    phase: &'static str,
    done: usize,
    all: usize,
    began: Instant,
    is_terminal: bool,
    /// When it was shown last, or began.
    shown: Instant,
}

/// More than an eye needs, less than a terminal costs.
const OFTEN: Duration = Duration::from_millis(100);

/// A log stays short, and a reader does not take a long storm for a dead one.
const SELDOM: Duration = Duration::from_secs(5);

const CLEAR: &str = "\r\x1b[2K";

impl Progress {
    pub(crate) fn new(all: usize) -> Self {
        let began = Instant::now();
        Self { phase: "", done: 0, all, began, is_terminal: std::io::stderr().is_terminal(), shown: began }
    }

    /// Begins another phase.
    pub(crate) fn begin(&mut self, phase: &'static str) {
        self.phase = phase;
        if self.is_terminal {
            write(&self.text(Instant::now()));
        }
    }

    /// So many refreshes more are done.
    pub(crate) fn add(&mut self, refreshes: usize) {
        self.done += refreshes;
        if let Some(text) = self.due(Instant::now()) {
            write(&text);
        }
    }

    /// What is to be shown now, if it was not shown a moment ago.
    fn due(&mut self, now: Instant) -> Option<String> {
        let pause = if self.is_terminal { OFTEN } else { SELDOM };
        if now < self.shown + pause {
            return None;
        }
        self.shown = now;
        Some(self.text(now))
    }

    fn text(&self, now: Instant) -> String {
        let Self { phase, done, all, .. } = self;
        let seconds = (now - self.began).as_secs();
        if self.is_terminal {
            format!("{CLEAR}{phase} [{}] {done} of {all} refreshes, {seconds} s", self.bar())
        } else {
            format!("{}: {done} of {all} refreshes, {seconds} s\n", phase.trim_end())
        }
    }

    fn bar(&self) -> String {
        const WIDTH: usize = 30;
        let full = (self.done * WIDTH).checked_div(self.all).unwrap_or_default().min(WIDTH);
        format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full))
    }
}

fn write(text: &str) {
    // A storm does not end because nobody can see how far it is.
    _ = std::io::stderr().write_all(text.as_bytes());
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            write(CLEAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn progress(is_terminal: bool) -> Progress {
        let began = Instant::now();
        Progress { phase: "with ", done: 20, all: 60, began, is_terminal, shown: began }
    }

    #[test]
    fn line_of_a_terminal_tells_what_is_done_and_how_much_there_is() {
        let mut progress = progress(true);
        let began = progress.began;

        assert_eq!(progress.due(began + 99 * MS), None);
        let bar = format!("{}{}", "#".repeat(10), "-".repeat(20));
        assert_eq!(progress.due(began + 100 * MS), Some(format!("{CLEAR}with  [{bar}] 20 of 60 refreshes, 0 s")));
    }

    #[test]
    fn without_a_terminal_a_plain_line_comes_every_few_seconds() {
        let mut progress = progress(false);
        let began = progress.began;

        assert_eq!(progress.due(began + 4999 * MS), None);
        assert_eq!(progress.due(began + 5000 * MS), Some("with: 20 of 60 refreshes, 5 s\n".to_owned()));
        assert_eq!(progress.due(began + 9999 * MS), None);
        assert_eq!(progress.due(began + 10_000 * MS), Some("with: 20 of 60 refreshes, 10 s\n".to_owned()));
    }
}
