//! Whether replicas have what was written (`wait_replicas`): asked by WAIT, which blocks the connection that it is sent over, so
//! over one that carries nothing else.
//!
//! WAIT counts the replicas that have all that the server had written when the command before it ran on that connection. That
//! command reads the last fence: a server that does not know the fence of a lead is not the one that gave it. One question
//! answers for all flights that had written before it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{AsyncConnectionConfig, RedisError};
use tokio::sync::oneshot;

use super::keys::Keys;
use super::lanes::Lanes;
use super::node_lanes::{NodeLanes, Waits};
use crate::config::Config;

pub(super) struct Replicas {
    lanes: Arc<Lanes>,
    keys: Arc<Keys>,
    wanted: u32,
    /// How long a write is waited for, connecting included.
    timeout: Duration,
    /// Flights whose writes the next question is about.
    waiting: Mutex<Vec<oneshot::Sender<Answer>>>,
}

/// The last fence that the server knows, and how many replicas have what it knows; or what kept it from saying so.
type Answer = Result<(u64, u32), String>;

impl Replicas {
    pub(super) fn new(lanes: Arc<Lanes>, keys: Arc<Keys>, config: &Config) -> Self {
        Self { lanes, keys, wanted: config.wait_replicas, timeout: config.store_timeout, waiting: Mutex::default() }
    }

    /// Waits until as many replicas as are wanted have all that was written before, by a server that knows this fence.
    ///
    /// # Errors
    ///
    /// In words, why they do not have it, or not in time.
    pub(super) async fn have(&self, fence: u64) -> Result<(), String> {
        if self.wanted == 0 {
            return Ok(());
        }
        let answered = tokio::time::timeout(self.timeout, Box::pin(self.answer())).await;
        let (known, replicas) = answered.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)))?;
        if replicas < self.wanted {
            return Err(format!("{replicas} replicas have it in time, and {} are wanted (wait_replicas)", self.wanted));
        }
        if known < fence {
            return Err("another server answers than gave the lead".to_owned());
        }
        Ok(())
    }

    /// Of a question that is asked from here on: by this flight, or by one that came later and had its turn earlier.
    async fn answer(&self) -> Answer {
        loop {
            let (tell, mut told) = oneshot::channel();
            self.waiting().push(tell);
            let node = self.lanes.node().ok_or_else(|| "no node is known".to_owned())?;
            let mut turn = tokio::select! {
                biased;
                answer = &mut told => match answer {
                    Ok(answer) => return answer,
                    // The flight that asked was cancelled.
                    Err(_) => continue,
                },
                turn = node.waits.lock() => turn,
            };
            let waiting = std::mem::take(&mut *self.waiting());
            let answer = self.ask(&node, &mut turn).await.map_err(|error| error.to_string());
            for flight in waiting {
                // One that waits no more needs nothing.
                _ = flight.send(answer.clone());
            }
            return answer;
        }
    }

    async fn ask(&self, node: &NodeLanes, held: &mut Waits) -> Result<(u64, u32), RedisError> {
        let mut both = redis::pipe();
        // Half of the time: the other half is for the answer, and for a connection.
        both.cmd("GET").arg(self.keys.fence());
        both.cmd("WAIT").arg(self.wanted).arg((self.timeout.as_millis() / 2).max(1) as u64);
        let epoch = node.epoch();
        // Taken out: one whose answer is not waited for any more is blocked, and is not to be used again.
        if let Some((made, mut connection)) = held.take().filter(|(made, _)| *made == epoch) {
            let answer: Result<(Option<u64>, u32), _> = both.query_async(&mut connection).await;
            match answer {
                Ok((fence, replicas)) => {
                    *held = Some((made, connection));
                    return Ok((fence.unwrap_or(0), replicas));
                }
                Err(error) if error.code().is_some() => return Err(error),
                // It has ended since it was used last.
                Err(_) => {}
            }
        }
        let mut connection = node.connect(AsyncConnectionConfig::new(), None).await?;
        let (fence, replicas): (Option<u64>, u32) = both.query_async(&mut connection).await?;
        *held = Some((epoch, connection));
        Ok((fence.unwrap_or(0), replicas))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<oneshot::Sender<Answer>>> {
        self.waiting.lock().expect("BUG: nothing panics with this lock held")
    }
}
