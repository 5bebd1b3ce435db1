//! The same bench as another process: told what to do by lines, answering by lines.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};

/// A child process, which ends with the value.
pub struct Child {
    process: Process,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program again, in another role.
    pub fn start(role: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .arg(format!("role={role}"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program starts again");
        let to = process.stdin.take().expect("piped");
        let from = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, to, from }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Tells it a line.
    pub async fn tell(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.expect("the child reads");
    }

    /// Its next line.
    pub async fn hear(&mut self) -> String {
        let line = tokio::time::timeout(std::time::Duration::from_secs(120), self.from.next_line());
        line.await.expect("the child answers in time").expect("the child writes").expect("the child lives")
    }
}

/// In the child: what role it has, and its arguments.
pub fn role() -> Option<(String, Vec<String>)> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next()?.strip_prefix("role=")?.to_owned();
    Some((role, arguments.collect()))
}

/// In the child: the lines it is told.
pub fn told() -> Lines<BufReader<tokio::io::Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}
