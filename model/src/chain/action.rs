//! What may happen next, and how a story tells it.

use std::fmt;

use super::flight::Answer;

/// A caller's flight: whose, and whether the caller waits for it.
pub type At = (usize, bool);

/// Something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A caller comes with the token that it holds.
    Come(usize),
    /// Its tab is closed; it keeps the token that it came with.
    Leave(usize),
    /// Somebody takes the token that another holds.
    Steal(usize, usize),
    /// A flight asks the store.
    Ask(At),
    /// A leader sends the token.
    Present(At, Answer),
    /// Its callers are told before the answer has landed.
    TellEarly(usize),
    /// The answer lands; whether those that wait hear what.
    Complete(At, bool),
    /// A flight tells the store how far the chain came; whether that arrives.
    Tip(At, bool),
    /// A leader renews where another server took over.
    PutBack(At),
    /// A pod lands again what it has landed.
    LandAgain(usize),
    /// A process ends.
    Crash(usize),
    /// The lease of a leader that is gone is over.
    LeaseEnds(u8),
    /// A leader is silent for longer than its lease.
    FallSilent(At),
    /// A replica is promoted without so many writes.
    Promote(usize),
    /// Leaders and successes are back.
    Recovered,
    /// What is held for a token makes way.
    Evict(u8),
    /// The time of what gave a token is over.
    End(u8),
    /// Time passes; whether the access tokens are over.
    Age(bool),
}

pub(super) fn name(caller: usize) -> &'static str {
    ["A", "B", "C"][caller]
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flight = |(caller, is_waited_for): &At| {
            format!("{}'s {}", name(*caller), if *is_waited_for { "flight" } else { "flight without it" })
        };
        match self {
            Self::Come(caller) => write!(f, "{} comes with its token", name(*caller)),
            Self::Leave(caller) => write!(f, "{}'s tab is closed, its flight goes on", name(*caller)),
            Self::Steal(thief, from) => write!(f, "{} steals the token of {}", name(*thief), name(*from)),
            Self::Ask(at) => write!(f, "{} sends begin", flight(at)),
            Self::Present(at, answer) => {
                let then = match answer {
                    Answer::Arrives => "",
                    Answer::IsLarge => "; the answer is too large to be held",
                    Answer::IsLost => "; the answer is lost",
                    Answer::NeverSent => "; it never arrives, and nobody knows",
                    Answer::IsBusy => "; the provider is busy",
                    Answer::IsDisowned => "; the provider says that it is dead, for it is not its own",
                };
                write!(f, "{} sends the token to the provider{then}", flight(at))
            }
            Self::TellEarly(caller) => write!(f, "{} is told the answer before it has landed", name(*caller)),
            Self::Complete(at, true) => write!(f, "{} sends complete", flight(at)),
            Self::Complete(at, false) => {
                write!(f, "{} sends complete, and those that wait do not hear of it", flight(at))
            }
            Self::Tip(at, true) => write!(f, "{} tells how far it came", flight(at)),
            Self::Tip(at, false) => write!(f, "{} tells how far it came, which is lost", flight(at)),
            Self::PutBack(at) => write!(f, "{} renews at the server that took over", flight(at)),
            Self::LandAgain(caller) => write!(f, "the pod of {} lands again what it landed before", name(*caller)),
            Self::Crash(caller) => write!(f, "the pod of {} is killed", name(*caller)),
            Self::LeaseEnds(token) => write!(f, "the lease for T{token} is over"),
            Self::FallSilent(at) => write!(f, "{} is not heard of for a lease", flight(at)),
            Self::Promote(lost) => write!(f, "a replica is promoted without the last {lost} writes"),
            Self::Recovered => write!(f, "the server has recovered"),
            Self::Evict(token) => write!(f, "what is held for T{token} makes way"),
            Self::End(token) => write!(f, "the time for which T{token} is given is over"),
            Self::Age(false) => write!(f, "time passes"),
            Self::Age(true) => write!(f, "time passes, and the access tokens are over"),
        }
    }
}
