//! On what the figures were measured.

use std::fs::read_to_string;
use std::process::Command;

/// Lines that name the machine and the versions of what was measured.
pub fn describe() -> Vec<String> {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = load();
    vec![
        format!("{cores} cores of {model}; {}", said("uname", &["-sr"])),
        said("rustc", &["--version"]),
        said("redis-server", &["--version"]).split(" sha=").next().unwrap_or_default().to_owned(),
        said("/usr/sbin/nginx", &["-v"]),
        format!("load average (1, 5, 15 min) {load}"),
    ]
}

/// How busy the machine is.
pub fn load() -> String {
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What a program says, such as its version.
pub fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        // nginx says its version on stderr.
        Ok(output) => {
            let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            String::from_utf8_lossy(&text).trim().to_owned()
        }
        Err(error) => format!("{program}: {error}"),
    }
}
