//! Each setting can be set by its method, read and written by its name, and read from its variable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Breaker, Config, MemoryPressure, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};
use crate::dialect::Dialect;
use crate::environment::{self, EnvironmentError};
use crate::secret::Secret;

const PEPPER: &str = "0123456789abcdef0123456789abcdef";

/// Every setting by its name, each another than its default: one that is added has to be added here.
fn full() -> Config {
    let ms = Duration::from_millis;
    Config {
        namespace: "tenant-1".to_owned(),
        upstream: Some("idp.example".to_owned()),
        refresh_timeout: ms(20_000),
        wait_timeout: ms(40_000),
        call_limit: Some(ms(50_000)),
        lease: ms(8_500),
        retry_lost_after: Some(ms(1)),
        keep_outcome: ms(60_000),
        keep_until_used: ms(2 * 60 * 60 * 1000),
        keep_at_most: 1,
        keep_failure: ms(0),
        keep_refusal: ms(2),
        refresh_tokens: RefreshTokens::Reusable,
        other_claims: OtherClaims::Refuse,
        dialect: Dialect {
            dead_token_errors: vec!["gone".to_owned(), "went, away".to_owned()],
            passing_refusals: vec!["later".to_owned()],
            gateway_texts: vec!["reset".to_owned()],
        },
        uncertain: Uncertain::Never,
        uncertain_memory: ms(90_000),
        store_timeout: ms(300),
        wait_replicas: 2,
        on_store_outage: OnStoreOutage::Local,
        start_without_redis: true,
        pepper: Some(Secret::from(PEPPER)),
        max_refresh_attempts: 6,
        refresh_attempt_window: ms(3),
        refresh_cooldown_period: ms(4),
        max_concurrent_refreshes: 11,
        budget_wait: Some(ms(5)),
        breaker: Breaker { max_failures: 4, open_duration: ms(6), half_open_requests: 2 },
        memory_pressure: MemoryPressure::ResidentMib(512),
        max_token: 1024,
        max_shared: 5000,
        cleanup_interval: ms(7),
    }
}

/// What `Debug` shows of all settings, and the pepper, which it does not.
fn shown(config: &Config) -> String {
    format!("{config:?} {:?}", config.pepper.as_ref().map(Secret::expose))
}

