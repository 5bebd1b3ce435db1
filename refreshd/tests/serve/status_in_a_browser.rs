//! The page at `/status` in a real browser.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::daemon::{Daemon, refresh};
use crate::left_out::left_out;
use crate::provider::{Gate, Provider, json};
use crate::within_time;

/// Debian's Chromium, and what others call it.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path).collect();
    let found = BROWSERS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|path| path.is_file());
    if found.is_none() {
        left_out("the page at /status in a browser: chromium is not here");
    }
    found
}

/// What the browser makes of a page, and the URLs that it asked for, each with the origin that wanted it.
async fn shown(browser: &Path, url: &str) -> (String, Vec<(String, String)>) {
    let dir = tempfile::tempdir().expect("a directory");
    let (profile, log) = (dir.path().join("profile"), dir.path().join("net.json"));
    let mut command = tokio::process::Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    // Not for the page's sake: the browser has questions of its own.
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--disable-extensions", "--disable-default-apps"]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg(format!("--log-net-log={}", log.display()));
    if let Some(file) = std::env::var_os("SCREENSHOT") {
        command.arg(format!("--screenshot={}", Path::new(&file).display())).arg("--window-size=1000,900");
    }
    let output = command.args(["--dump-dom", url]).kill_on_drop(true).output();
    let output = within_time(Duration::from_secs(120), output).await.expect("the browser runs");
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    let log = std::fs::read_to_string(&log).expect("its log of requests");
    // An event of the log is a line.
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let asked = log.lines().filter_map(|line| Some((field(line, "url")?, field(line, "initiator")?)));
    (page, asked.collect())
}

#[tokio::test]
async fn page_is_shown_by_a_browser_and_asks_for_nothing_elsewhere() {
    let Some(browser) = browser() else { return };
    let gate = Gate::closed();
    let provider = Provider::behind(&gate, json(200, "{}")).await;
    let daemon = Daemon::start(&provider, &["--admin", "127.0.0.1:0", "--namespace", "okta-prod"]).await;
    let _caller = daemon.write_refresh(refresh("hush-1")).await;
    provider.asked(1).await;
    let url = format!("{}/status", daemon.admin().await);

    let (page, asked) = shown(&browser, &url).await;

    let address = format!("localhost:{}", provider.address.port());
    for part in [&address[..], "okta-prod", "<td>leading</td>", "embedded, reached", "<td>closed</td>"] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    assert!(!page.contains("hush"), "{page}");
    let origin = url.trim_end_matches("/status");
    assert!(asked.iter().any(|(asked, _)| *asked == url), "{asked:?}");
    let elsewhere: Vec<_> = asked.iter().filter(|(asked, by)| by == origin && !asked.starts_with(origin)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<link"), "{page}");
}
