//! A key for each result, at which everybody looks.

use redis::aio::MultiplexedConnection;
use refresh_coordinator::TokenResponse;

/// The results, by a connection of this process.
#[derive(Clone)]
pub(crate) struct Results(MultiplexedConnection);

impl Results {
    pub(super) async fn connect(url: &str) -> Self {
        let client = redis::Client::open(url).expect("a redis URL");
        Self(client.get_multiplexed_async_connection().await.expect("redis is there"))
    }

    /// The connection, for a peer that has more to ask.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.0.clone()
    }

    pub(super) async fn get(&self, token: &str) -> Option<String> {
        let mut get = redis::cmd("GET");
        get.arg(key(token));
        get.query_async(&mut self.connection()).await.expect("an answer")
    }

    /// As long as the coordinator keeps an outcome.
    pub(super) async fn set(&self, token: &str, result: &str) {
        let mut set = redis::cmd("SET");
        set.arg(key(token)).arg(result).arg("PX").arg(30_000);
        set.query_async::<()>(&mut self.connection()).await.expect("kept");
    }
}

pub(super) fn key(token: &str) -> String {
    format!("result:{token}")
}

pub(super) fn tokens(result: String) -> TokenResponse {
    TokenResponse::from_json(result).expect("tokens")
}
