//! What may happen next, and how a story tells it.

use std::fmt;

use crate::scenario::Replacement;
use crate::scene::Fate;
use crate::turn::Turn;

/// Something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A third of the usual lease passes: only when no pod that runs has anything left to do.
    Tick,
    /// A caller comes to a pod.
    Come(usize),
    /// A pod takes its turn.
    Take(usize, Turn, Fate),
    /// A pod sends the token to a provider that is busy and does not touch it.
    SendToBusy(usize),
    /// The provider's answer arrives.
    Answer(usize),
    /// The provider's answer is lost.
    LoseAnswer(usize),
    /// A command arrives that its pod has given up.
    Arrive(usize),
    /// A process is stopped.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// A process ends.
    Crash(usize),
    /// A process starts.
    Start(usize),
    /// A pod that is held by a demoted primary connects to the new one.
    Move(usize),
    /// The server is replaced.
    Replace(Replacement),
    /// The data is flushed.
    Flush,
    /// Redis' clock is set forward.
    Leap,
    /// Redis' clock is set back.
    SetBack,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |pod: &usize| ["A", "B", "C"][*pod];
        match self {
            Self::Tick => write!(f, "a tick passes"),
            Self::Come(pod) => write!(f, "a caller comes to pod {}", name(pod)),
            Self::Take(pod, turn, fate) => {
                let what = match turn {
                    Turn::Link => "connects and greets the server",
                    Turn::Greet => "asks whether its server is still the same",
                    Turn::Resend => "sends its kept completion again",
                    Turn::Begin => "sends begin",
                    Turn::RenewFirst => "renews before its call",
                    Turn::Check => "looks whether it may call, and connects to the provider",
                    Turn::Send => "is about to send the token",
                    Turn::Renew => "renews",
                    Turn::GiveUp => "gives its call up at call_limit",
                    Turn::Complete => "sends complete",
                    Turn::GiveBack => "sends abandon",
                };
                let fate = match fate {
                    Fate::Answered => "",
                    Fate::RequestLost => ", which never arrives",
                    Fate::ReplyLost => ", and the answer is lost",
                    Fate::Late => ", gives it up, and it is still on its way",
                };
                write!(f, "pod {} {what}{fate}", name(pod))
            }
            Self::SendToBusy(pod) => write!(f, "pod {} sends the token; the provider is busy", name(pod)),
            Self::Answer(pod) => write!(f, "the provider's answer reaches pod {}", name(pod)),
            Self::LoseAnswer(pod) => write!(f, "the provider's answer to pod {} is lost", name(pod)),
            Self::Arrive(pod) => write!(f, "a command that pod {} gave up arrives", name(pod)),
            Self::Pause(pod) => write!(f, "pod {} is stopped", name(pod)),
            Self::Resume(pod) => write!(f, "pod {} goes on", name(pod)),
            Self::Crash(pod) => write!(f, "pod {} is killed", name(pod)),
            Self::Start(pod) => write!(f, "pod {} starts", name(pod)),
            Self::Move(pod) => write!(f, "pod {} leaves the demoted primary for the new one", name(pod)),
            Self::Replace(Replacement::Promote(lost)) => {
                write!(f, "a replica is promoted without the last {lost} writes")
            }
            Self::Replace(Replacement::Demote(lost)) => {
                write!(f, "a replica is promoted without the last {lost} writes, and the old primary goes on answering")
            }
            Self::Replace(Replacement::PromoteEmpty) => write!(f, "a replica that holds nothing is promoted"),
            Self::Replace(Replacement::RestartOld(lost)) => {
                write!(f, "the server restarts without the last {lost} writes")
            }
            Self::Replace(Replacement::RestartEmpty) => write!(f, "the server restarts empty"),
            Self::Flush => write!(f, "all data is flushed"),
            Self::Leap => write!(f, "redis' clock is set forward by more than a lease"),
            Self::SetBack => write!(f, "redis' clock is set back"),
        }
    }
}
