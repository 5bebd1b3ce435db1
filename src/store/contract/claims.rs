//! Several claims of one login: where a flight goes on whose token other claims of its client come with, too.

use super::landing::StoredOutcome;
use crate::identity::{Hash, Identity};
use crate::secret::Secret;

/// A login that several claims come with: its name, and the key under which the store holds its newest token and what each claim was
/// given last. Who holds one of its tokens, and the client's credential, opens the key.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) id: Hash,
    pub(crate) key: Secret,
}

/// From where a flight comes to the newest token of its login: from its caller's own, which may be the same.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) family: Family,
    pub(crate) flight: Hash,
    pub(crate) claim: Hash,
    pub(crate) holder: Hash,
    /// Where the caller's own token stands, and where the one stands that it presents.
    pub(crate) place: u64,
    pub(crate) newest: u64,
    /// The family's key, sealed for the caller's own token; and by what claims are called with that, sealed under the family's key.
    pub(crate) own_key: Vec<u8>,
    pub(crate) own_naming: Vec<u8>,
    /// What another claim was given for the token before the one that is presented, where the family does not tell that.
    pub(crate) before: Option<(Hash, StoredOutcome)>,
    /// What its claim is called with tokens that the login notes claims by which have presented none: it may be one of them.
    pub(crate) called: Vec<Hash>,
}

impl Origin {
    /// The same, and what the claim is called with the token that this request presents.
    pub(crate) fn called_with(&self, presented: &Identity) -> Vec<Hash> {
        let mut called = self.called.clone();
        called.push(presented.claim);
        called
    }
}

/// What a flight is told that asks where other claims of its client went. `N` is where the store's news for a waiting flight come from.
#[derive(Debug)]
pub(crate) enum Followed<N> {
    /// Others present the newest token, or came before: it is called when its turn comes.
    Wait(N),
    /// Its claim was given this later, for a token that it may come with still.
    Given(StoredOutcome),
    /// Its turn: it presents this token, the newest.
    Newest { token: Secret, origin: Box<Origin> },
    /// Its turn: its own token is the newest.
    Own(Box<Origin>),
    /// The store may have forgotten the login: it says so to who begins again.
    Forgotten,
    /// Its claim has not come with this token or a later one: what brought it may be handed out.
    Unused,
    /// The provider is to judge its own token.
    Spent,
    /// So many claims of this login are known that no other is.
    Full,
    /// The session has ended.
    Ended,
}

impl<N> Followed<N> {
    /// The same answer, with another source of news.
    pub(crate) fn map_news<M>(self, wrap: impl FnOnce(N) -> M) -> Followed<M> {
        match self {
            Self::Wait(news) => Followed::Wait(wrap(news)),
            Self::Given(landed) => Followed::Given(landed),
            Self::Newest { token, origin } => Followed::Newest { token, origin },
            Self::Own(origin) => Followed::Own(origin),
            Self::Forgotten => Followed::Forgotten,
            Self::Unused => Followed::Unused,
            Self::Spent => Followed::Spent,
            Self::Full => Followed::Full,
            Self::Ended => Followed::Ended,
        }
    }
}
