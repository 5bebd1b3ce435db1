//! docs/python.md: each program of the page as it stands there, at other ports, in two processes at once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::environment::without_settings;
use crate::fleet::Fleet;
use crate::left_out::left_out;
use crate::provider::{Family, Provider};

/// How long a Python may take to start on a busy machine: the first of two waits for the second.
const PATIENCE: Duration = Duration::from_secs(120);
const FLAGS: [&str; 4] = ["--refresh-timeout", "2m", "--wait-timeout", "2m"];

/// Where the libraries of the page are.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients-venv/bin/python");
    if !python.is_file() {
        left_out("the clients in Python: target/clients-venv with tests/provider/clients.txt is missing");
        return None;
    }
    Some(python)
}

/// The program below this heading.
fn program(heading: &str) -> String {
    let page = include_str!("../../../docs/python.md");
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let (_, rest) = rest.split_once("```python\n").expect("a program");
    rest.split_once("```").expect("it ends").0.to_owned()
}

/// Runs the program with a token that has expired; what it printed.
async fn run(python: &Path, program: &str, url: &str, family: &Family) -> String {
    let there = "http://127.0.0.1:8400/token";
    assert_eq!(program.matches(there).count(), 1, "{program}");
    let mut command = Command::from(without_settings(python.to_str().expect("UTF-8")));
    command.arg("-c").arg(program.replace(there, url)).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("python runs");
    let stored = json!({
        "access_token": "over", "token_type": "Bearer", "expires_at": 1, "refresh_token": family.refresh_token,
    });
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(stored.to_string().as_bytes()).await.expect("written");
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("it is ours");
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn two_processes_refresh_at_once(heading: &str) {
    let (Some(provider), Some(python)) = (Provider::shared(), python()) else { return };
    let fleet = Fleet::start(provider, &format!("python-{heading}"), &FLAGS).await;
    let (family, program) = (provider.family("app"), program(heading));

    // Until both have come: one that comes later would be served as well, and show less.
    let held = provider.hold(&family.refresh_token);
    let urls = [fleet.url(0), fleet.url(1)];
    let processes = join_all(urls.iter().map(|url| run(&python, &program, url, &family)));
    let (outputs, ()) = tokio::join!(processes, async {
        // A process that ends before it has asked fails the test by itself.
        while fleet.sum("refreshd_callers_total").await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(held);
    });

    let stored: Vec<Value> = outputs.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    assert_eq!(stored[0]["presented"], family.refresh_token);
    assert_ne!(stored[0]["new"]["refresh_token"], family.refresh_token);
    for token in ["access_token", "refresh_token"] {
        assert!(stored[0]["new"][token].is_string(), "{stored:?}");
        assert_eq!(stored[0]["new"][token], stored[1]["new"][token]);
    }
    assert_eq!(provider.presentations(&family.refresh_token), 1);
    assert!(provider.is_alive(&family), "logged out");
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_refreshes_in_two_processes_at_once() {
    two_processes_refresh_at_once("Authlib").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_oauthlib_refreshes_in_two_processes_at_once() {
    two_processes_refresh_at_once("requests-oauthlib").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_auth_refreshes_in_two_processes_at_once() {
    two_processes_refresh_at_once("google-auth").await;
}
