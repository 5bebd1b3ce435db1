//! SIGHUP reads the file of several providers again: all of it holds then, or nothing.

use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::daemon::refresh;
use crate::provider::{Gate, Provider, json};
use crate::redis::RedisServer;
use crate::several::{ConfigFile, provider, text};
use crate::within;

/// A file with these providers.
fn of(redis: &RedisServer, above: &str, providers: &[(&str, &Provider, &str)]) -> String {
    let tables = providers.iter().map(|(name, provider, more)| {
        format!("[provider.{name}]\nupstream = \"{}\"\nprovider-name = \"{name}\"\n{more}\n", provider.url())
    });
    format!(
        "redis = \"{}\"\nstore-timeout = \"5s\"\nkeep-outcome = \"10m\"\n{above}\n{}",
        redis.url(),
        tables.collect::<String>()
    )
}

#[tokio::test]
async fn providers_come_go_and_change_and_what_is_wrong_or_takes_a_restart_changes_nothing() {
    let redis = RedisServer::start_own(&[]).await;
    for name in ["okta", "entra", "bank", "shop"] {
        redis.in_use(name).await;
    }
    let (okta, entra, moved) = (provider("okta").await, provider("entra").await, provider("moved").await);
    let file = ConfigFile::new(&of(&redis, "", &[("okta", &okta, "")]));
    let daemon = file.serve(&[]).await;
    let served_by = async |path: &str, token: &str| {
        let (status, body) = text(daemon.post_to(path, &refresh(token)).await).await;
        let by = body.split_once(" for ").map(|(before, _)| before.rsplit('"').next().unwrap_or_default().to_owned());
        (status, by.unwrap_or_default())
    };
    let (of_okta, of_entra) = ((200, "okta".to_owned()), (200, "entra".to_owned()));
    assert_eq!((served_by("/okta/token", "a").await, served_by("/entra/token", "a").await.0), (of_okta.clone(), 404));

    file.write(&of(&redis, "", &[("okta", &okta, ""), ("entra", &entra, "")]));
    daemon.signal(Signal::SIGHUP);
    daemon.logged(r#""providers":2"#).await;
    assert_eq!(
        (served_by("/okta/token", "b").await, served_by("/entra/token", "b").await),
        (of_okta.clone(), of_entra.clone())
    );

    for (number, (above, more, reason)) in [
        ("", "lese = \"1s\"", "there is no key lese: is lease meant?"),
        ("drain = \"9s\"", "", "drain is changed, which all providers share: that takes a restart"),
        ("", "lease = \"9s\"", "lease is changed, which its coordination in namespace okta began with"),
        ("", "ca-file = \"/nowhere\"", "ca-file /nowhere"),
    ]
    .into_iter()
    .enumerate()
    {
        file.write(&of(&redis, above, &[("okta", &okta, more), ("shop", &moved, "")]));
        daemon.signal(Signal::SIGHUP);
        let line = daemon.logged(reason).await;
        assert!(line.contains("what was read before is kept") && line.contains("refreshd.toml"), "{line}");
        let token = format!("kept-{number}");
        assert_eq!(served_by("/entra/token", &token).await, of_entra);
        assert_eq!(served_by("/shop/token", &token).await.0, 404);
    }

    // One goes, one has moved, two come.
    let now = [("entra", &moved, "path = \"/e\""), ("bank", &okta, ""), ("shop", &entra, "")];
    file.write(&of(&redis, "", &now));
    daemon.signal(Signal::SIGHUP);
    daemon.logged(r#""providers":3"#).await;
    assert_eq!((served_by("/okta/token", "c").await.0, served_by("/entra/token", "c").await.0), (404, 404));
    assert_eq!(served_by("/e/token", "c").await, (200, "moved".to_owned()));
    assert_eq!(served_by("/bank/token", "c").await, of_okta);
    assert_eq!(served_by("/shop/token", "c").await, of_entra);
    // The coordinator of the one that has moved is the same: what it holds is still there.
    assert_eq!(served_by("/e/token", "b").await, of_entra);
}

#[tokio::test]
async fn what_is_under_way_ends_as_it_began_for_a_provider_that_goes_and_for_each_at_the_end() {
    let redis = RedisServer::start_own(&[]).await;
    for name in ["okta", "entra"] {
        redis.in_use(name).await;
    }
    let (gate, tokens) = (Gate::closed(), r#"{"access_token":"a","refresh_token":"r2"}"#);
    let (okta, entra) =
        (Provider::behind(&gate, json(200, tokens)).await, Provider::behind(&gate, json(200, tokens)).await);
    let file = ConfigFile::new(&of(&redis, "drain-delay = \"0s\"", &[("okta", &okta, ""), ("entra", &entra, "")]));
    let daemon = Arc::new(file.serve(&[]).await);
    let ask = |path: &'static str| {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move { text(daemon.post_to(path, &refresh("r1")).await).await })
    };
    let asked = [ask("/okta/token"), ask("/entra/token")];
    okta.asked(1).await;
    entra.asked(1).await;

    file.write(&of(&redis, "drain-delay = \"0s\"", &[("entra", &entra, "")]));
    daemon.signal(Signal::SIGHUP);
    daemon.logged(r#""providers":1"#).await;
    assert_eq!(daemon.post_to("/okta/token", &refresh("r1")).await.status(), 404);
    daemon.signal(Signal::SIGTERM);
    daemon.logged("draining").await;
    gate.open();

    for answer in asked {
        assert_eq!(within(answer).await.expect("answered"), (200, tokens.to_owned()));
    }
    let daemon = Arc::into_inner(daemon).expect("nobody asks it any more");
    assert_eq!(daemon.ended().await.0, Some(0));
    assert_eq!((okta.seen().len(), entra.seen().len()), (1, 1));
}

/// Without Redis the process is all that knows what became of a token.
#[tokio::test]
async fn provider_that_leaves_the_file_and_comes_back_knows_what_it_knew() {
    let okta = provider("okta").await;
    let (gate, tokens) = (Gate::closed(), r#"{"access_token":"a","refresh_token":"r2"}"#);
    let slow = Provider::behind(&gate, json(200, tokens)).await;
    let text_of = |providers: &[(&str, &Provider)]| -> String {
        let tables =
            providers.iter().map(|(name, provider)| format!("[provider.{name}]\nupstream = \"{}\"\n", provider.url()));
        tables.collect()
    };
    let file = ConfigFile::new(&text_of(&[("okta", &okta), ("slow", &slow)]));
    let daemon = Arc::new(file.serve(&[]).await);
    let ask = || {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move { text(daemon.post_to("/slow/token", &refresh("r1")).await).await })
    };
    let first = ask();
    slow.asked(1).await;

    file.write(&text_of(&[("okta", &okta)]));
    daemon.signal(Signal::SIGHUP);
    daemon.logged(r#""providers":1"#).await;
    let more = provider("more").await;
    file.write(&text_of(&[("okta", &okta), ("slow", &slow), ("more", &more)]));
    daemon.signal(Signal::SIGHUP);
    daemon.logged(r#""providers":3"#).await;
    let again = ask();
    gate.open();

    for answer in [first, again] {
        assert_eq!(within(answer).await.expect("answered"), (200, tokens.to_owned()));
    }
    assert_eq!(slow.seen().len(), 1, "the token was presented twice");
}

/// As of a file system that stands still: to read it ends when somebody writes.
#[tokio::test]
async fn file_that_cannot_be_read_for_now_keeps_nobody_from_being_served() {
    let provider = provider("okta").await;
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::copy(crate::certified::certified("localhost").0.path(), &ca).expect("written");
    let ca_file = ca.to_str().expect("UTF-8");
    let daemon = crate::daemon::Daemon::start(&provider, &["--ca-file", ca_file, "--drain-delay", "0s"]).await;
    std::fs::remove_file(&ca).expect("it is ours");
    assert!(std::process::Command::new("mkfifo").arg(&ca).status().expect("it runs").success());

    daemon.signal(Signal::SIGHUP);
    // It is told of the signal by then, and reads.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;

    assert_eq!(daemon.post(&refresh("a")).await.status(), 200);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await.0, Some(0));
}
