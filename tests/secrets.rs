//! Promise 7: no secret in anything Redis or a log ever sees, nor in `Debug` or an error's text; and an outcome in
//! Redis opens for nobody but the callers that are entitled to it.

mod support;

use std::fmt::{Debug, Write as _};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use refresh_coordinator::{
    Config, MemoryStore, ProviderFailure, ProviderResponse, Refresh, RefreshCoordinator, RefreshError, Refreshed,
    Refusal, Secret, TokenResponse, Uncertain,
};
use support::fleet::{connect, connect_to, quick};
use support::leaks::{Searched, assert_none};
use support::monitor::Monitor;
use support::provider::Provider;
use support::redis::RedisServer;
use support::wait::until;
use tokio::task::JoinSet;
use tracing_subscriber::fmt::format::FmtSpan;

// With what JSON, URLs and shells escape, and '>' and '?', whose base64 differs between the two alphabets.
const TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 1"#;
const DEAD_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 2"#;
const UNKNOWN_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 3"#;
const PANICKING_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 4"#;
const BUSY_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 5"#;
const UNREACHED_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 6"#;
const INVALID_TOKEN: &str = "refresh>?>?\"hush\n7";
const STRANDED_TOKEN: &str = r#"refresh>?>?"hush\/+%&=hush 8"#;
const NEXT_TOKEN: &str = r#"next>?>?"hush\/+%&=hush"#;
const ACCESS_TOKEN: &str = r#"access>?>?"hush\/+%&=hush"#;
const ID_TOKEN: &str = r#"id>?>?"hush\/+%&=hush"#;
const CLIENT_SECRET: &str = r#"client>?>?"hush\/+%&=hush"#;
const WRONG_SECRET: &str = r#"wrong>?>?"hush\/+%&=hush"#;
const SESSION: &str = r#"session>?>?"hush\/+%&=hush"#;
const PARAMETER: &str = r#"parameter>?>?"hush\/+%&=hush"#;
const DESCRIPTION: &str = r#"alice>?>? "hush\/+%&=hush" is locked"#;
const NONCE: &str = r#"nonce>?>?"hush\/+%&=hush"#;
const PEPPER: &str = r#"pepper>?>?"hush\/+%&=hush, 32 bytes and more"#;
const REDIS_PASSWORD: &str = "redis-password-hush";

const SECRETS: [(&str, &str); 19] = [
    ("token", TOKEN),
    ("token", DEAD_TOKEN),
    ("token", UNKNOWN_TOKEN),
    ("token", PANICKING_TOKEN),
    ("token", BUSY_TOKEN),
    ("token", UNREACHED_TOKEN),
    ("token", INVALID_TOKEN),
    ("token", STRANDED_TOKEN),
    ("next token", NEXT_TOKEN),
    ("access token", ACCESS_TOKEN),
    ("id token", ID_TOKEN),
    ("client secret", CLIENT_SECRET),
    ("wrong client secret", WRONG_SECRET),
    ("session id", SESSION),
    ("parameter", PARAMETER),
    ("provider's description", DESCRIPTION),
    ("provider's nonce", NONCE),
    ("pepper", PEPPER),
    ("redis password", REDIS_PASSWORD),
];

