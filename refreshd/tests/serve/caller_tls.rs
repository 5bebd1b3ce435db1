//! TLS of the token port: what callers are shown, and what becomes of those that speak something else, or too slowly.

use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::daemon::{Daemon, FORM, client, refresh, refreshd, rest};
use crate::pki::Pki;
use crate::provider::{Provider, json};
use crate::within;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn provider() -> Provider {
    Provider::start(async |_| json(200, r#"{"access_token":"a"}"#)).await
}

/// A caller that trusts this CA alone, and shows a certificate where it has one.
fn caller(pki: &Pki, shows: Option<&(std::path::PathBuf, std::path::PathBuf)>) -> reqwest::Client {
    drop(client()); // rustls' provider is set by the first
    let ca = reqwest::Certificate::from_pem(&std::fs::read(pki.ca()).expect("readable")).expect("a certificate");
    let mut caller = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).tls_certs_only([ca]);
    if let Some((certificate, key)) = shows {
        let pem = [std::fs::read(certificate).expect("readable"), std::fs::read(key).expect("readable")].concat();
        caller = caller.identity(reqwest::Identity::from_pem(&pem).expect("an identity"));
    }
    caller.build().expect("a client")
}

async fn ask(caller: &reqwest::Client, daemon: &Daemon, token: &str) -> reqwest::Result<reqwest::Response> {
    let url = format!("https://localhost:{}/token", daemon.address.port());
    within(caller.post(url).header("content-type", FORM).body(refresh(token)).send()).await
}

#[tokio::test]
async fn callers_ask_over_tls_and_probes_in_clear() {
    let (pki, provider) = (Pki::new(), provider().await);
    let (certificate, key) = pki.issue("refreshd", &["localhost"]);
    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key), "--admin", "127.0.0.1:0"];
    let daemon = Daemon::start(&provider, &tls).await;

    let answer = ask(&caller(&pki, None), &daemon, "r1").await.expect("an answer");

    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_11));
    let told: serde_json::Value = serde_json::from_str(&daemon.logged("listening").await).expect("JSON");
    let admin = told["admin"].as_str().expect("an address");
    let metrics = within(client().get(format!("http://{admin}/metrics")).send()).await.expect("an answer");
    let metrics = within(metrics.text()).await.expect("text");
    let end = metrics.lines().find_map(|line| line.strip_prefix("refreshd_tls_certificate_end_timestamp_seconds "));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let days = (end.expect("it is told").parse::<f64>().expect("a number") - now) / 86_400.0;
    assert!((89.0..91.0).contains(&days), "{days}");

    // In clear, and by somebody who trusts another CA: nothing is sent to the provider.
    let in_clear = rest(daemon.write_refresh(refresh("r2")).await).await;
    assert!(!in_clear.contains("200 OK"), "{in_clear}");
    assert!(ask(&caller(&Pki::new(), None), &daemon, "r3").await.is_err());
    assert_eq!(provider.seen().len(), 1);
    let metrics = within(client().get(format!("http://{admin}/metrics")).send()).await.expect("an answer");
    let metrics = within(metrics.text()).await.expect("text");
    assert!(metrics.contains("\nrefreshd_tls_handshakes_failed_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn callers_without_a_certificate_of_the_ca_are_refused_where_one_is_asked_for() {
    let (pki, callers, provider) = (Pki::new(), Pki::new(), provider().await);
    let (certificate, key) = pki.issue("refreshd", &["localhost"]);
    let asks = callers.ca();
    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key), "--tls-client-ca", text(&asks)];
    let daemon = Daemon::start(&provider, &tls).await;

    let known = caller(&pki, Some(&callers.issue("app", &["app"])));
    assert_eq!(ask(&known, &daemon, "r1").await.expect("an answer").status(), 200);

    for stranger in [caller(&pki, None), caller(&pki, Some(&pki.issue("app", &["app"])))] {
        assert!(ask(&stranger, &daemon, "r2").await.is_err());
    }
    assert_eq!(provider.seen().len(), 1);
}

