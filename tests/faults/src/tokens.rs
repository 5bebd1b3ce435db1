//! Refresh tokens that say what their provider does with them, so that histories repeat.
//!
//! `hush.<family>.<mode>.<delay in ms>.<generation>`. The mode and the delay are for the first presentation of
//! generation 0; whatever comes later is answered well and soon, except under [`Mode::Short`]. `hush` is what no log and no Redis may hold.

use serde::{Deserialize, Serialize};

/// What is in every secret of the suite, and must be nowhere else.
pub(crate) const HUSH: &str = "hush";
/// The secret of the client that all honest callers are.
pub(crate) const CLIENT_SECRET: &str = "hush.client";
/// The secret of an intruder, which holds a token and is not its client.
pub(crate) const INTRUDER_SECRET: &str = "hush.intruder";

/// What the provider does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Rotates and answers.
    Well,
    /// Rotates and answers 500.
    Rotated500,
    /// Answers 500 and rotates nothing.
    Plain500,
    /// Rotates, sends half of the answer and closes.
    Half,
    /// Rotates and closes.
    Close,
    /// Rotates and resets.
    Reset,
    /// Rotates and answers every generation after the delay, with an access token that is soon over.
    Short,
}

impl Mode {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Well, "well"),
        (Self::Rotated500, "rotated500"),
        (Self::Plain500, "plain500"),
        (Self::Half, "half"),
        (Self::Close, "close"),
        (Self::Reset, "reset"),
        (Self::Short, "short"),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) family: String,
    pub(crate) mode: Mode,
    pub(crate) delay_ms: u64,
    pub(crate) generation: u64,
}

impl Token {
    pub(crate) fn first(family: String, mode: Mode, delay_ms: u64) -> Self {
        Self { family, mode, delay_ms, generation: 0 }
    }

    pub(crate) fn next(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }

    pub(crate) fn text(&self) -> String {
        let (_, mode) = Mode::ALL.iter().find(|(mode, _)| *mode == self.mode).expect("BUG: every mode is listed");
        format!("{HUSH}.{}.{mode}.{}.{}", self.family, self.delay_ms, self.generation)
    }

    /// How long the access token lives that comes with a token of this family, in s.
    pub(crate) fn access_life_s(&self) -> u64 {
        if self.mode == Mode::Short { 4 } else { 300 }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(HUSH)?.strip_prefix('.')?.split('.');
        let family = parts.next()?.to_owned();
        let mode = parts.next()?;
        let (mode, _) = *Mode::ALL.iter().find(|(_, word)| *word == mode)?;
        Some(Self { family, mode, delay_ms: parts.next()?.parse().ok()?, generation: parts.next()?.parse().ok()? })
    }
}
