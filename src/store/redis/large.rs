//! Answers that are too large to be shared over Redis: the pod of the leader that was given one hands it on itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::sealed::SealedOutcome;
use crate::identity::Hash;

/// So many bytes of sealed answers: the oldest give way.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Sealed as they would stand in Redis: who is not entitled cannot open them here either.
#[derive(Debug, Default)]
pub(super) struct LargeAnswers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<LargeAnswer>,
    bytes: usize,
}

#[derive(Debug)]
struct LargeAnswer {
    flight: Hash,
    attempt: Uuid,
    fence: u64,
    until: Instant,
    bytes: Arc<[u8]>,
}

impl LargeAnswers {
    /// Keeps one for as long as it is fresh.
    pub(super) fn keep(&self, flight: Hash, attempt: Uuid, fence: u64, bytes: Vec<u8>, fresh: Duration) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { answers, bytes: all } = &mut *kept;
        answers.retain(|answer| now < answer.until && (answer.flight, answer.fence) != (flight, fence));
        answers.push_back(LargeAnswer { flight, attempt, fence, until: now + fresh, bytes: bytes.into() });
        *all = answers.iter().map(|answer| answer.bytes.len()).sum();
        while *all > MOST_BYTES
            && let Some(oldest) = answers.pop_front()
        {
            *all -= oldest.bytes.len();
        }
    }

    /// What the outcome in Redis stands for, if this pod has it.
    pub(super) fn whole(&self, flight: &Hash, sealed: &SealedOutcome) -> Option<SealedOutcome> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (flight, sealed.attempt, sealed.fence);
        let now = Instant::now();
        let found = kept
            .answers
            .iter()
            .find(|answer| (&answer.flight, answer.attempt, answer.fence) == of && now < answer.until)?;
        Some(SealedOutcome { bytes: Arc::clone(&found.bytes), ..sealed.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fence: u64) -> SealedOutcome {
        let age = Duration::ZERO;
        SealedOutcome { fence, attempt: Uuid::from_u128(1), age, bytes: Arc::from(&b"too large"[..]) }
    }

    #[tokio::test(start_paused = true)]
    async fn answer_is_there_while_it_is_fresh_and_within_bounds() {
        let (large, flight, fresh) = (LargeAnswers::default(), Hash::unkeyed("t"), Duration::from_secs(30));
        let attempt = Uuid::from_u128(1);
        let is_there = |fence| large.whole(&flight, &sealed(fence)).is_some();

        large.keep(flight, attempt, 1, vec![0; 1000], fresh);
        assert!(is_there(1) && !is_there(2));
        assert!(large.whole(&Hash::unkeyed("u"), &sealed(1)).is_none());

        large.keep(flight, attempt, 2, vec![0; MOST_BYTES], fresh);
        assert!(!is_there(1) && is_there(2), "the oldest gives way");

        tokio::time::advance(fresh).await;
        assert!(!is_there(2));
    }
}
