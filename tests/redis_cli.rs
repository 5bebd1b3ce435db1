//! What an operator sees with redis-cli and nothing else: docs/redis-cli.md, line by line. Every command of the page is
//! run by a shell against real pods on a real Redis, in the situation that stands as a comment above it, and has to
//! print what the page says it prints.
//!
//! Ids, stamps and spans vary: both sides are compared without them, but an id that the page shows twice has to be the
//! same twice. `WRITE_PAGE=1 cargo test --test redis_cli` writes what was seen into the page.

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use refresh_coordinator::{
    Breaker, Config, ProviderFailure, ProviderResponse, Refresh, RefreshCoordinator, RefreshTokens, TokenResponse,
};
use support::fleet::connect;
use support::mortal::MortalPod;
use support::provider::Provider;
use support::redis::RedisServer;

const PAGE: &str = "docs/redis-cli.md";
const TOKEN: &str = "8xLOxBtZp8";
const PEPPER: &str = "a pepper has 32 bytes or more, and this one does";

/// Sessions, in the order in which the page asks for them.
const SESSIONS: [&str; 2] = ["ann's laptop", "bob's phone"];

/// A part of the page that is about one situation.
struct Section {
    situation: String,
    steps: Vec<Step>,
}

enum Step {
    /// Lines that are run and print nothing.
    Silent(String),
    /// A command, and what it prints: these lines of the page.
    Shown { command: String, prints: std::ops::Range<usize> },
}

struct Page {
    lines: Vec<String>,
    /// What is run before every section: the names.
    names: String,
    sections: Vec<Section>,
}

impl Page {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join(PAGE)).expect("the page");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut names = None;
        let mut sections: Vec<Section> = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at].as_str();
            at += 1;
            if let Some(situation) = line.strip_prefix("<!-- situation: ") {
                let situation = situation.strip_suffix(" -->").expect("the comment ends on its line").to_owned();
                sections.push(Section { situation, steps: Vec::new() });
            }
            let Some(language) = line.strip_prefix("```") else { continue };
            let end = at + lines[at..].iter().position(|line| line == "```").expect("the block ends");
            let block = at..end;
            at = end + 1;
            match (language, sections.last_mut()) {
                // Of the blocks before the first section, the first one; the others say what else there is.
                ("sh", None) => names = names.or(Some(lines[block].join("\n"))),
                ("sh", Some(section)) => section.steps.push(Step::Silent(lines[block].join("\n"))),
                ("console", Some(section)) => section.steps.extend(shown(&lines, block)),
                (language, _) => panic!("line {}: a block of {language:?} here", block.start),
            }
        }
        Self { lines, names: names.expect("the page spells the names"), sections }
    }

    fn prints(&self, lines: &std::ops::Range<usize>) -> String {
        self.lines[lines.clone()].iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

fn shown(lines: &[String], block: std::ops::Range<usize>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = block.start;
    while at < block.end {
        let command = lines[at].strip_prefix("$ ").unwrap_or_else(|| panic!("line {} is no command", at + 1));
        let start = at + 1;
        at = start + lines[start..block.end].iter().take_while(|line| !line.starts_with("$ ")).count();
        steps.push(Step::Shown { command: command.to_owned(), prints: start..at });
    }
    steps
}

/// What the page is looked at with: a shell in which `redis-cli` talks to the test's server.
struct Terminal {
    dir: tempfile::TempDir,
}

impl Terminal {
    fn new(redis: &RedisServer) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let real = found("redis-cli").expect("it was looked for");
        let port = redis.url().trim_end_matches('/').rsplit(':').next().expect("a port");
        // At a terminal redis-cli prints for people, into a pipe it does not.
        let script = format!(
            "#!/bin/sh\nif [ -p /dev/stdout ]; then unset FAKETTY; else FAKETTY=1; export FAKETTY; fi\nexec {} -p {port} \
             \"$@\"\n",
            real.display()
        );
        let path = dir.path().join("redis-cli");
        std::fs::write(&path, script).expect("written");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
        std::fs::write(dir.path().join("pepper"), format!("{PEPPER}\n")).expect("written");
        std::os::unix::fs::symlink(root().join("lua"), dir.path().join("lua")).expect("linked");
        Self { dir }
    }

    /// Runs a section and returns what each of its shown commands printed.
    fn run(&self, shell: &Path, names: &str, section: &Section) -> Vec<String> {
        const END: &str = "-- end of what this command prints --";
        let mut script = format!("set -u\n{names}\n");
        for step in &section.steps {
            match step {
                Step::Silent(lines) => writeln!(script, "{lines}").expect("a text"),
                Step::Shown { command, .. } => writeln!(script, "{command}\necho '{END}'").expect("a text"),
            }
        }
        let dir = self.dir.path();
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").expect("a path"));
        std::fs::write(dir.join("stdin"), format!("{TOKEN}\n{}\n", SESSIONS.join("\n"))).expect("written");
        let output = std::fs::File::create(dir.join("stdout")).expect("a file");
        let mut shell = Command::new(shell)
            .args(["-c", &script])
            .current_dir(dir)
            .env("PATH", path)
            .stdin(std::fs::File::open(dir.join("stdin")).expect("written"))
            .stderr(output.try_clone().expect("the same file"))
            .stdout(output)
            .spawn()
            .expect("a shell");
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while shell.try_wait().expect("it is a child").is_none() {
            if std::time::Instant::now() > deadline {
                shell.kill().expect("it still runs");
                panic!("the commands of {:?} do not end", section.situation);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = std::fs::read_to_string(dir.join("stdout")).expect("text");
        let mut printed: Vec<String> = output.split(&format!("{END}\n")).map(str::to_owned).collect();
        assert_eq!(printed.pop().as_deref(), Some(""), "{output}");
        printed
    }
}

/// Texts without what varies. Ids are numbered as they come.
#[derive(Default)]
struct Comparable {
    ids: HashMap<String, usize>,
}

impl Comparable {
    fn text(&mut self, text: &str) -> String {
        let mut comparable = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if !first.is_ascii_alphanumeric() {
                comparable.push(first);
                rest = &rest[first.len_utf8()..];
            } else if let Some(after) = after_span(rest) {
                comparable.push_str("<span>");
                rest = after;
            } else {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
                let word = &rest[..end];
                rest = &rest[end..];
                if word.bytes().all(|b| b.is_ascii_digit()) {
                    // Small ones are counts and fences, and have to be right.
                    comparable.push_str(if word.len() < 4 { word } else { "<number>" });
                } else if word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
                    let next = self.ids.len() + 1;
                    let id = self.ids.entry(word.to_owned()).or_insert(next);
                    write!(comparable, "<id {id}>").expect("a text");
                } else {
                    comparable.push_str(word);
                }
            }
        }
        comparable
    }
}

