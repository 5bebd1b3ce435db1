//! What a script replies: a word, and what belongs to it. Where every refresh or pod is told it, in one string with spaces between:
//! a table costs Redis as much as a small call.
//!
//! An unknown word is an error of this crate or of a fleet that mixes protocols, and is told as an outage rather than
//! guessed at.

use std::time::Duration;

use redis::{FromRedisValue, Value, from_redis_value};
use uuid::Uuid;

use crate::store::contract::StoreError;
use crate::store::redis::sealed::SealedOutcome;

pub(super) struct Reply {
    script: &'static str,
    values: Vec<Value>,
}

impl Reply {
    pub(super) fn new(script: &'static str, reply: Value) -> Self {
        let values = match reply {
            Value::Array(values) => values,
            Value::BulkString(words) => {
                words.split(|byte| *byte == b' ').map(|word| Value::BulkString(word.to_vec())).collect()
            }
            other => vec![other],
        };
        Self { script, values }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn word(&self) -> Result<&str, StoreError> {
        match self.values.first() {
            Some(Value::BulkString(word)) => std::str::from_utf8(word).map_err(|_| self.unknown()),
            _ => Err(self.unknown()),
        }
    }

    pub(super) fn field<T: FromRedisValue>(&self, index: usize) -> Result<T, StoreError> {
        let value = self.values.get(index).cloned().ok_or_else(|| self.unknown())?;
        from_redis_value(value).map_err(|_| self.unknown())
    }

    /// A number of ms. Below 0 is what Redis says of a key that has just ended.
    pub(super) fn span(&self, index: usize) -> Result<Duration, StoreError> {
        let ms: i64 = self.field(index)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    /// An outcome that landed, behind the word.
    pub(super) fn sealed_outcome(&self) -> Result<SealedOutcome, StoreError> {
        let attempt: String = self.field(2)?;
        Ok(SealedOutcome {
            fence: self.field(1)?,
            attempt: Uuid::parse_str(&attempt).map_err(|_| self.unknown())?,
            age: self.span(3)?,
            bytes: self.field::<Vec<u8>>(4)?.into(),
        })
    }

    /// Without the values: they may hold an outcome.
    pub(super) fn unknown(&self) -> StoreError {
        let script = self.script;
        StoreError::may_have_run(format!("the script {script} gave a reply that this release does not know"))
    }
}
