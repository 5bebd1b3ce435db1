//! Whatever is wrong at start: one line that names the setting, exit code 2, nothing half-started.

use std::os::unix::fs::PermissionsExt as _;

use std::net::TcpListener;

use crate::daemon::{Daemon, refreshd};
use crate::redis::RedisServer;
use crate::within;

/// Runs it until it gives up; the one line.
pub(crate) async fn refused(command: &mut tokio::process::Command) -> String {
    let output = within(command.output()).await.expect("refreshd runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("refreshd: "), "{line}");
    line
}

const UPSTREAM: [&str; 4] = ["serve", "--upstream", "http://127.0.0.1:9/token", "--no-check-upstream"];

#[tokio::test]
async fn each_wrong_setting_is_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        // Else there is a line more: everybody may read it.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (short, empty) = (file("short", "pepper\n"), file("empty", ""));
    let missing = folder.path().join("missing").to_str().expect("UTF-8").to_owned();

    let cases: &[(&[&str], &[&str])] = &[
        (&["--lese", "1s"], &["--lese", "--lease"]),
        (&["--lease", "10"], &["--lease", "time unit"]),
        (&["--lease", "1ms"], &["--lease is 1ms", "100ms to 600s"]),
        (&["--refresh-timeout", "1m"], &["--refresh-timeout is 60s", "--wait-timeout (35s)"]),
        (&["--namespace", "a{b}"], &["--namespace", "A-Z a-z 0-9 . _ -"]),
        (&["--uncertain", "perhaps"], &["--uncertain", "retry, never"]),
        (&["--other-claims", "perhaps"], &["--other-claims", "follow, refuse"]),
        (&["--pepper-file", &short], &["--pepper-file", "32 bytes"]),
        (&["--pepper-file", &missing], &["--pepper-file", "No such file"]),
        (&["--redis-file", &empty], &["--redis-file", "one line"]),
        (&["--redis", "redis://:hush@127.0.0.1:1"], &["--redis", "password", "REFRESHD_REDIS", "--redis-file"]),
        (&["--ca-file", &missing], &["--ca-file", "No such file"]),
        (&["--ca-file", &short], &["--ca-file", "PEM"]),
        (&["--upstream-timeout", "2m"], &["--upstream-timeout is 2m", "--call-limit (1m)"]),
        (&["--connect-timeout", "2m"], &["--connect-timeout is 2m", "--upstream-timeout (1m)"]),
        (&["--provider-name", "a b"], &["--provider-name is a text of 3 bytes", "visible ASCII"]),
        (&["--provider-name", "https://a:hu?sh@b"], &["--provider-name", "URL"]),
        (&["--session-header", "a b"], &["--session-header"]),
        (&["--session-header", "Authorization"], &["--session-header authorization", "x-session-id"]),
        (&["--session-header", "cookie"], &["--session-header cookie"]),
        (&["--max-body", "64kb"], &["--max-body", "64KiB"]),
        (&["--max-body", "1KiB"], &["--max-body is 1KiB", "--max-token (64KiB)"]),
        (&["--max-token", "1B"], &["--max-token is 1 bytes", "1024 to 1048576 bytes"]),
        (&["--max-answer", "1B"], &["--max-answer is 1B", "1KiB to 64MiB"]),
        (&["--max-passed-on", "0"], &["--max-passed-on", "1.."]),
        (&["--claim-header", "a b"], &["--claim-header"]),
        (&["--client-cert", &short], &["--client-key"]),
        (
            &["--revocation-upstream", "idp.example/revoke"],
            &["--revocation-upstream", "https://idp.example/oauth2/revoke"],
        ),
        (&["--revocation-upstream", "ftp://idp.example/revoke"], &["--revocation-upstream is a ftp URL"]),
        (
            &["--revocation-upstream", "https://u:hush@idp.example/r"],
            &["--revocation-upstream holds a user or a password"],
        ),
        (&["--revocation-upstream", "https://idp.example/r#f"], &["--revocation-upstream", "fragment"]),
        (&["--revocation-upstream", "https://idp.example/token"], &["--revocation-upstream has the path /token"]),
        (&["--dpop-htu", "idp.example/token"], &["--dpop-htu idp.example/token", "https://idp.example/oauth2/token"]),
        (&["--client-jwks", &missing], &["--client-jwks", "No such file"]),
        (&["--client-jwks", &short], &["--client-jwks", "JWK set"]),
        (&["--client-jwks", "http://app.example/jwks"], &["--client-jwks", "https://app.example/jwks"]),
        (&["--client-jwks", &short, "--trust-callers"], &["--client-jwks", "--trust-callers"]),
        (&["--client-assertion-aud", "a"], &["--client-jwks"]),
        (
            &["--upstream-proxy", "socks5://127.0.0.1:1"],
            &["--upstream-proxy is no http:// or https:// URL", "http://proxy"],
        ),
        (
            &["--upstream-proxy", "http://u:hush@127.0.0.1:1"],
            &["--upstream-proxy", "password", "REFRESHD_UPSTREAM_PROXY"],
        ),
        (&["--max-headers", "1KiB"], &["--max-headers is 1KiB", "8KiB"]),
        (&["--max-connections", "0"], &["--max-connections", "1.."]),
        (&["--listen", "nowhere"], &["--listen nowhere", "127.0.0.1:8400"]),
        (&["--listen", "8400"], &["--listen 8400 is no address with a port", "127.0.0.1:8400"]),
        (&["--listen", ":8400"], &["--listen :8400 is no address with a port", "[::]:8400 for all"]),
        (&["--listen", "*:8400"], &["--listen *:8400 is no address with a port", "[::]:8400 for all"]),
        (&["--listen", "http://127.0.0.1:8400"], &["--listen http://127.0.0.1:8400 is no address with a port"]),
        (&["--listen", "127.0.0.1:80800"], &["--listen 127.0.0.1:80800 is no address with a port"]),
        (&["--admin", "/run/refreshd.sock"], &["--admin /run/refreshd.sock is no address with a port"]),
        (&["--admin", ""], &["--admin", "is no address with a port"]),
        (&["--listen", "nowhere.invalid:1"], &["--listen nowhere.invalid:1 cannot be listened at", "127.0.0.1:8400"]),
        (&["--drain-delay", "2h"], &["--drain-delay is 2h", "at most 1h"]),
        (&["--log", "info,=x="], &["--log", "refreshd=debug"]),
        (&["--log", "warning"], &["--log", "warning is no level", "error, warn, info"]),
        (&["--log", "infos"], &["--log", "infos is no level: it would log nothing"]),
        (&["--log", "info;refreshd=debug"], &["--log", "refreshd=debug"]),
        (&["--log", "info debug"], &["--log", "info debug is no level: it would log nothing"]),
        (&["--log", "refreshd,debg"], &["--log", "debg is no level"]),
        (&["--log-format", "xml"], &["--log-format", "text, json"]),
    ];
    for (arguments, parts) in cases {
        let line = refused(&mut refreshd(&[&UPSTREAM, *arguments].concat())).await;

        assert!(parts.iter().all(|part| line.contains(part)), "{arguments:?}: {line}");
        assert!(!line.contains("hush"), "{line}");
    }
}

