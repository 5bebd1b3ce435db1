//! One typed function per script: its arguments go in by name, its reply comes out decoded.
//!
//! Each file here is a script of `lua/` and has its name. It holds the one function that puts the arguments in the order of
//! the script's head, and the one that reads the reply: where a script changes, one file here does, and nobody outside
//! builds a call or knows a word of a reply.

use std::sync::Arc;

use self::reply::Reply;
use super::broken_keys::BrokenKeys;
use super::call::Call;
use super::failed::TimeLeft;
use super::keys::Keys;
use super::lanes::Lanes;
use super::outage::Outage;
use super::pubsub::PubSub;
use super::scripts::{Scripts, settings};
use super::taken_rights::TakenRights;
use crate::config::Config;
use crate::store::contract::StoreError;

// What a flight asks, then what is asked beside the flights, then at start.
pub(super) mod begin;
mod renew;
pub(super) mod complete;
mod abandon;
pub(super) mod follow;
pub(super) mod land_family;
pub(super) mod look;
pub(super) mod reap;
mod circuit;
mod snapshot;
pub(super) mod tip;
pub(super) mod tell;
pub(super) mod end;
pub(super) mod ready;
pub(super) mod preflight;
pub(super) mod meta;

mod reply;
mod rules;
pub(super) mod words;

/// The scripts as one pod calls them.
pub(super) struct Calls {
    pod: String,
    lanes: Arc<Lanes>,
    faults: Faults,
    scripts: Scripts,
    keys: Arc<Keys>,
    config: Arc<Config>,
    /// What `begin` and `complete` are told of the configuration. Packed once, not for every flight.
    begin_settings: Vec<u8>,
    complete_settings: Vec<u8>,
}

/// What is noted of calls that got no answer.
pub(super) struct Faults {
    pub(super) outage: Arc<Outage>,
    pub(super) broken_keys: Arc<BrokenKeys>,
    pub(super) taken_rights: Arc<TakenRights>,
}

impl Calls {
    pub(super) fn new(
        pod: &str,
        lanes: Arc<Lanes>,
        faults: Faults,
        keys: Arc<Keys>,
        config: Arc<Config>,
        pubsub: PubSub,
    ) -> Self {
        Self {
            pod: pod.to_owned(),
            lanes,
            faults,
            scripts: Scripts::new(pubsub),
            keys,
            begin_settings: settings::BEGIN.packed(&config),
            complete_settings: settings::COMPLETE.packed(&config),
            config,
        }
    }

    pub(super) fn pod(&self) -> &str {
        &self.pod
    }

    /// Sends a call until it is answered. The script's name is told where its reply is not understood.
    async fn run(&self, script: &'static str, call: &Call<'_>) -> Result<Reply, StoreError> {
        let answered = self.lanes.run(call).await;
        if let Err(unanswered) = &answered
            && unanswered.time_left == TimeLeft::None
        {
            self.faults.outage.begin(&unanswered.error.reason);
        }
        match answered {
            Ok(reply) => Ok(Reply::new(script, reply)),
            Err(unanswered) if unanswered.is_wrong => {
                Err(Box::pin(self.faults.broken_keys.search(script, call, unanswered)).await)
            }
            Err(unanswered) => {
                self.faults.taken_rights.note(&unanswered.error.reason);
                Err(unanswered.error)
            }
        }
    }

    /// A leader of this pod, as it stands in the lock.
    fn owner(&self, fence: u64) -> String {
        format!("{}/{fence}/{}", self.pod, words::ms(self.config.lease))
    }
}
