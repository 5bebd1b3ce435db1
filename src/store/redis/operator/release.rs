//! Gives back what a lost flight holds. What is safe is judged by `lua/release.lua`, in the same step.

use std::time::Duration;

use super::{Operator, READ, RedisName};
use crate::error::ConnectError;

/// What a flight holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold {
    /// The leader, `<pod>/<fence>/<lease in ms>`.
    pub owner: String,
    /// Whether it may live.
    pub leader: Leader,
    /// What is left of its lease, in words; none where that is over.
    pub lease: Option<String>,
    /// What is left of its permit.
    pub permit: Option<Duration>,
    /// What is left of its probe of a half-open circuit.
    pub probe: Option<Duration>,
    /// How many pods wait for it.
    pub waiting: u64,
}

/// Whether a leader may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Its pod listens, or cannot be asked for, or it has renewed its lease within the last two thirds of that. It may be
    /// asking the provider now.
    MayLive {
        /// How many connections listen for its pod; none where that cannot be asked.
        listeners: Option<u64>,
    },
    /// Nobody listens for its pod, and two renewals are missing. One that is cut off from Redis looks the same.
    Silent,
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// All of it is over.
    Over,
    /// The leader may live: nothing was changed.
    LeaderMayLive,
    /// Another leader has the flight, or nobody: nothing was changed.
    Changed,
}

impl Operator {
    /// What a flight holds: none where that is nothing. Changes nothing; the leader's pod is told to look at the flight, which
    /// shows whether anybody listens.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect). The user needs the rights of a pod.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn hold_of(&mut self, flight: RedisName) -> Result<Option<Hold>, ConnectError> {
        let Reply { word, hold } = self.run_release(flight, "look", "").await?;
        Ok((word != "free").then_some(hold))
    }

    /// Ends lease, permit and probe of a flight that has lost its leader, as it was looked at before. What is known of the token
    /// stays: it is presented again as after any lost leader, by `retry_lost_after` and `uncertain`.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect).
    ///
    /// # Cancellation
    ///
    /// It may have happened.
    pub async fn release(&mut self, flight: RedisName, hold: &Hold) -> Result<Released, ConnectError> {
        self.run_release(flight, "release", &hold.owner).await.map(|reply| reply.released())
    }

    /// As [`release`](Self::release), also where the leader may live.
    ///
    /// **If it lives, its token may be presented twice**, and the provider may take that for theft.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect).
    ///
    /// # Cancellation
    ///
    /// It may have happened.
    pub async fn release_from_living(&mut self, flight: RedisName, hold: &Hold) -> Result<Released, ConnectError> {
        self.run_release(flight, "force", &hold.owner).await.map(|reply| reply.released())
    }

    async fn run_release(&mut self, flight: RedisName, act: &str, owner: &str) -> Result<Reply, ConnectError> {
        let script = include_str!("../../../../lua/release.lua");
        let script = script.replace("'PUBLISH'", &format!("'{}'", self.pubsub.publish()));
        let rule = format!("{READ} +del +zadd +hdel +{}", self.pubsub.publish().to_lowercase());
        let RedisName(name) = &flight;
        let keys = [
            self.keys.lock(name).to_string(),
            self.keys.flight(name).to_string(),
            self.keys.permits().to_owned(),
            self.keys.queue().to_owned(),
            self.keys.circuit().to_owned(),
        ];
        let arguments = [name.to_string(), self.keys.channels().to_owned(), act.to_owned(), owner.to_owned()];
        let told: (String, String, String, String, String, u64, String) =
            self.ask(&script, &keys, &arguments, &rule).await?;
        let (word, owner, lease, permit, probe, waiting, listeners) = told;
        let span = |ms: &str| ms.parse().ok().map(Duration::from_millis);
        let lease = match &*lease {
            "none" => None,
            "endless" => Some("without an end".to_owned()),
            ms => Some(format!("for {:.1} s more", span(ms).unwrap_or_default().as_secs_f64())),
        };
        let leader = match &*word {
            "lives" => Leader::MayLive { listeners: listeners.parse().ok() },
            _ => Leader::Silent,
        };
        let hold = Hold { owner, leader, lease, permit: span(&permit), probe: span(&probe), waiting };
        Ok(Reply { word, hold })
    }
}

struct Reply {
    word: String,
    hold: Hold,
}

impl Reply {
    fn released(&self) -> Released {
        match &*self.word {
            "released" => Released::Over,
            "lives" => Released::LeaderMayLive,
            _ => Released::Changed,
        }
    }
}
