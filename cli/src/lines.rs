//! Lines for the person at the terminal. One who has stopped reading, as `| head` does, is no reason to panic.

use std::fmt::Display;
use std::io::Write;

/// Writes a line to stdout, where somebody reads it.
pub fn print_line(line: impl Display) {
    // Nobody is left to tell that nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to stderr, where somebody reads it.
pub fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
