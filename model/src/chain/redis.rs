//! What Redis holds of a chain: for each token its record and the answer that is held for it. The token after one has the
//! number after it.

/// So many tokens there are: three links.
pub const TOKENS: usize = 4;

/// What must be equal for an answer to be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Whose credential: that of the client is 0.
    pub credential: u8,
    /// All else.
    pub scope: u8,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// The answer gave the next one.
    Rotated,
    /// `invalid_grant`.
    Dead,
    /// The provider did nothing with it.
    Untouched,
    /// Nobody knows.
    Unknown,
}

/// How old an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    /// Newcomers get it.
    Fresh,
    /// They do not, and the record is still there.
    Stale,
}

/// The state of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has led, as far as is remembered.
    #[default]
    Nothing,
    /// A flight leads; it is lost where its lock is gone.
    Leading,
    /// The leader was lost.
    Lost,
    /// An outcome landed.
    Landed(TokenState, Age),
}

/// Where a token stands in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Who may say that it was used.
    pub holder: u8,
    /// Its place.
    pub generation: u8,
    /// The highest place that somebody came with.
    pub used: u8,
    /// Whether a walker may present it.
    pub is_given: bool,
    /// The server that was noted when it was given.
    pub epoch: u8,
}

/// `flight:<flight>` and `lock:<flight>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its state.
    pub state: State,
    /// The attempt whose lease stands, 0 for none.
    pub lock: u8,
    /// Who led last.
    pub attempt: u8,
    /// Under which fence.
    pub fence: u8,
    /// For which claim.
    pub claim: Claim,
    /// Leaders before were lost.
    pub lost: bool,
    /// The credentials for which the token is uncertain, but the last leader's.
    pub uncertain: u8,
    /// A known client waits.
    pub turn: bool,
    /// A pod waits for it, so that the record is there.
    pub has_waiting: bool,
    /// Where it stands in a chain.
    pub link: Option<Link>,
    /// The attempt of the success that landed.
    pub success_of: u8,
}

impl Record {
    /// Whether there is a record at all.
    pub fn is_there(&self) -> bool {
        self.state != State::Nothing || self.link.is_some() || self.has_waiting
    }
}

/// `held:<flight>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// For whom.
    pub claim: Claim,
    /// Of which fence the answer is.
    pub fence: u8,
    /// The token that it gave: the next one, or, where a walk left how far it came, a later one.
    pub answer: u8,
    /// The place of the token that it is held for.
    pub generation: u8,
    /// The highest place that somebody came with.
    pub used: u8,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Db {
    /// A record for each token.
    pub records: [Record; TOKENS],
    /// What is held for each.
    pub held: [Option<Held>; TOKENS],
    /// The server that decided last.
    pub noted: u8,
    /// No leads are given.
    pub is_recovering: bool,
    /// The judge's: the tokens that somebody came with, as far as Redis can know.
    pub uses: u8,
}

impl Db {
    /// The record of a token.
    pub fn record(&mut self, token: u8) -> &mut Record {
        &mut self.records[usize::from(token) - 1]
    }

    /// What is held for it.
    pub fn held(&mut self, token: u8) -> &mut Option<Held> {
        &mut self.held[usize::from(token) - 1]
    }
}

/// The bit of a token, or of a credential.
pub fn bit(number: u8) -> u8 {
    1 << number
}