/// All that was logged in this process, by whatever crate, from TRACE up.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self(Arc::default());
            let writer = log.clone();
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_span_events(FmtSpan::FULL)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .init();
            log
        })
        .clone()
    }

    fn text(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peppered() -> Config {
    quick().with_pepper(Secret::from(PEPPER)).with_uncertain(Uncertain::Never)
}

fn refresh(token: &str, client_secret: &str) -> Refresh {
    let session = match token {
        // The provider asks its session to stay away; the others go on.
        BUSY_TOKEN => format!("{SESSION} busy"),
        // An empty session is refused, whatever the token.
        INVALID_TOKEN => String::new(),
        _ => SESSION.to_owned(),
    };
    Refresh::new(token)
        .session(session)
        .client("app", client_secret)
        .parameters([("scope", "openid"), ("assertion", PARAMETER)])
}

fn success() -> TokenResponse {
    let body = format!(
        r#"{{"access_token":{ACCESS_TOKEN:?},"token_type":"Bearer","expires_in":3600,"refresh_token":{NEXT_TOKEN:?},"id_token":{ID_TOKEN:?}}}"#
    );
    TokenResponse::from_json(body).expect("a token response")
}

fn error_body(status: u16) -> ProviderResponse {
    ProviderResponse::new(status, format!(r#"{{"error":"x","error_description":{DESCRIPTION:?}}}"#))
        .with_header("dpop-nonce", NONCE)
}

/// What a provider would have to say to each token.
fn answer(token: &str) -> Result<TokenResponse, ProviderFailure> {
    Err(match token {
        DEAD_TOKEN => ProviderFailure::denied("invalid_grant").with_response(error_body(400)),
        UNKNOWN_TOKEN => ProviderFailure::unknown("an unreadable answer").with_response(error_body(502)),
        BUSY_TOKEN => ProviderFailure::busy(Some(Duration::from_secs(60))).with_response(error_body(429)),
        UNREACHED_TOKEN => ProviderFailure::not_sent("no address"),
        PANICKING_TOKEN => panic!("{token} {CLIENT_SECRET}"),
        _ => return Ok(success()),
    })
}

/// `Debug` of what callers hold, and every text of an error and its sources.
fn shown(answer: &Result<Refreshed, RefreshError>) -> String {
    let mut text = format!("{answer:?}\n{answer:#?}\n");
    match answer {
        Ok(refreshed) => show(&mut text, refreshed.tokens()),
        Err(error) => tell(&mut text, error),
    }
    text
}

fn show(text: &mut String, what: &dyn Debug) {
    writeln!(text, "{what:?}\n{what:#?}").expect("a text takes everything");
}

fn tell(text: &mut String, error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(text, "{error}").expect("a text takes everything");
        show(text, &error);
        next = error.source();
    }
}

/// Every class of outcome and every refusal, over all pods. Returns all that callers could print.
async fn storm(pods: &[RefreshCoordinator]) -> String {
    let provider = Provider::held();
    let mut callers = JoinSet::new();
    for token in [TOKEN, DEAD_TOKEN, UNKNOWN_TOKEN, PANICKING_TOKEN, BUSY_TOKEN, UNREACHED_TOKEN, INVALID_TOKEN] {
        for pod in pods {
            for _ in 0..3 {
                let (pod, call) = (pod.clone(), provider.answering(token, answer));
                callers.spawn(async move { pod.refresh(refresh(token, CLIENT_SECRET), call).await });
            }
        }
    }
    provider.asked(6).await;
    // Another claim, while the flights are on.
    let (pod, call) = (pods[1].clone(), provider.answering(TOKEN, answer));
    callers.spawn(async move { pod.refresh(refresh(TOKEN, WRONG_SECRET), call).await });
    until("all pods have joined", async || pods.iter().map(|pod| pod.metrics().joined_fleet).sum::<u64>() >= 12).await;
    let mut text = format!("{pods:?}\n");
    provider.release(100);

    let mut answers = callers.join_all().await;
    // Latecomers of each.
    for token in [TOKEN, DEAD_TOKEN, UNKNOWN_TOKEN, PANICKING_TOKEN, BUSY_TOKEN] {
        answers.push(pods[2].refresh(refresh(token, CLIENT_SECRET), provider.answering(token, answer)).await);
    }
    until("the failures are not fresh any more", async || {
        let call = provider.answering(UNKNOWN_TOKEN, answer);
        let answer = pods[0].refresh(refresh(UNKNOWN_TOKEN, CLIENT_SECRET), call).await;
        answers.push(answer);
        matches!(answers.last(), Some(Err(RefreshError::Lost { .. })))
    })
    .await;
    let call = provider.answering(TOKEN, answer);
    answers.push(pods[1].refresh(refresh(TOKEN, WRONG_SECRET), call).await);

    for class in ["Refreshed {", "Denied", "Unknown", "Busy", "NotSent", "Lost", "Invalid", "AnotherClaim"] {
        assert!(answers.iter().any(|answer| shown(answer).contains(class)), "the storm shows no {class}");
    }
    answers.iter().for_each(|answer| text.push_str(&shown(answer)));
    for pod in pods {
        show(&mut text, pod);
        show(&mut text, &pod.metrics());
        show(&mut text, pod.config());
    }
    show(&mut text, &refresh(TOKEN, CLIENT_SECRET).dpop_key("thumbprint"));
    show(&mut text, &Secret::from(TOKEN));
    show(&mut text, &error_body(400));
    show(&mut text, &success());
    text
}

#[test]
fn the_search_finds_planted_secrets() {
    let upper_hex: String = TOKEN.bytes().map(|byte| format!("{byte:02X}")).collect();
    let url: String = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form = format!("token={}", TOKEN.replace('%', "%25").replace('&', "%26").replace('+', "%2b").replace(' ', "+"));
    let unicode: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let monitored: String = TOKEN.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    let mut planted = vec![
        ("plain", TOKEN.to_owned()),
        ("hex", upper_hex.clone()),
        ("hex", upper_hex.to_lowercase()),
        ("URL-encoded", url.clone()),
        ("URL-encoded", url.to_lowercase()),
        ("a form", form),
        ("JSON", serde_json::to_string(TOKEN).expect("a text")),
        ("JSON with escaped slashes", serde_json::to_string(TOKEN).expect("a text").replace('/', "\\/")),
        ("JSON, all escaped", unicode),
        ("JSON in JSON", serde_json::to_string(&serde_json::to_string(TOKEN).expect("a text")).expect("a text")),
        ("escaped bytes", monitored),
        ("Debug", format!("{TOKEN:?}")),
        ("Debug of bytes", format!("{:?}", TOKEN.as_bytes())),
    ];
    for before in ["", "1", "12", "123"] {
        for after in ["", "1", "12"] {
            let text = format!("{before}{TOKEN}{after}");
            for engine in [STANDARD, URL_SAFE, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                planted.push(("base64", engine.encode(&text)));
            }
        }
    }

    for (how, planted) in planted {
        let text = [b"something \xff before ", planted.as_bytes(), b" and after"].concat();
        assert!(Searched::new(&text).find(TOKEN).is_some(), "{how} was not found: {planted}");
        assert_eq!(Searched::new(&text).find(SESSION), None, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_the_call_holds_a_secret() {
    let log = Log::start();
    // Killed at the end.
    let redis = RedisServer::start_own(&[]).await;
    redis.cli(&["ACL", "SETUSER", "pod", "on", &format!(">{REDIS_PASSWORD}"), "~*", "&*", "+@all"]).await;
    let monitor = Monitor::start(&redis).await;
    let config = peppered();
    let url = redis.url().replace("redis://", &format!("redis://pod:{REDIS_PASSWORD}@"));
    let mut pods = Vec::new();
    for _ in 0..3 {
        pods.push(connect_to(&url, &config).await);
    }

    let mut text = storm(&pods).await;
    monitor.caught_up(&redis).await;
    let dump = redis.dump(&config.namespace).await;
    let sent = monitor.text();
    // Last, what is said when the store goes away in the middle of a flight.
    let provider = Provider::held();
    let (pod, call) = (pods[0].clone(), provider.answering(STRANDED_TOKEN, answer));
    let stranded = tokio::spawn(async move { pod.refresh(refresh(STRANDED_TOKEN, CLIENT_SECRET), call).await });
    provider.asked(1).await;
    drop(redis);
    provider.release(1);
    text.push_str(&shown(&stranded.await.expect("no panic")));
    let outage = pods[1].refresh(refresh(STRANDED_TOKEN, CLIENT_SECRET), Provider::open().refresh("-")).await;
    assert!(matches!(outage, Err(RefreshError::StoreOutage { .. })), "{outage:?}");
    text.push_str(&shown(&outage));
    match RefreshCoordinator::connect(&url, config.clone()).await {
        Ok(_) => panic!("redis is gone"),
        Err(error) => tell(&mut text, &error),
    }
    // The callers were told before the pod knew that Redis is gone.
    let not_shared = "could not be shared yet";
    until("the log tells of the outcome", async || String::from_utf8_lossy(&log.text()).contains(not_shared)).await;
    let logged = log.text();

    assert!(sent.contains("\"EVALSHA\"") && sent.contains("\"sealed\""), "MONITOR has told of the storm");
    assert!(dump.contains("sealed="), "outcomes stand in redis: {dump}");
    let log_text = String::from_utf8_lossy(&logged);
    for turn in ["led", "joined", "called", "panicked", not_shared] {
        assert!(log_text.contains(turn), "the log tells of the storm: {turn}\n{log_text}");
    }
    assert_none("what redis was sent", sent.as_bytes(), &SECRETS);
    assert_none("redis", dump.as_bytes(), &SECRETS);
    assert_none("Debug or an error", text.as_bytes(), &SECRETS);
    assert_none("the log", &logged, &SECRETS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_the_call_holds_a_secret_in_memory() {
    let log = Log::start();
    let store = MemoryStore::new();
    let config = peppered();
    let pods: Vec<_> = (0..3)
        .map(|_| RefreshCoordinator::in_memory_shared(&store, config.clone()).expect("a possible configuration"))
        .collect();

    let mut text = storm(&pods).await;
    show(&mut text, &store);

    assert_none("Debug or an error", text.as_bytes(), &SECRETS);
    assert_none("the log", &log.text(), &SECRETS);
}

/// Exchanges fields of two flights in Redis; of `lead` the attempt only, which is its first 36 characters.
async fn swap(redis: &RedisServer, flights: &[String], fields: &[&str]) {
    let script = "for _, field in ipairs(ARGV) do
        local one, two = redis.call('HGET', KEYS[1], field), redis.call('HGET', KEYS[2], field)
        if field == 'lead' then
            one, two = string.sub(one, 1, 36) .. string.sub(two, 37), string.sub(two, 1, 36) .. string.sub(one, 37)
        end
        redis.call('HSET', KEYS[1], field, two)
        redis.call('HSET', KEYS[2], field, one)
    end
    return 'swapped'";
    let [one, two] = flights else { panic!("two flights, not {flights:?}") };
    let words = [&["EVAL", script, "2", one.as_str(), two.as_str()], fields].concat();
    assert_eq!(redis.cli(&words).await, "swapped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_outcomes_open_for_nobody() {
    let log = Log::start();
    for fields in [&["sealed"][..], &["sealed", "lead"], &["sealed", "lead", "owner"]] {
        let redis = RedisServer::start().await;
        let config = quick();
        let (first, second) = (connect(&redis, &config).await, connect(&redis, &config).await);
        let provider = Provider::open();
        for token in ["swapped-1", "swapped-2"] {
            first.refresh(refresh(token, CLIENT_SECRET), provider.refresh(token)).await.expect("tokens");
        }
        let flights = redis.keys(&format!("rc:{{{}}}:flight:*", config.namespace)).await;

        swap(&redis, &flights, fields).await;

        for token in ["swapped-1", "swapped-2"] {
            // The leader's own pod is no better off than another.
            for pod in [&first, &second] {
                let call = provider.refresh(token);
                let error = pod.refresh(refresh(token, CLIENT_SECRET), call).await.expect_err("not ours");
                assert!(matches!(error, RefreshError::Refused(Refusal::AnotherClaim { .. })), "{error:?}");
                assert!(error.is_transient());
                assert!(error.retry_after().is_some_and(|pause| pause <= config.keep_outcome), "{error:?}");
            }
        }
        assert_eq!(provider.total(), 2, "nothing was presented again");
        assert_eq!((first.metrics().unopened, second.metrics().unopened), (2, 2));

        // Back in their places they open again: it was the swap, and nothing else.
        swap(&redis, &flights, fields).await;
        for token in ["swapped-1", "swapped-2"] {
            let tokens = second.refresh(refresh(token, CLIENT_SECRET), provider.refresh(token)).await.expect("tokens");
            assert_eq!(tokens.tokens().access_token(), format!("access-for-{token}"));
        }
    }
    assert!(String::from_utf8_lossy(&log.text()).contains("does not open"), "somebody is told");
}
