//! What tests do where something is not installed that they need.

use std::io::Write;

/// Notes for the runner of the tests that these were not run, and why; without such a runner that is a failure.
pub(crate) fn left_out(what: &str) {
    let Some(file) = std::env::var_os("TESTS_LEFT_OUT") else {
        panic!("{what}; `tests/run install` gets it");
    };
    let mut file = std::fs::File::options().append(true).create(true).open(file).expect("the runner's file");
    writeln!(file, "{what}").expect("written");
}
