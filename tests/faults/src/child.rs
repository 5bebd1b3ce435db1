//! Child processes that end with the driver, however that ends.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Becomes another program that the kernel kills when its parent ends: also where it is stopped, and where the parent
/// was killed itself.
pub(crate) fn become_mortal(program: &[OsString]) -> std::io::Error {
    die_with_parent();
    std::process::Command::new(&program[0]).args(&program[1..]).exec()
}

pub(crate) fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        let parent = nix::unistd::getppid();
        _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        // It may have ended before it was asked for.
        if nix::unistd::getppid() != parent {
            std::process::exit(1);
        }
    }
}

/// A command of this suite itself.
pub(crate) fn own(binary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C is for the driver, which ends the rest in order.
    command.process_group(0);
    command
}

/// What it says, if its stdout is piped.
pub(crate) fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().expect("BUG: piped")).lines()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(id) = child.id() {
        // One that has ended already needs none.
        _ = kill(Pid::from_raw(id as i32), signal);
    }
}
