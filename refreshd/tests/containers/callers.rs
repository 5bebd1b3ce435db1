//! Sessions that rotate without end. Each has three tabs, one at each pod, which present the same refresh token together,
//! and the next one as soon as one of them was given it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::compose::{PODS, Project};
use crate::faults::Fault;
use crate::judge::{Provider, client};

const SESSIONS: usize = 6;

/// Longer than the `wait_timeout` of 8 s: a caller that is not answered by then hangs. One of a pod that is paused or cut
/// off does; it is asked again at another.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// After the fault is over: a lease in which Redis recovers, the wait for a lost leader, an answer.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct Callers {
    /// How many rotations each session has seen.
    rotations: Vec<watch::Receiver<u64>>,
    said: Arc<Mutex<Said>>,
    sessions: Vec<JoinHandle<()>>,
}

/// What callers were told since the last fault.
#[derive(Default)]
struct Said {
    answers: BTreeMap<String, u64>,
    batches: Vec<usize>,
    /// Sessions that had to log in again.
    lost: usize,
    /// Callers that were not answered: hung, cut off, or not connected.
    unanswered: usize,
    /// Answers that no caller should ever get.
    wrong: Vec<String>,
}

/// How long after the end of a fault the first and the last session were served anew, and what was answered meanwhile.
pub(crate) struct Recovery {
    first: Duration,
    last: Duration,
    answers: BTreeMap<String, u64>,
}

enum Answer {
    Tokens(String),
    ComeAgain(Duration),
    Over,
    Unanswered,
}

impl Callers {
    pub(crate) async fn start(project: &Project, provider: &Provider) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let urls: Vec<String> = (0..PODS).map(|pod| project.token_url(pod)).collect();
        let mut rotations = Vec::new();
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let (counted, count) = watch::channel(0);
            let (urls, said, provider) = (urls.clone(), Arc::clone(&said), provider.clone());
            rotations.push(count);
            sessions.push(tokio::spawn(session(urls, provider, said, counted)));
        }
        Self { rotations, said, sessions }
    }

    /// Waits until every session rotates twice more: the first may have been under way.
    pub(crate) async fn all_served_again(&mut self) -> Recovery {
        let start = Instant::now();
        let (mut first, mut last) = (None, Duration::ZERO);
        let mut waits: FuturesUnordered<_> = self
            .rotations
            .iter_mut()
            .map(async |count| {
                let before = *count.borrow();
                let served = tokio::time::timeout(SERVED_WITHIN, count.wait_for(|count| *count >= before + 2)).await;
                assert!(served.is_ok_and(|counted| counted.is_ok()), "a session is not served again");
                start.elapsed()
            })
            .collect();
        while let Some(served) = waits.next().await {
            first.get_or_insert(served);
            last = served;
        }
        let answers = std::mem::take(&mut self.said.lock().expect("no panic").answers);
        Recovery { first: first.unwrap_or_default(), last, answers }
    }

    /// Who has no answer by now is of the fault before: sessions are served again by others before a pod that was killed is back.
    pub(crate) fn count_anew(&self) {
        self.said.lock().expect("no panic").unanswered = 0;
    }

    /// What was wrong since the last fault.
    pub(crate) fn judge(&self, fault: &Fault) {
        let mut said = self.said.lock().expect("no panic");
        assert!(said.wrong.is_empty(), "{fault}: {:?}", said.wrong);
        let most = if fault.loses_leaders() { SESSIONS } else { 0 };
        assert!(said.lost <= most, "{fault}: {} sessions had to log in again", said.lost);
        let most = if fault.silences_callers() { usize::MAX } else { 0 };
        assert!(said.unanswered <= most, "{fault}: {} callers were left without an answer", said.unanswered);
        (said.lost, said.unanswered) = (0, 0);
    }

    /// Every login there was.
    pub(crate) fn batches(self) -> Vec<usize> {
        for session in &self.sessions {
            session.abort();
        }
        std::mem::take(&mut self.said.lock().expect("no panic").batches)
    }
}

/// Logs in, rotates, and logs in again when it has to.
async fn session(urls: Vec<String>, provider: Provider, said: Arc<Mutex<Said>>, counted: watch::Sender<u64>) {
    let http = client(ANSWERED_WITHIN);
    loop {
        let (batch, mut token) = provider.login().await;
        said.lock().expect("no panic").batches.push(batch);
        while let Some(next) = rotated(&http, &urls, &token, &said).await {
            token = next;
            counted.send_modify(|count| *count += 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        said.lock().expect("no panic").lost += 1;
    }
}

/// Presents a token at all pods until one answers with its successor. None when the session is over.
async fn rotated(http: &reqwest::Client, urls: &[String], token: &str, said: &Mutex<Said>) -> Option<String> {
    loop {
        let mut tabs: FuturesUnordered<_> = urls.iter().map(|url| present(http, url, token, said)).collect();
        let (mut pause, mut is_over) = (Duration::from_millis(200), false);
        while let Some(answer) = tabs.next().await {
            match answer {
                // The other tabs go away, as tabs do; what they asked for goes on.
                Answer::Tokens(next) => return Some(next),
                Answer::ComeAgain(after) => pause = after,
                Answer::Over => is_over = true,
                Answer::Unanswered => {}
            }
        }
        if is_over {
            return None;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn present(http: &reqwest::Client, url: &str, token: &str, said: &Mutex<Said>) -> Answer {
    let form = "application/x-www-form-urlencoded";
    let body = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    let answer = match http.post(url).header("content-type", form).body(body).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let how = if error.is_timeout() { "hangs" } else { "no connection" };
            return said.lock().expect("no panic").unanswered(how);
        }
    };
    let status = answer.status().as_u16();
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let Ok(body) = answer.bytes().await else {
        return said.lock().expect("no panic").unanswered("cut off");
    };
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut said = said.lock().expect("no panic");
    said.count(&status.to_string());
    match (status, after, body["refresh_token"].as_str(), body["error"].as_str()) {
        (200, _, Some(next), _) if next != token => Answer::Tokens(next.to_owned()),
        // A second is the least that can be said.
        (429 | 503, Some(after), ..) => Answer::ComeAgain(Duration::from_secs(after).min(Duration::from_secs(2))),
        (400, _, _, Some("invalid_grant")) => Answer::Over,
        _ => {
            said.wrong.push(format!("{status}, Retry-After {after:?}, error {:?}", body["error"].as_str()));
            Answer::Unanswered
        }
    }
}

impl Said {
    fn unanswered(&mut self, how: &str) -> Answer {
        self.count(how);
        self.unanswered += 1;
        Answer::Unanswered
    }

    fn count(&mut self, answer: &str) {
        *self.answers.entry(answer.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.as_secs_f64(), self.last.as_secs_f64());
        write!(f, "all sessions on in {first:.1} to {last:.1} s; answers")?;
        self.answers.iter().try_for_each(|(answer, count)| write!(f, " {answer}: {count}"))
    }
}