/// As a file would have them.
fn written(config: &Config) -> BTreeMap<String, Value> {
    let json = serde_json::to_string(config).expect("settings are JSON");
    serde_json::from_str(&json).expect("an object")
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Config, EnvironmentError> {
    let own = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    environment::read("RC_", own.chain([("HOME".into(), "/root".into())]))
}

#[test]
fn each_setting_is_written_and_read_by_its_name_and_the_pepper_is_only_read() {
    let (full, default) = (written(&full()), written(&Config::default()));

    for (name, value) in &full {
        assert_ne!(
            default.get(name),
            Some(value),
            "{name} is to differ from its default, or nobody sees that it is read"
        );
    }
    assert!(default.keys().all(|name| full.contains_key(name)));
    assert!(!full.contains_key("pepper"));

    let mut file = full;
    file.insert("pepper".to_owned(), PEPPER.into());
    let json = serde_json::to_string(&file).expect("JSON");
    assert_eq!(shown(&serde_json::from_str(&json).expect("settings")), shown(&self::full()));
    assert_eq!(shown(&serde_json::from_str("{}").expect("settings")), shown(&Config::default()));
}

#[test]
fn each_setting_has_a_method() {
    // That none is missing the compiler sees: each row of the tables is a field. This sees that they do what they say.
    let full = full();
    let breaker = full.breaker;
    let of_texts = Dialect::default()
        .with_dead_token_errors(&full.dialect.dead_token_errors)
        .with_passing_refusals(["later"])
        .with_gateway_texts(["reset".to_owned()]);
    let made = Config::default()
        .with_namespace("tenant-1")
        .with_upstream("idp.example")
        .with_refresh_timeout(full.refresh_timeout)
        .with_wait_timeout(full.wait_timeout)
        .with_call_limit(full.call_limit)
        .with_lease(full.lease)
        .with_retry_lost_after(Duration::from_millis(1))
        .with_keep_outcome(full.keep_outcome)
        .with_keep_until_used(full.keep_until_used)
        .with_keep_at_most(1)
        .with_keep_failure(full.keep_failure)
        .with_keep_refusal(full.keep_refusal)
        .with_refresh_tokens(RefreshTokens::Reusable)
        .with_other_claims(OtherClaims::Refuse)
        .with_dialect(of_texts)
        .with_uncertain(Uncertain::Never)
        .with_uncertain_memory(full.uncertain_memory)
        .with_store_timeout(full.store_timeout)
        .with_wait_replicas(2)
        .with_on_store_outage(OnStoreOutage::Local)
        .with_start_without_redis(true)
        .with_pepper(PEPPER)
        .with_max_refresh_attempts(6)
        .with_refresh_attempt_window(full.refresh_attempt_window)
        .with_refresh_cooldown_period(full.refresh_cooldown_period)
        .with_max_concurrent_refreshes(11)
        .with_budget_wait(full.budget_wait)
        .with_breaker(
            Breaker::default()
                .with_max_failures(breaker.max_failures)
                .with_open_duration(breaker.open_duration)
                .with_half_open_requests(breaker.half_open_requests),
        )
        .with_memory_pressure(MemoryPressure::ResidentMib(512))
        .with_max_token(1024)
        .with_max_shared(5000)
        .with_cleanup_interval(full.cleanup_interval);

    assert_eq!(shown(&made), shown(&full));
    assert_eq!(made.with_call_limit(None).call_limit, None);
}

#[test]
fn each_setting_has_a_variable() {
    fn variables(prefix: &str, values: impl IntoIterator<Item = (String, Value)>, all: &mut Vec<(String, String)>) {
        for (name, value) in values {
            let name = format!("{prefix}{}", name.to_uppercase());
            match value {
                Value::Object(below) => variables(&format!("{name}_"), below, all),
                Value::String(text) => all.push((name, text)),
                other => all.push((name, other.to_string())),
            }
        }
    }
    let mut all = vec![("RC_PEPPER".to_owned(), PEPPER.to_owned())];
    variables("RC_", written(&full()), &mut all);

    let given: Vec<_> = all.iter().map(|(name, value)| (&name[..], &value[..])).collect();

    assert!(given.contains(&("RC_BREAKER_OPEN_DURATION", "6ms")), "{given:?}");
    assert_eq!(shown(&from_variables(&given).expect("settings")), shown(&full()));
    // Texts without a comma among them are written plainly.
    let plain = from_variables(&[("RC_DIALECT_DEAD_TOKEN_ERRORS", "gone, expired")]).expect("settings");
    assert_eq!(plain.dialect.dead_token_errors, ["gone", "expired"]);
    assert_eq!(shown(&from_variables(&[]).expect("settings")), shown(&Config::default()));
}

#[test]
fn key_that_is_no_setting_is_named() {
    let read = |json| serde_json::from_str::<Config>(json).expect_err(json).to_string();
    for (json, said) in [
        (r#"{"leese":"1s"}"#, "unknown field `leese`, expected one of `namespace`, "),
        (r#"{"breaker":{"failures":1}}"#, "unknown field `failures`, expected one of `max_failures`, "),
        (r#"{"dialect":{"texts":[]}}"#, "unknown field `texts`, expected one of `dead_token_errors`, "),
        (r#"{"uncertain":"maybe"}"#, "unknown variant `maybe`, expected `retry` or `never`"),
        (r#"{"other_claims":"maybe"}"#, "unknown variant `maybe`, expected `follow` or `refuse`"),
        (r#"{"memory_pressure":"low"}"#, "invalid value: string \"low\", expected off, cgroup, or a number of MiB"),
    ] {
        let error = read(json);
        assert!(error.starts_with(said) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn variable_that_is_no_setting_or_cannot_be_read_is_named_in_one_line() {
    for (name, value, said) in [
        ("RC_LEESE", "1s", "RC_LEESE is no setting"),
        ("RC_", "1s", "RC_ is no setting"),
        ("RC_lease", "1s", "RC_lease is no setting"),
        ("RC_LEASE_", "1s", "RC_LEASE_ is no setting"),
        ("RC_LEASE_TIME", "1s", "RC_LEASE_TIME is no setting"),
        // Not a part of `uncertain`.
        ("RC_UNCERTAIN_MEMORIES", "1h", "RC_UNCERTAIN_MEMORIES is no setting"),
        ("RC_BREAKER", "3", "RC_BREAKER is no setting"),
        ("RC_BREAKER_FAILURES", "3", "RC_BREAKER_FAILURES is no setting"),
        (
            "RC_LEASE",
            "10",
            "RC_LEASE: invalid value: string \"10\", expected a time with its unit, such as 100ms, 30s or 5m",
        ),
        (
            "RC_LEASE",
            "",
            "RC_LEASE: invalid value: string \"\", expected a time with its unit, such as 100ms, 30s or 5m",
        ),
        ("RC_KEEP_AT_MOST", "many", "RC_KEEP_AT_MOST: \"many\" is no whole number that it could be"),
        ("RC_KEEP_AT_MOST", "4294967296", "RC_KEEP_AT_MOST: \"4294967296\" is no whole number that it could be"),
        ("RC_START_WITHOUT_REDIS", "yes", "RC_START_WITHOUT_REDIS: \"yes\" is neither true nor false"),
        ("RC_UNCERTAIN", "maybe", "RC_UNCERTAIN: unknown variant `maybe`, expected `retry` or `never`"),
        ("RC_OTHER_CLAIMS", "maybe", "RC_OTHER_CLAIMS: unknown variant `maybe`, expected `follow` or `refuse`"),
        (
            "RC_BREAKER_OPEN_DURATION",
            "soon",
            "RC_BREAKER_OPEN_DURATION: invalid value: string \"soon\", expected a time with its unit, such as 100ms, 30s or 5m",
        ),
    ] {
        assert_eq!(from_variables(&[(name, value)]).expect_err(name).to_string(), said);
    }
    let error = from_variables(&[("RC_DIALECT_GATEWAY_TEXTS", "[1]")]).expect_err("no texts").to_string();
    assert!(error.starts_with("RC_DIALECT_GATEWAY_TEXTS: no JSON array of texts: "), "{error}");
}

#[cfg(unix)]
#[test]
fn value_that_is_not_utf_8_is_named_and_not_quoted() {
    use std::os::unix::ffi::OsStringExt;

    let variables = [("RC_PEPPER".into(), OsString::from_vec(vec![b'p', 0xff]))];
    let error = environment::read::<Config>("RC_", variables.into_iter()).expect_err("no text");

    assert_eq!(error, EnvironmentError::NotUnicode { variable: "RC_PEPPER".to_owned() });
}

/// What a process reads that was started with these variables.
#[test]
fn settings_come_from_the_environment_of_the_process() {
    let child = |variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        child.args(["--exact", "config::tests::child_prints_its_settings", "--ignored", "--nocapture"]);
        let output = child.envs(variables.iter().copied()).output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };

    assert!(child(&[("RC_CHILD_LEASE", "15s"), ("RC_LEASE", "1s")]).contains("lease Ok(15s)"));
    assert!(child(&[("RC_CHILD_LEASE", "1ms")]).contains("lease Err(Impossible(ConfigError { setting: \"lease\""));
}

#[test]
#[ignore = "a process of the test above"]
fn child_prints_its_settings() {
    println!("lease {:?}", Config::from_env("RC_CHILD_").map(|config| config.lease));
}
