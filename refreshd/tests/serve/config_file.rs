//! The file of several providers: what is wrong in it is told in one line, what is in force is told by `refreshd check`, and the
//! example of the docs runs.

use std::process::Stdio;

use crate::daemon::{client, refresh, refreshd};
use crate::pki::Pki;
use crate::redis::RedisServer;
use crate::several::{ConfigFile, provider, text};
use crate::within;

/// Runs it: its exit code, what it printed, and what it said on stderr.
async fn check(command: &mut tokio::process::Command) -> (Option<i32>, String, String) {
    let output = within(command.stdout(Stdio::piped()).output()).await.expect("refreshd runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const OKTA: &str = "[provider.okta]\nupstream = \"http://127.0.0.1:9/token\"\n";

#[tokio::test]
async fn each_wrong_file_is_one_line_with_the_file_the_key_and_what_would_be_right() {
    let okta = |more: &str| format!("{OKTA}{more}\n");
    let cases: &[(String, &[&str])] = &[
        (String::new(), &["refreshd.toml names no provider", "[provider.NAME]"]),
        ("lease = \n".to_owned(), &["refreshd.toml:1: this is no TOML"]),
        (okta("lese = '1s'"), &["refreshd.toml:3: provider okta: there is no key lese: is lease meant?"]),
        (okta("max_token = 1024"), &["refreshd.toml:3: ", "there is no key max_token: is max-token meant?"]),
        (okta("zzz = 1"), &["there is no key zzz", "refreshd serve --help"]),
        (okta("provider = 'okta'"), &["refreshd.toml:3: provider okta: there is no key provider: is preset meant?"]),
        (
            format!("[providers.okta]\n{OKTA}"),
            &["refreshd.toml:1: there is no key providers: is [provider.NAME] meant?"],
        ),
        (format!("lisen = 'x'\n{OKTA}"), &["refreshd.toml:1: there is no key lisen: is listen meant?"]),
        (format!("upstream = 'x'\n{OKTA}"), &["refreshd.toml:1: upstream is each provider's own"]),
        (okta("redis = 'redis://:hush@h'"), &["refreshd.toml:3: redis is shared by all providers"]),
        (okta("[provider.entra]"), &["refreshd.toml:3: [provider.entra] has no upstream", "https://idp.example"]),
        (okta("[provider.'a b']"), &["refreshd.toml:3: provider \"a b\"", "A-Z a-z 0-9 . _ -"]),
        (
            "[[provider]]\nupstream = 'x'\n".to_owned(),
            &["refreshd.toml:1: a table for each provider", "[provider.NAME]"],
        ),
        (okta("lease = 10"), &["refreshd.toml:3: provider okta: ", "'lease <TIME>'", "time unit"]),
        (okta("\nlease = '1ms'"), &["refreshd.toml:4: provider okta: lease is 1ms: it must be 100ms to 600s"]),
        (
            format!("refresh-timeout = '60s'\n{OKTA}"),
            &["refreshd.toml:1: provider okta: refresh-timeout is 60s", "--wait-timeout (35s)"],
        ),
        (okta("lease = ['1s']"), &["refreshd.toml:3: lease: one value is expected, no list"]),
        (okta("lease = 1.5"), &["refreshd.toml:3: lease: a text in quotes or a whole number is expected"]),
        (okta("only-refresh = 'yes'"), &["refreshd.toml:3: only-refresh: true or false is expected"]),
        (okta("preset = 'octa'"), &["refreshd.toml:3: ", "'preset <NAME>'", "auth0", "okta"]),
        (okta("client-cert = 'x'"), &["refreshd.toml:1: provider okta: ", "--client-key"]),
        (
            okta("upstream-proxy = 'socks5://u:hush@h'"),
            &["refreshd.toml:3: provider okta: upstream-proxy is no http://"],
        ),
        (okta("path = 'okta'"), &["refreshd.toml:3: provider okta: path is \"okta\"", "as in /okta"]),
        (okta("host = 'a:80'"), &["refreshd.toml:3: provider okta: host is \"a:80\"", "without a port"]),
        (format!("redis = 'redis://u:hush@h\n{OKTA}"), &["refreshd.toml:1: this is no TOML"]),
        (format!("max-body = '1KiB'\n{OKTA}"), &["refreshd.toml:1: ", "max-body is 1KiB", "--max-token (64KiB)"]),
        (format!("drain = '2h'\n{OKTA}"), &["refreshd.toml:1: ", "drain is 2h"]),
        (format!("redis-username = 'app'\n{OKTA}"), &["refreshd.toml:1: ", "redis-username is given without --redis"]),
        (
            okta("[provider.entra]\nupstream = 'http://127.0.0.1:8/token'\npath = '/okta'"),
            &["provider okta: it is served at /okta/token as entra is", "--path or --host"],
        ),
        (
            okta("[provider.entra]\nupstream = 'http://127.0.0.1:8/token'\nnamespace = 'okta'"),
            &["provider okta: --namespace is okta, as that of entra"],
        ),
    ];
    for (text, parts) in cases {
        let file = ConfigFile::new(text);

        let (code, printed, line) = check(&mut refreshd(&["check", "--config", &file.path()])).await;
        let (served, _, same) = check(&mut refreshd(&["serve", "--config", &file.path()])).await;

        assert_eq!((code, served, line.lines().count()), (Some(2), Some(2), 1), "{text}: {line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{text}: {line}");
        assert!(!line.contains("hush") && printed.is_empty(), "{line}{printed}");
        assert_eq!(line, same, "check and serve say the same");
    }
    let (code, _, line) = check(&mut refreshd(&["check", "--config", "/nowhere/refreshd.toml"])).await;
    assert!(code == Some(2) && line.contains("--config /nowhere/refreshd.toml cannot be read"), "{line}");
}

#[tokio::test]
async fn what_means_one_provider_is_said_in_the_file_only() {
    let file = ConfigFile::new(OKTA);
    let by_flag = check(&mut refreshd(&["check", "--config", &file.path(), "--upstream", "http://h/token"])).await;
    let mut by_variable = refreshd(&["check"]);
    let by_variable =
        check(by_variable.env("REFRESHD_CONFIG", file.path()).env("REFRESHD_NAMESPACE", "everything")).await;

    for ((code, _, line), name) in [(by_flag, "--upstream"), (by_variable, "REFRESHD_NAMESPACE")] {
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(
            line.contains(&format!("{name} is given beside --config")) && line.contains("[provider.NAME]"),
            "{line}"
        );
    }
}

/// The value of a key and where it comes from, as `check` prints them below this heading.
fn told(printed: &str, table: &str, key: &str) -> (String, String) {
    let below = printed.split_once(table).expect("the table").1.split("\n[").next().expect("lines");
    let line =
        below.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_else(|| panic!("{key}: {below}"));
    let (value, source) = line.split_once(" # ").expect("a source");
    (value.split_once(" = ").expect("a value").1.trim().to_owned(), source.to_owned())
}

#[tokio::test]
async fn check_tells_what_is_in_force_and_where_it_comes_from_and_no_secret() {
    let file = ConfigFile::new(
        r#"redis = "redis://u:hush@127.0.0.1:1"
keep-outcome = "41s"
lease = "11s"
retry-lost-after = "2s"
breaker-max-failures = 4
claim-header = ["x-a", "x-b"]
upstream-proxy = "http://u:hush@127.0.0.1:2"
[provider.okta]
upstream = "http://127.0.0.1:9/token?secret=hush"
lease = "12s"
only-refresh = true
[provider.plain]
upstream = "http://127.0.0.1:8/token"
[provider.supabase]
upstream = "http://127.0.0.1:7/token"
preset = "supabase"
dead-token-error = "gone"
[provider.django]
upstream = "http://127.0.0.1:6/token"
preset = "django-oauth-toolkit"
[provider.follows]
upstream = "http://127.0.0.1:5/token"
preset = "django-oauth-toolkit"
other-claims = "follow"
"#,
    );
    let mut command = refreshd(&["check", "--config", &file.path(), "--keep-outcome", "43s"]);
    command.env("REFRESHD_KEEP_OUTCOME", "42s").env("REFRESHD_BREAKER_MAX_FAILURES", "5");
    command.env("REFRESHD_PEPPER", "hush".repeat(8));

    let (code, printed, said) = check(&mut command).await;

    assert_eq!((code, said.as_str()), (Some(0), ""), "{printed}");
    assert!(!printed.contains("hush"), "{printed}");
    for (table, key, value, source) in [
        ("", "listen", "\"127.0.0.1:8400\"", "default"),
        ("", "redis", "\"...\"", "file, line 1, not shown"),
        ("[provider.okta]", "keep-outcome", "\"43s\"", "flag"),
        ("[provider.okta]", "breaker-max-failures", "\"5\"", "environment"),
        ("[provider.okta]", "lease", "\"12s\"", "file, line 10"),
        ("[provider.okta]", "only-refresh", "true", "file, line 11"),
        ("[provider.okta]", "path", "\"/okta\"", "default"),
        ("[provider.okta]", "namespace", "\"okta\"", "default"),
        ("[provider.okta]", "provider-name", "\"127.0.0.1:9\"", "default"),
        ("[provider.okta]", "upstream-proxy", "\"...\"", "file, line 7, not shown"),
        ("[provider.plain]", "lease", "\"11s\"", "file, line 3"),
        ("[provider.plain]", "only-refresh", "false", "default"),
        ("[provider.plain]", "claim-header", "[\"x-a\", \"x-b\"]", "file, line 6"),
        ("[provider.plain]", "call-limit", "\"1m\"", "default"),
        ("[provider.plain]", "refresh-tokens", "\"single-use\"", "default"),
        ("[provider.plain]", "other-claims", "\"follow\"", "default"),
        ("[provider.supabase]", "other-claims", "\"follow\"", "default"),
        ("[provider.django]", "other-claims", "\"refuse\"", "preset django-oauth-toolkit"),
        ("[provider.follows]", "other-claims", "\"follow\"", "file, line 24"),
        ("[provider.supabase]", "uncertain", "\"retry\"", "default"),
        ("[provider.supabase]", "retry-lost-after", "\"2s\"", "file, line 4"),
    ] {
        assert_eq!(told(&printed, table, key), (value.to_owned(), source.to_owned()), "{table} {key}");
    }
    let (errors, source) = told(&printed, "[provider.supabase]", "dead-token-error");
    assert!(errors.contains("session_not_found") && errors.ends_with("\"gone\"]"), "{errors}");
    assert_eq!(source, "preset supabase and file, line 17");
    assert!(printed.contains("# REFRESHD_PEPPER "), "{printed}");
    assert!(printed.contains("# client-assertion-aud is not set"), "nothing is believed without keys: {printed}");
}

#[tokio::test]
async fn check_takes_what_serve_takes_without_a_file() {
    let arguments = ["check", "--upstream", "http://127.0.0.1:9/token", "--lease", "9s"];
    let (code, printed, _) = check(&mut refreshd(&arguments)).await;

    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(told(&printed, "[provider.NAME]", "lease"), ("\"9s\"".to_owned(), "flag".to_owned()));
    assert_eq!(told(&printed, "[provider.NAME]", "namespace"), ("\"default\"".to_owned(), "default".to_owned()));
}

#[tokio::test]
async fn reader_that_has_seen_enough_is_no_error() {
    let file = ConfigFile::new(OKTA);
    for arguments in [&["check", "--config", &file.path()][..], &["presets"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);

        let started = refreshd(arguments).stdout(writer).spawn().expect("refreshd starts");
        let output = within(started.wait_with_output()).await.expect("refreshd runs");

        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn example_of_the_docs_runs() {
    let page = include_str!("../../../docs/config-file.md");
    let example = page.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).expect("an example").0;
    let redis = RedisServer::start_own(&[]).await;
    for namespace in ["okta", "entra", "bank-prod"] {
        redis.in_use(namespace).await;
    }
    redis.cli(&["CONFIG", "SET", "requirepass", "secret"]).await;
    let (okta, entra, bank) = (provider("okta").await, provider("entra").await, provider("bank").await);
    let pki = Pki::new();
    pki.write_secret("redis-password", "secret\n");
    let (certificate, key) = pki.issue("bank", &["refreshd"]);
    // As the page has it, but for what is elsewhere on this machine.
    let mut text_of_file = example.to_owned();
    for (there, here) in [
        ("/etc/refreshd/redis-password", pki.path("redis-password").to_str().expect("UTF-8")),
        ("/etc/refreshd/bank.pem", certificate.to_str().expect("UTF-8")),
        ("/etc/refreshd/bank.key", key.to_str().expect("UTF-8")),
        ("redis://redis.internal", redis.url().trim_end_matches('/')),
        ("127.0.0.1:8400", "127.0.0.1:0"),
        ("127.0.0.1:8401", "127.0.0.1:0"),
        ("https://example.okta.com/oauth2/v1/token", &okta.url()),
        ("https://login.microsoftonline.com/common/oauth2/v2.0/token", &entra.url()),
        ("https://idp.bank.example/token", &bank.url()),
        ("https://example.okta.com/oauth2/v1/revoke", &okta.url().replace("/token", "/revoke")),
    ] {
        assert!(text_of_file.contains(there), "{there}");
        text_of_file = text_of_file.replace(there, here);
    }
    let file = ConfigFile::new(&text_of_file);

    let (code, printed, said) = check(&mut refreshd(&["check", "--config", &file.path()])).await;
    let daemon = file.serve(&[]).await;

    assert_eq!((code, said.as_str()), (Some(0), ""), "{printed}");
    for (host, path, name) in [
        ("x", "/okta/token", "okta"),
        ("entra.tokens.internal", "/token", "entra"),
        ("x", "/partners/bank/token", "bank"),
    ] {
        let request = client().post(daemon.url(path)).header("host", host).header("content-type", crate::daemon::FORM);
        let answer = within(request.body(refresh("r1")).send()).await.expect("an answer");
        let (status, body) = text(answer).await;
        assert!(status == 200 && body.contains(&format!("\"{name} for r1\"")), "{host}{path}: {status} {body}");
    }
}
