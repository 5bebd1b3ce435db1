//! What happened when to the first logins of a mode: what a picture is drawn from.

use serde::{Deserialize, Serialize};

/// How many logins a picture shows: one wave, unless fewer are presented at once. More would be too thin to be told
/// apart.
pub(crate) const LOGINS: usize = 10;

/// The first logins, and what the provider's log says of them.
pub(crate) struct Timeline {
    pub(crate) logins: Vec<Login>,
    /// Whether the provider's log can be seen. Otherwise no presentation is known here.
    pub(crate) has_log: bool,
}

#[derive(Default)]
pub(crate) struct Login {
    pub(crate) callers: Vec<CallerTimes>,
    /// In the order in which the provider judged them.
    pub(crate) presentations: Vec<Presentation>,
}

/// When one caller asked with one token.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CallerTimes {
    pub(crate) asked_us: u64,
    /// When the caller was told `invalid_grant`, if it was: the login is over.
    pub(crate) refused_us: Option<u64>,
}

/// One token at the provider.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Presentation {
    /// Of which login, in the order in which they were opened.
    pub(crate) login: usize,
    pub(crate) at_us: u64,
    pub(crate) judged: Judged,
}

/// How the provider judged a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judged {
    /// The first of its token: new tokens were given.
    Rotated,
    /// The token had been presented before: the login was revoked for it.
    Reused,
    /// The login had been revoked before.
    TooLate,
}

impl Timeline {
    pub(crate) fn new(logins: usize) -> Self {
        let mut timeline = Self { logins: Vec::new(), has_log: false };
        timeline.logins.resize_with(logins, Login::default);
        timeline
    }

    pub(crate) fn log(&mut self, presentations: Vec<Presentation>) {
        self.has_log = true;
        for presentation in presentations {
            self.logins[presentation.login].presentations.push(presentation);
        }
    }

    /// When the first caller asked.
    pub(crate) fn begin_us(&self) -> u64 {
        let callers = self.logins.iter().flat_map(|login| &login.callers);
        callers.map(|caller| caller.asked_us).min().unwrap_or_default()
    }

    /// When the last of what is shown happened.
    pub(crate) fn end_us(&self) -> u64 {
        let asked = self.logins.iter().flat_map(|login| &login.callers).map(|caller| caller.asked_us);
        let presented =
            self.logins.iter().flat_map(|login| &login.presentations).map(|presentation| presentation.at_us);
        let revoked = self.logins.iter().filter_map(Login::revoked_us);
        asked.chain(presented).chain(revoked).max().unwrap_or_default()
    }
}

impl Login {
    /// When it was revoked: by the provider's log, or else when a caller first heard of it.
    pub(crate) fn revoked_us(&self) -> Option<u64> {
        let logged = self.presentations.iter().find(|presentation| presentation.judged == Judged::Reused);
        let refused = self.callers.iter().filter_map(|caller| caller.refused_us);
        logged.map(|presentation| presentation.at_us).or(refused.min())
    }

    /// Presentations beyond the first of each token.
    pub(crate) fn repeated(&self) -> usize {
        self.presentations.iter().filter(|presentation| presentation.judged != Judged::Rotated).count()
    }
}
