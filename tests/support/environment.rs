//! A program of ours, without what the user who runs the tests has set for it.

use std::process::Command;

/// The binary, with nothing of our own environment that it would listen to.
pub(crate) fn without_settings(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_lowercase();
        if lower.starts_with("refreshd_") || lower == "rust_log" || lower.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
}
