//! What a Redis server is sent, by MONITOR: every command of every client, and what scripts call inside, told apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_util::task::AbortOnDropHandle;

pub use self::line::Sent;
use super::redis::RedisServer;
use super::wait::until;

mod line;

/// Listens from its start until it is dropped.
pub struct Monitor {
    lines: Arc<Mutex<Vec<String>>>,
    _listener: AbortOnDropHandle<()>,
}

impl Monitor {
    pub async fn start(redis: &RedisServer) -> Self {
        let mut heard = line::listen(redis.url()).await;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        let listener = tokio::spawn(async move {
            while let Ok(Some(line)) = heard.next_line().await {
                log.lock().expect("not poisoned").push(line);
            }
        });
        Self { lines, _listener: AbortOnDropHandle::new(listener) }
    }

    /// Waits until everything that was sent before this call has been heard.
    pub async fn caught_up(&self, redis: &RedisServer) {
        let mark = format!("caught-up-{}", uuid::Uuid::new_v4().simple());
        until("the monitor has caught up", async || {
            redis.cli(&["ECHO", &mark]).await;
            self.lines.lock().expect("not poisoned").iter().any(|line| line.contains(&mark))
        })
        .await;
    }

    /// The lines as they came.
    pub fn text(&self) -> String {
        self.lines.lock().expect("not poisoned").join("\n")
    }

    /// Where the log stands: what comes later is `since` this.
    pub fn mark(&self) -> usize {
        self.lines.lock().expect("not poisoned").len()
    }

    /// Everything the pods of a namespace have sent since a mark, by pod, without what scripts call inside. Pods are
    /// known by the name they give their connections, so what a reconnecting pod sends is its own, too.
    pub fn sent_since(&self, mark: usize, namespace: &str) -> HashMap<String, Vec<Sent>> {
        let all: Vec<Option<Sent>> =
            self.lines.lock().expect("not poisoned").iter().map(|line| Sent::read(line)).collect();
        let prefix = format!("refresh-coordinator:{namespace}:");
        let mut pods = HashMap::new();
        for sent in all.iter().flatten() {
            if let [command, action, name] = sent.words.as_slice()
                && command.eq_ignore_ascii_case(b"client")
                && action.eq_ignore_ascii_case(b"setname")
                && let Some(pod) = String::from_utf8_lossy(name).strip_prefix(&prefix)
            {
                pods.insert(sent.by.clone(), pod.to_owned());
            }
        }
        let mut by_pod: HashMap<String, Vec<Sent>> = HashMap::new();
        for sent in all.into_iter().skip(mark).flatten() {
            if let Some(pod) = pods.get(&sent.by) {
                by_pod.entry(pod.clone()).or_default().push(sent);
            }
        }
        by_pod
    }
}

impl Sent {
    /// `evalsha begin`, `subscribe`: the command, and for a script its name. A script is known by the numbers of its
    /// keys and arguments, as it looks at them first.
    pub fn name(&self) -> String {
        let command = String::from_utf8_lossy(&self.words[0]).to_lowercase();
        if command != "evalsha" {
            return command;
        }
        // A script that nobody has: at start each right is tried.
        if self.words[1].iter().all(|digit| *digit == b'0') {
            return "evalsha of none".to_owned();
        }
        let keys: usize = String::from_utf8_lossy(&self.words[2]).parse().expect("a number of keys");
        let arguments = self.words.len() - 3 - keys;
        let named = self.words[3..3 + keys].iter().map(|key| String::from_utf8_lossy(key).into_owned());
        format!("{command} {}", script(&named.collect::<Vec<_>>(), arguments))
    }
}

/// The script with this signature. `circuit` and `look` are those that are given keys of that kind only, whatever their number.
fn script(named: &[String], arguments: usize) -> String {
    let keys = named.len();
    let are_all = |kind: &str| named.iter().all(|key| key.contains(kind));
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/lua");
    let mut names = Vec::new();
    for file in std::fs::read_dir(dir).expect("lua/").map(|file| file.expect("a file").path()) {
        if file.extension().is_none_or(|extension| extension != "lua") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a script");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let fits = if name == "look" {
            keys == arguments && are_all(":lock:")
        } else {
            // Some may be called with and without what belongs to a chain, or to a login of several claims.
            let counts = format!("#KEYS == {keys} and #ARGV == {arguments}");
            let has_counts = |line: &str| {
                line.ends_with(&counts) || [",", ")"].iter().any(|end| line.contains(&(counts.clone() + end)))
            };
            text.lines().any(|line| !line.starts_with("--") && has_counts(line))
        };
        if fits {
            names.push(name);
        }
    }
    if names.len() > 1 {
        let is_circuit = are_all(":circuit");
        let is_complete = named.iter().any(|key| key.contains(":attempts:"));
        names.retain(|name| (name == "circuit") == is_circuit && (name == "complete") == is_complete);
    }
    match names.as_slice() {
        [name] => name.clone(),
        _ => panic!("{keys} keys and {arguments} arguments fit {names:?}"),
    }
}