/// An operator tells by SIGHUP, an orchestrator that replaces what it mounted tells nobody.
#[tokio::test]
async fn renewed_certificate_is_shown_to_new_connections_and_a_wrong_one_is_not() {
    for is_told in [true, false] {
        let (old, new, provider) = (Pki::new(), Pki::new(), provider().await);
        let shown = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (shown.path().join("tls.crt"), shown.path().join("tls.key"));
        let show = |(from, private): (std::path::PathBuf, std::path::PathBuf)| {
            std::fs::copy(private, &key).expect("written");
            std::fs::copy(from, &certificate).expect("written");
        };
        show(old.issue_until("old", &["localhost"], SystemTime::now() + Duration::from_secs(3 * 86_400 + 600)));
        let daemon = Daemon::start(&provider, &["--tls-cert", text(&certificate), "--tls-key", text(&key)]).await;
        let hangup = || {
            if is_told {
                daemon.signal(Signal::SIGHUP);
            }
        };
        let line = daemon.logged("--tls-cert) ends soon").await;
        assert!(line.contains(r#""days":3"#), "{line}");
        assert_eq!(ask(&caller(&old, None), &daemon, "r1").await.expect("an answer").status(), 200);

        show(new.issue("new", &["localhost"]));
        hangup();
        daemon.logged("the certificate that callers are shown was read again").await;
        assert!(ask(&caller(&old, None), &daemon, "r2").await.is_err());
        assert_eq!(ask(&caller(&new, None), &daemon, "r3").await.expect("an answer").status(), 200);

        std::fs::write(&certificate, "nothing of use").expect("written");
        hangup();
        let line = daemon.logged("what was read before is kept").await;
        assert!(line.contains("--tls-cert"), "{line}");
        assert_eq!(ask(&caller(&new, None), &daemon, "r4").await.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn connections_that_never_come_to_speak_tls_make_way_and_end_in_time() {
    let (pki, provider) = (Pki::new(), provider().await);
    let (certificate, key) = pki.issue("refreshd", &["localhost"]);
    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let limits = ["--max-connections", "4", "--read-timeout", "10m"];
    let daemon = Daemon::start(&provider, &[&tls[..], &limits].concat()).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(within(TcpStream::connect(daemon.address)).await.expect("it listens"));
    }

    let answer = ask(&caller(&pki, None), &daemon, "r1").await.expect("an answer");
    assert_eq!(answer.status(), 200);

    let in_time = Daemon::start(&provider, &[&tls[..], &["--read-timeout", "1s"]].concat()).await;
    let silent = within(TcpStream::connect(in_time.address)).await.expect("it listens");
    assert_eq!(rest(silent).await, "");
}

#[tokio::test]
async fn wrong_files_are_named_at_start_and_by_check() {
    let pki = Pki::new();
    let ((certificate, key), (_, other)) = (pki.issue("refreshd", &["localhost"]), pki.issue("other", &["localhost"]));
    let (certificate, key, other) = (text(&certificate), text(&key), text(&other));
    let nothing = tempfile::NamedTempFile::new().expect("a file");
    let nothing = text(nothing.path());
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--tls-cert", certificate], &["--tls-key"]),
        (&["--tls-client-ca", certificate], &["--tls-cert"]),
        (&["--tls-cert", nothing, "--tls-key", key], &["--tls-cert", "PEM certificates are expected"]),
        (&["--tls-cert", certificate, "--tls-key", other], &["--tls-key", "does not go with --tls-cert"]),
        (
            &["--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", nothing],
            &["--tls-client-ca", "PEM certificates are expected"],
        ),
    ];
    for (flags, parts) in cases {
        for command in ["serve", "check"] {
            let common = [command, "--upstream", "http://127.0.0.1:9/token", "--no-check-upstream"];
            let output = within(refreshd(&[&common[..], flags].concat()).output()).await.expect("refreshd runs");
            let line = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(output.status.code(), Some(2), "{command} {flags:?}: {line}");
            assert!(line.lines().count() == 1 && parts.iter().all(|part| line.contains(part)), "{flags:?}: {line}");
        }
    }
    let ready = within(refreshd(&["ready", "--tls-cert", certificate]).output()).await.expect("refreshd runs");
    let line = String::from_utf8(ready.stderr).expect("UTF-8");
    assert!(ready.status.code() == Some(2) && line.contains("--admin"), "{line}");
}

#[tokio::test]
async fn listening_for_other_machines_in_clear_is_warned_about() {
    let (pki, provider) = (Pki::new(), provider().await);
    let (certificate, key) = pki.issue("refreshd", &["localhost"]);
    let url = provider.url();
    let common = ["serve", "--listen", "0.0.0.0:0", "--log-format", "json", "--upstream", &url];
    let warned = Daemon::spawn(refreshd(&common)).await;
    warned.logged("cross the network in clear: give --tls-cert").await;

    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let quiet = Daemon::spawn(refreshd(&[&common[..], &tls].concat())).await;
    quiet.signal(Signal::SIGINT);
    let (_, log) = quiet.ended().await;
    assert!(!log.contains("in clear: give --tls-cert"), "{log}");
}
