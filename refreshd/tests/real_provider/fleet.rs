//! Three pods, and callers spread over them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::daemon::{Daemon, FORM, client};
use crate::provider::Provider;
use crate::redis::RedisServer;
use crate::within;

pub(crate) const CALLERS: usize = 50;

pub(crate) struct Fleet {
    pods: Vec<Daemon>,
    redis: RedisServer,
}

/// A token request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    client: (String, String),
    form: Vec<(String, String)>,
}

/// An answer, as a caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) www_authenticate: Option<String>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: String,
}

impl Fleet {
    /// With these flags of `refreshd serve`, in a namespace of this name.
    pub(crate) async fn start(provider: &Provider, namespace: &str, flags: &[&str]) -> Self {
        let redis = RedisServer::start().await;
        // A given Redis may hold what an earlier run left there.
        let namespace = format!("{namespace}-{}", std::process::id());
        redis.in_use(&namespace).await;
        let flags = [&["--redis", redis.url(), "--namespace", &namespace], flags].concat();
        let pods = join_all((0..3).map(|_| Daemon::start(provider, &flags))).await;
        Self { pods, redis }
    }

    /// All callers at once, spread over the pods.
    pub(crate) fn ask(&self, request: &Request, callers: usize) -> Vec<JoinHandle<Answer>> {
        let caller = |number: usize| tokio::spawn(request.clone().send(self.url(number)));
        (0..callers).map(caller).collect()
    }

    pub(crate) async fn answers(&self, request: &Request, callers: usize) -> Vec<Answer> {
        answers(self.ask(request, callers)).await
    }

    /// One caller, which comes again as often and as late as told.
    pub(crate) async fn insist(&self, request: &Request) -> Answer {
        within(async {
            loop {
                let answer = request.clone().send(self.url(0)).await;
                let Some(seconds) = answer.retry_after else { return answer };
                sleep(Duration::from_secs(seconds)).await;
            }
        })
        .await
    }

    /// Waits until Redis' clock is later by so much.
    pub(crate) async fn wait(&self, span: Duration) {
        self.redis.wait(span).await;
    }

    /// The sum of a counter over all pods.
    pub(crate) async fn sum(&self, counter: &str) -> usize {
        let count = async |pod: &Daemon| {
            let (_, metrics) = pod.get("/metrics").await;
            let line = metrics.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {counter} in {metrics}")).parse::<usize>().expect("a number")
        };
        join_all(self.pods.iter().map(count)).await.into_iter().sum()
    }

    /// Waits until so many callers have reached the coordinators.
    pub(crate) async fn has_callers(&self, callers: usize) {
        until(async || self.sum("refreshd_callers_total").await == callers).await;
    }

    /// A logout at this pod.
    pub(crate) async fn revoke(&self, pod: usize, token: &str) -> Answer {
        let form = [("token", token), ("token_type_hint", "refresh_token")];
        Request::new("app", &form).send(self.pods[pod].url("/revoke")).await
    }

    pub(crate) fn url(&self, number: usize) -> String {
        self.pods[number % self.pods.len()].url("/token")
    }
}

impl Request {
    pub(crate) fn new(client: &str, form: &[(&str, &str)]) -> Self {
        let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { client: (client.to_owned(), format!("{client}-secret")), form }
    }

    /// As the client the tokens are made for.
    pub(crate) fn refresh(token: &str) -> Self {
        Self::new("app", &[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    pub(crate) fn client(mut self, client: &str, secret: &str) -> Self {
        self.client = (client.to_owned(), secret.to_owned());
        self
    }

    pub(crate) fn scope(mut self, scope: &str) -> Self {
        self.form.push(("scope".to_owned(), scope.to_owned()));
        self
    }

    /// On a connection of its own.
    pub(crate) async fn send(self, url: String) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.form).finish();
        let (name, secret) = self.client;
        let request = client().post(url).basic_auth(name, Some(secret)).header("content-type", FORM).body(body);
        let answer = within(request.send()).await.expect("an answer");
        let header = |name| Some(answer.headers().get(name)?.to_str().expect("ASCII").to_owned());
        Answer {
            status: answer.status().as_u16(),
            content_type: header("content-type"),
            www_authenticate: header("www-authenticate"),
            retry_after: header("retry-after").map(|seconds| seconds.parse().expect("seconds")),
            body: within(answer.text()).await.expect("text"),
        }
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let fields: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(fields.get(name)?.as_str()?.to_owned())
    }

    /// Without what is allowed to differ: a latecomer more than a second late gets `expires_in` less the age.
    pub(crate) fn ageless(&self) -> Self {
        let (before, after) = self.body.split_once(r#""expires_in":"#).expect("the provider tells it");
        let body = format!("{before}{}", after.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()));
        Self { body, ..self.clone() }
    }
}

pub(crate) async fn answers(callers: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(callers).await.into_iter().map(|answer| answer.expect("no panic")).collect()
}

/// Waits for something that can only be looked at.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    within(async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
