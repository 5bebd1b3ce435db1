//! Access tokens that live so short that the attempt limits starve their sessions: said before users find out.

use crate::daemon::{Daemon, FORM, client, refresh};
use crate::provider::{Provider, json};
use crate::within;

const WARNING: &str = "access tokens live so short that sessions will use up their attempts";

/// A provider with access tokens that live for `seconds` and refresh tokens that rotate.
async fn provider(seconds: u32) -> Provider {
    Provider::start(move |_| async move {
        json(200, &format!(r#"{{"access_token":"a2","expires_in":{seconds},"refresh_token":"r2"}}"#))
    })
    .await
}

/// Two refreshes of one session, then the end: what was logged.
async fn logged(daemon: Daemon) -> String {
    for token in ["r1", "other"] {
        let request = client().post(daemon.url("/token")).header("content-type", FORM).header("x-session", "s");
        assert_eq!(within(request.body(refresh(token)).send()).await.expect("an answer").status(), 200);
    }
    daemon.signal(nix::sys::signal::Signal::SIGINT);
    daemon.ended().await.1
}

#[tokio::test]
async fn sessions_that_will_starve_are_told_of_once() {
    let provider = provider(2).await;
    let daemon = Daemon::start(&provider, &["--session-header", "x-session"]).await;

    let log = logged(daemon).await;

    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
}

#[tokio::test]
async fn nothing_is_said_where_nobody_starves() {
    // A short life allows two flights, one of 5 s at least; and a token that is its own session is gone with the rotation.
    for (lifetime, arguments) in [(3, ["--session-header", "x-session"].as_slice()), (1, &[])] {
        let provider = provider(lifetime).await;
        let daemon = Daemon::start(&provider, arguments).await;

        let log = logged(daemon).await;

        assert!(!log.contains(WARNING), "{log}");
    }
}
