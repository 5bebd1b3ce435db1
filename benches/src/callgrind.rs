//! Counts instructions: runs a program under callgrind, and reads what it counted.
//!
//! Callgrind shows every program the same processor, a Haswell with AVX2 and without SHA extensions, on whatever x86-64
//! with AVX2 it runs: glibc, `sha2` and `chacha20` take the same paths everywhere. A real processor with SHA extensions
//! hashes in fewer instructions than are counted here.
//!
//! Why not gungraun (iai-callgrind before): it compares with its own last run and not with figures in the repository,
//! counts nothing of a server beside the benchmark, and needs a runner of exactly its version from `cargo install`,
//! whose build takes longer than all that is counted here.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What of a program is counted: what these functions do and whatever they call. None of them may call another one of them:
/// callgrind starts to count where one is entered, and stops where the next one is.
#[derive(Clone, Copy)]
pub struct Counted<'a>(pub &'a [&'a str]);

/// Why nothing can be counted on this machine, where that is so.
pub fn missing() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Some("a processor with AVX2, as the baselines are of".to_owned());
    }
    if std::env::consts::ARCH != "x86_64" {
        return Some("an x86-64 processor, as the baselines are of".to_owned());
    }
    let absent = ["valgrind", "redis-server"].into_iter().find(|program| {
        let said = Command::new(program).arg("--version").output();
        !said.is_ok_and(|said| said.status.success())
    });
    absent.map(str::to_owned)
}

/// Runs this program under callgrind, once it has its arguments. What was counted will be in `out`.
pub fn command(program: impl AsRef<OsStr>, counted: Counted<'_>, out: &Path) -> Command {
    let mut command = Command::new("valgrind");
    // What glibc or redis-server would read from the environment is the same for everybody.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // Without fastbins: glibc merges what they keep at moments that depend on the seeds of hash maps, which is 0.9 % from
    // one run to the next of a program that leads in memory. Without them it is 0.1 %.
    command.env("GLIBC_TUNABLES", "glibc.malloc.mxfast=0");
    command.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    command.args(counted.0.iter().map(|function| format!("--toggle-collect={function}")));
    command.arg(program);
    command
}

/// The instructions that were counted.
///
/// # Errors
///
/// Something was not counted, though it should have been: callgrind itself is content with a function that is not there.
pub fn read(counted: Counted<'_>, out: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(out).map_err(|error| format!("{}: {error}", out.display()))?;
    for function in counted.0 {
        // `fn=(17) its::name` or `cfn=(17) its::name`: the name is written once, wherever it is needed first.
        let name = format!(") {function}");
        let is_seen = text.lines().any(|line| line.split_once("fn=(").is_some_and(|(_, rest)| rest.ends_with(&name)));
        if !is_seen {
            return Err(format!(
                "callgrind saw no function {function}: it was renamed or inlined, and what it takes is not counted"
            ));
        }
    }
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.filter(|total| *total > 0).ok_or_else(|| format!("{} has no total: nothing was counted", out.display()))
}
