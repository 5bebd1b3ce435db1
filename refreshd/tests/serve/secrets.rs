//! Nothing that is written down holds a secret, whatever is asked to be logged.

use base64::Engine;
use nix::sys::signal::Signal;

use crate::daemon::{Daemon, FORM, client, rest};
use crate::provider::{Provider, json};
use crate::within;

#[tokio::test]
async fn logs_and_metrics_hold_no_secret() {
    let provider = Provider::start(async |seen| match seen.body.as_str() {
        body if body.contains("hush-dead") => {
            json(400, r#"{"error":"hush-error hush-dead","error_description":"hush-x"}"#)
        }
        body if body.contains("hush-cut") => None,
        body if body.contains("hush-odd") => json(200, "hush-unreadable"),
        _ => json(200, r#"{"access_token":"hush-access","refresh_token":"hush-next","id_token":"hush-id"}"#),
    })
    .await;
    let daemon = Daemon::start(&provider, &["--log", "trace", "--session-header", "x-session"]).await;
    let credentials = base64::engine::general_purpose::STANDARD.encode("hush-client:hush-password");

    for token in ["hush-live", "hush-dead", "hush-cut", "hush-odd", "hush%0Abad"] {
        let request = client()
            .post(daemon.url("/token"))
            .header("content-type", FORM)
            .header("authorization", format!("Basic {credentials}"))
            .header("x-session", "hush-session")
            .header("dpop", "hush-proof")
            .body(format!("grant_type=refresh_token&refresh_token={token}"));
        within(request.send()).await.expect("an answer");
    }
    daemon.post("grant_type=password&username=u&password=hush-user").await;
    rest(daemon.write(b"POST /token?refresh_token=hush-query HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await)
        .await;
    let (_, metrics) = daemon.get("/metrics").await;
    daemon.signal(Signal::SIGINT);
    let (_, log) = daemon.ended().await;

    assert!(log.contains("token request answered"), "something is logged: {log}");
    for written in [log, metrics] {
        for secret in ["hush", &credentials[..16]] {
            let found = written.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{found:?}");
        }
    }
}

#[tokio::test]
async fn secret_that_every_user_of_the_machine_may_read_is_warned_about_once() {
    use std::os::unix::fs::PermissionsExt as _;

    let provider = Provider::start(|_| async { json(200, "{}") }).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "p".repeat(32)).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    for (mode, lines) in [(0o644, 1), (0o640, 0)] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let daemon = Daemon::start(&provider, &["--pepper-file", path, "--drain-delay", "0s"]).await;
        daemon.signal(Signal::SIGTERM);

        let (_, log) = daemon.ended().await;

        let told: Vec<_> = log.lines().filter(|line| line.contains("every user of this machine may read")).collect();
        assert_eq!(told.len(), lines, "{log}");
        assert!(told.iter().all(|line| line.contains("--pepper-file") && line.contains(path)), "{told:?}");
    }
}
