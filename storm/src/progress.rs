//! How far a storm is, for a user at a terminal: one line on stderr that is written over.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Nothing is shown where stderr is no terminal. The line is gone when this is dropped.
pub(crate) struct Progress {
    /// What is done now.
    phase: &'static str,
    done: usize,
    all: usize,
    began: Instant,
    /// None where nothing is shown.
    shown: Option<Instant>,
}

/// More than an eye needs, less than a terminal costs.
const OFTEN: Duration = Duration::from_millis(100);

const CLEAR: &str = "\r\x1b[2K";

impl Progress {
    pub(crate) fn new(all: usize) -> Self {
        let began = Instant::now();
        let shown = std::io::stderr().is_terminal().then_some(began);
        Self { phase: "", done: 0, all, began, shown }
    }

    /// Begins another phase.
    pub(crate) fn begin(&mut self, phase: &'static str) {
        self.phase = phase;
        self.show();
    }

    /// So many refreshes more are done.
    pub(crate) fn add(&mut self, refreshes: usize) {
        self.done += refreshes;
        if self.shown.is_some_and(|shown| shown.elapsed() >= OFTEN) {
            self.show();
        }
    }

    fn show(&mut self) {
        if self.shown.is_some() {
            self.shown = Some(Instant::now());
            self.write(&format!("{CLEAR}{}", self.line()));
        }
    }

    fn line(&self) -> String {
        const WIDTH: usize = 30;
        let full = (self.done * WIDTH).checked_div(self.all).unwrap_or_default().min(WIDTH);
        let (full, empty) = ("#".repeat(full), "-".repeat(WIDTH - full));
        let Self { phase, done, all, began, .. } = self;
        format!("{phase} [{full}{empty}] {done} of {all} refreshes, {} s", began.elapsed().as_secs())
    }

    fn write(&self, text: &str) {
        // A storm does not end because nobody can see how far it is.
        _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            self.write(CLEAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_tells_what_is_done_and_how_much_there_is() {
        let mut progress = Progress { phase: "with", done: 0, all: 60, began: Instant::now(), shown: None };

        progress.add(20);

        assert_eq!(progress.line(), format!("with [{}{}] 20 of 60 refreshes, 0 s", "#".repeat(10), "-".repeat(20)));
    }
}