/// What follows a span such as `7.2 s` or `9 min 58 s`, if the text begins with one.
fn after_span(text: &str) -> Option<&str> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let mut after = None;
    let mut rest = text;
    loop {
        let number = digits(rest);
        if number == 0 {
            return after;
        }
        let Some(unit) = rest[number..].strip_prefix(' ') else { return after };
        let letters = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        if !["s", "min", "h"].contains(&&unit[..letters]) {
            return after;
        }
        after = Some(&unit[letters..]);
        rest = unit[letters..].trim_start_matches(' ');
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn found(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Whether a program is here. What is missing is said by tests/run at its end.
fn is_here(program: &str, left_out: &str) -> bool {
    if found(program).is_some() {
        return true;
    }
    support::left_out::left_out(&format!("{left_out}: {program} is not here"));
    false
}

/// Pods and callers that bring a situation about, and keep it for as long as they live.
struct Stage {
    redis: RedisServer,
    pods: Vec<RefreshCoordinator>,
    provider: Provider,
}

impl Stage {
    async fn new(pods: usize, config: &Config) -> Self {
        let redis = RedisServer::start_own(&[]).await;
        redis.in_use(&config.namespace).await;
        let mut stage = Self { redis, pods: Vec::new(), provider: Provider::held() };
        for _ in 0..pods {
            stage.pods.push(connect(&stage.redis, config).await);
        }
        stage
    }

    /// A caller that waits for a provider that does not answer.
    fn call(&self, pod: usize, refresh: Refresh, token: &str) {
        let (pod, call) = (self.pods[pod].clone(), self.provider.refresh(token));
        tokio::spawn(async move { drop(pod.refresh(refresh, call).await) });
    }

    /// A caller that gets this answer.
    async fn answered(&self, refresh: Refresh, failure: Option<ProviderFailure>) {
        let answer = move |token: &str| failure.map_or_else(|| Ok(support::provider::rotated(token)), Err);
        drop(self.pods[0].refresh(refresh, Provider::open().answering(TOKEN, answer)).await);
    }

    async fn key(&self, words: &[&str], expected: &str) {
        let key = format!("rc:{{default}}:{}", words[1]);
        let mut words = words.to_vec();
        words[1] = &key;
        self.redis.until(&words, expected).await;
    }
}

fn flight() -> String {
    format!("flight:{}", sha256(TOKEN))
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn staged(situation: &str) -> Stage {
    let default = Config::default;
    match situation {
        "one pod leads, two others wait" => {
            let stage = Stage::new(3, &default()).await;
            stage.call(0, Refresh::new(TOKEN), TOKEN);
            stage.provider.asked(1).await;
            for pod in [1, 2] {
                stage.call(pod, Refresh::new(TOKEN), TOKEN);
                stage.key(&["HLEN", &flight().replace("flight:", "waits:")], &pod.to_string()).await;
            }
            stage
        }
        "a flight has landed" => {
            let stage = Stage::new(1, &default()).await;
            stage.answered(Refresh::new(TOKEN), None).await;
            stage.key(&["HGET", &flight(), "state"], "landed").await;
            stage
        }
        "an answer is held" => {
            let stage = Stage::new(1, &default()).await;
            let body = format!(r#"{{"access_token":"a","expires_in":300,"refresh_token":"{TOKEN}"}}"#);
            let call = async |_| Ok(TokenResponse::from_json(body).expect("tokens"));
            let refresh = Refresh::new("the token before").client("app", "pw").token_from_attempt();
            stage.pods[0].refresh(refresh, call).await.expect("tokens");
            stage.key(&["HGET", &flight(), "generation"], "2").await;
            stage
        }
        "a claim presents the newest token of a login after two others, and a fourth waits" => {
            let stage = Stage::new(1, &default()).await;
            let claim =
                |scope| Refresh::new(TOKEN).client("app", "pw").parameters([("scope", scope)]).token_from_attempt();
            for (scope, next) in [("mail", "the second"), ("files", "the third")] {
                let body = format!(r#"{{"access_token":"a","expires_in":300,"refresh_token":"{next}"}}"#);
                let call = async |_| Ok(TokenResponse::from_json(body).expect("tokens"));
                stage.pods[0].refresh(claim(scope), call).await.expect("tokens");
            }
            stage.call(0, claim("calendar"), "the third");
            stage.provider.asked(1).await;
            stage.call(0, claim("contacts"), "not presented yet");
            let login = stage.redis.cli(&["HGET", &format!("rc:{{default}}:{}", flight()), "family"]).await;
            let id = login.split(' ').next().expect("an id");
            stage.key(&["ZCARD", &format!("order:{id}")], "1").await;
            stage
        }
        "a session was ended while its token is refreshed" => {
            let stage = Stage::new(2, &default()).await;
            stage.call(0, Refresh::new(TOKEN), TOKEN);
            stage.provider.asked(1).await;
            stage.pods[1].end_session(Refresh::new(TOKEN)).await.expect("ended");
            stage
        }
        "a leader has died" => {
            let stage = Stage::new(0, &default()).await;
            // Its lease is over soon; the page shows what is left then.
            let lease = Duration::from_millis(500);
            let leader =
                MortalPod::connect(stage.redis.url(), &default().with_lease(lease).with_store_timeout(lease)).await;
            let call = stage.provider.refresh(TOKEN);
            leader.spawn(|pod| async move { pod.refresh(Refresh::new(TOKEN), call).await });
            stage.provider.asked(1).await;
            leader.die();
            stage.key(&["EXISTS", &format!("lock:{}", sha256(TOKEN))], "0").await;
            stage
        }
        "a session has refreshed too often, another one is limited by the provider" => {
            let stage = Stage::new(1, &default().with_max_refresh_attempts(2)).await;
            let [ann, bob] = SESSIONS;
            for token in ["ann's first", "ann's second", "ann's third"] {
                stage.answered(Refresh::new(token).session(ann), None).await;
            }
            let limited = ProviderFailure::busy(Some(Duration::from_secs(200)))
                .with_response(ProviderResponse::new(429, Vec::new()));
            stage.answered(Refresh::new("bob's").session(bob), Some(limited)).await;
            // Those of a cooldown, and how long it is held.
            for (session, fields) in [(ann, "5"), (bob, "1")] {
                stage.key(&["HLEN", &format!("attempts:{}", sha256(session))], fields).await;
            }
            stage
        }
        "two permits are out, two flights queue" => {
            // So long that no renewal changes the order while the section runs.
            let (lease, budget_wait) = (Duration::from_secs(60), Some(Duration::from_secs(30)));
            let config = default().with_max_concurrent_refreshes(2).with_budget_wait(budget_wait).with_lease(lease);
            let stage = Stage::new(2, &config).await;
            for (pod, token) in [(0, "first"), (1, "second")] {
                stage.call(pod, Refresh::new(token), token);
                stage.provider.asked(pod + 1).await;
                // Another ms: what ends at the same time is in no order.
                stage.redis.wait(Duration::from_millis(2)).await;
            }
            for (pod, token) in [(0, "third"), (1, "fourth")] {
                stage.call(pod, Refresh::new(token), token);
                stage.redis.until_queued("rc:{default}:queue", pod + 1).await;
            }
            stage
        }
        "the provider fails and the circuit is open" => {
            let stage = Stage::new(1, &default()).await;
            for token in ["first", "second", "third"] {
                stage.answered(Refresh::new(token), Some(ProviderFailure::unknown("502"))).await;
            }
            stage.key(&["HGET", "circuit", "state"], "open").await;
            stage
        }
        "the circuit is half-open and a probe is out" => {
            let breaker = Breaker::default().with_max_failures(1).with_open_duration(Duration::from_secs(1));
            let stage = Stage::new(1, &default().with_breaker(breaker)).await;
            stage.answered(Refresh::new("first"), Some(ProviderFailure::unknown("502"))).await;
            stage.redis.wait(breaker.open_duration).await;
            stage.call(0, Refresh::new(TOKEN), TOKEN);
            stage.provider.asked(1).await;
            stage
        }
        "Redis was emptied under a leader" => {
            let lease = Duration::from_secs(6);
            let stage = Stage::new(1, &default().with_lease(lease)).await;
            stage.call(0, Refresh::new(TOKEN), TOKEN);
            stage.provider.asked(1).await;
            stage.redis.cli(&["FLUSHALL"]).await;
            stage.key(&["EXISTS", "incarnation"], "1").await;
            stage
        }
        "pods that go by different settings" => {
            let config = default().with_upstream("login.example");
            let mut stage = Stage::new(1, &config).await;
            stage.pods.push(connect(&stage.redis, &config.with_lease(Duration::from_secs(20))).await);
            stage
        }
        "pods that take tokens for reusable" => {
            let stage = Stage::new(1, &default().with_refresh_tokens(RefreshTokens::Reusable)).await;
            for (asked, scope) in ["read", "write"].into_iter().enumerate() {
                stage.call(0, Refresh::new(TOKEN).parameters([("scope", scope)]), TOKEN);
                stage.provider.asked(asked + 1).await;
            }
            stage
        }
        "pods with a pepper" => {
            let stage = Stage::new(1, &default().with_pepper(PEPPER)).await;
            stage.call(0, Refresh::new(TOKEN), TOKEN);
            stage.provider.asked(1).await;
            stage
        }
        other => panic!("nobody knows how to bring about: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_prints_what_the_page_says() {
    if !is_here("redis-cli", "docs/redis-cli.md is not tried") {
        return;
    }
    let page = Page::read();
    let mut seen = Vec::new();
    let mut differences = String::new();

    for section in &page.sections {
        if section.situation == "pods with a pepper" && !is_here("openssl", "names under a pepper are not tried") {
            continue;
        }
        let stage = staged(&section.situation).await;
        let terminal = Terminal::new(&stage.redis);
        for shell in ["sh", "bash"].into_iter().filter_map(found) {
            let printed = terminal.run(&shell, &page.names, section);

            let (mut page_says, mut shell_says) = (Comparable::default(), Comparable::default());
            let shown = section.steps.iter().filter_map(|step| match step {
                Step::Silent(_) => None,
                Step::Shown { command, prints } => Some((command, prints)),
            });
            for ((command, lines), printed) in shown.zip(printed) {
                let expected = page.prints(lines);
                if page_says.text(&expected) != shell_says.text(&printed) {
                    let (line, shell) = (lines.start, shell.display());
                    writeln!(
                        differences,
                        "{PAGE}:{line}, {}, {shell}\n$ {command}\nthe page says\n{expected}it prints\n{printed}",
                        section.situation
                    )
                    .expect("a text");
                }
                seen.push((lines.clone(), printed));
            }
        }
    }

    if std::env::var_os("WRITE_PAGE").is_some() {
        write(page, seen);
    } else {
        assert!(differences.is_empty(), "\n{differences}");
    }
}

fn write(page: Page, mut seen: Vec<(std::ops::Range<usize>, String)>) {
    let mut lines = page.lines;
    // From the end, so that the numbers of lines stay right.
    seen.sort_by_key(|(lines, _)| std::cmp::Reverse(lines.start));
    seen.dedup_by_key(|(lines, _)| lines.start);
    for (range, printed) in seen {
        lines.splice(range, printed.lines().map(str::to_owned));
    }
    std::fs::write(root().join(PAGE), lines.join("\n") + "\n").expect("written");
}