/// Whatever a number means, there is one that it cannot mean.
#[tokio::test]
async fn every_number_has_bounds() {
    let help = within(refreshd(&["serve", "--help"]).stdout(std::process::Stdio::piped()).output()).await;
    let help = String::from_utf8(help.expect("refreshd runs").stdout).expect("UTF-8");
    let flags = help.lines().filter_map(|line| {
        let (flag, kind) = line[line.find("--")?..].split_once(' ')?;
        let value = match kind.trim() {
            "<N>" => "4294967295",
            "<SIZE>" => "9223372036854775807",
            "<TIME>" => "9223372036854775807s",
            "<LIMIT>" => "9223372036854775807",
            _ => return None,
        };
        Some((flag, value))
    });
    let mut asked = 0;

    for (flag, value) in flags {
        let line = refused(refreshd(&UPSTREAM).args(["--listen", "127.0.0.1:0", flag, value])).await;
        assert!(line.contains(flag), "{flag}: {line}");
        asked += 1;
    }

    assert!(asked > 30, "{asked} flags have numbers");
}

#[tokio::test]
async fn each_wrong_upstream_is_named_with_what_would_be_right() {
    let cases: &[(&str, &str)] = &[
        ("idp.example/token", "is not a URL"),
        ("https://", "is not a URL"),
        ("ftp://idp.example/token", "is a ftp URL"),
        ("https://app:hush@idp.example/token", "a user or a password"),
        ("https://idp.example/token#x", "fragment"),
    ];
    for (url, part) in cases {
        let line = refused(&mut refreshd(&["serve", "--upstream", url])).await;

        assert!(line.contains("--upstream") && line.contains(part) && !line.contains("hush"), "{url}: {line}");
    }
    let line = refused(&mut refreshd(&["serve"])).await;
    assert!(line.contains("--upstream <URL>"), "{line}");
    for listen in ["127.0.0.1:9", "0.0.0.0:9"] {
        let line = refused(refreshd(&UPSTREAM).args(["--listen", listen])).await;
        assert!(line.contains("--upstream is where refreshd listens itself"), "{line}");
    }
}

