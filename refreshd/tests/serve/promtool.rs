//! What promtool says of `/metrics`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::left_out::left_out;

/// Where `tests/run install` puts it: Debian's package would start a server, too.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/promtool/usr/bin/promtool");

fn promtool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("promtool"));
    on_path.chain([PathBuf::from(INSTALLED)]).find(|path| path.is_file())
}

/// Panics with the first complaint of a page of metrics; where promtool is not installed, that is noted.
pub(crate) fn check(text: &str) {
    let Some(promtool) = promtool() else {
        return left_out("what promtool says of /metrics: promtool is not here");
    };
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}{text}");
}

/// The same of a file: `rules`, or a whole `config`.
pub(crate) fn check_file(kind: &str, text: &str) {
    let Some(promtool) = promtool() else {
        return left_out("what promtool says of the pages' rules: promtool is not here");
    };
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let output = Command::new(promtool).args(["check", kind]).arg(file.path()).output().expect("it starts");
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
}