#[tokio::test]
async fn pod_of_another_provider_is_refused_and_one_whose_url_moved_is_not() {
    let redis = RedisServer::start_own(&[]).await;
    let common = ["--no-check-upstream", "--listen", "127.0.0.1:0", "--log-format", "json", "--redis", redis.url()];
    let serve = |url, more: &[&str]| refreshd(&[&["serve", "--upstream", url], &common[..], more].concat());
    let _first = Daemon::spawn(serve("http://idp.example/token", &[])).await;
    let _moved = Daemon::spawn(serve("http://idp.example:80/oauth2/token", &[])).await;
    let _named = Daemon::spawn(serve("http://10.0.0.1:8080/token", &["--provider-name", "idp.example"])).await;

    let line = refused(&mut serve("http://idp.example:8080/token", &[])).await;

    for part in ["--namespace: ", "another provider by pod ", "(idp.example; here idp.example:8080)"] {
        assert!(line.contains(part), "no {part}: {line}");
    }
}

#[tokio::test]
async fn malformed_redis_url_is_told_without_its_password() {
    let mut command = refreshd(&[&UPSTREAM[..], &["--listen", "127.0.0.1:0"]].concat());

    let line = refused(command.env("REFRESHD_REDIS", "rediss:/hush@:x")).await;

    assert!(line.contains("--redis") && line.contains("redis://") && !line.contains("hush"), "{line}");
}

#[tokio::test]
async fn taken_address_is_told_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();

    let line = refused(&mut refreshd(&[&UPSTREAM[..], &["--listen", &address]].concat())).await;

    assert!(line.contains(&format!("--listen {address}")) && line.contains("in use"), "{line}");
}

#[tokio::test]
async fn pepper_in_two_places_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "p".repeat(32)).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let mut command = refreshd(&[&UPSTREAM[..], &["--pepper-file", path]].concat());

    let line = refused(command.env("REFRESHD_PEPPER", "q".repeat(32))).await;

    assert!(line.contains("--pepper-file") && line.contains("REFRESHD_PEPPER"), "{line}");
}

#[tokio::test]
async fn password_of_a_redis_that_is_not_named_is_refused() {
    let line = refused(refreshd(&UPSTREAM).env("REFRESHD_REDIS_PASSWORD", "hush")).await;

    assert!(line.contains("REFRESHD_REDIS_PASSWORD is given without --redis") && !line.contains("hush"), "{line}");
}

/// Its pods would coordinate with nobody, and nothing else would say so.
#[tokio::test]
async fn variable_with_a_slip_in_its_name_is_told() {
    let arguments = [&UPSTREAM[..], &["--listen", "127.0.0.1:0", "--log-format", "json"]].concat();
    let mut command = refreshd(&arguments);
    // An empty level is none; Kubernetes tells pods of a Service that is called refreshd.
    command.env("REFRESHD_REDIS_URL", "redis://:hush@h").env("RUST_LOG", "").env("REFRESHD_PORT", "tcp://10.0.0.1:80");

    let daemon = Daemon::spawn(command).await;

    let line = daemon.logged("REFRESHD_REDIS_URL").await;
    daemon.signal(nix::sys::signal::Signal::SIGINT);
    let (_, log) = daemon.ended().await;
    assert!(line.contains(r#""level":"WARN""#) && line.contains(r#""meant":"REFRESHD_REDIS""#), "{line}");
    assert!(!log.contains("hush") && !log.contains("REFRESHD_PORT"), "{log}");
}

/// As where `| head` has read enough.
#[tokio::test]
async fn output_that_nobody_reads_is_no_panic() {
    let check = ["check", "--upstream", "http://127.0.0.1:9/token"];
    for (arguments, code) in [(&["presets"][..], 0), (&check, 0), (&["serve", "--lese"], 2)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = refreshd(arguments);
        command.stdout(writer.try_clone().expect("a pipe"));
        if code == 2 {
            command.stderr(writer);
        }

        let output = within(command.output()).await.expect("refreshd runs");

        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let output = within(refreshd(arguments).output()).await.expect("refreshd runs");

        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn storm_is_told_to_be_a_program_of_its_own() {
    let redis = ["storm", "--json", "--redis", "redis://:hush@127.0.0.1:1"];
    for arguments in [&["storm"][..], &["storm", "--help"], &redis, &["--log", "warn", "storm", "--pods", "3"]] {
        let line = refused(&mut refreshd(arguments)).await;

        assert!(line.contains("refresh-storm") && !line.contains("hush"), "{line}");
    }
}
