//! What a pod has to do next. A pod that runs does it within the tick: slowness is a fault (a pause, a lost or a late
//! message) that a scenario counts.

use crate::pod::{Flight, Lead, Pod, Step};
use crate::rules::{Rule, Rules};

/// A step that a pod takes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// Connects to the server, greets it, subscribes and is in its register.
    Link,
    /// Asks whether the server is still the one that it keeps something of.
    Greet,
    /// Sends a kept completion to a server that is new to it.
    Resend,
    /// `begin`.
    Begin,
    /// Renews a lease that is older than a third, before the call.
    RenewFirst,
    /// Looks whether the call may be made at all; then connects to the provider.
    Check,
    /// Sends the token.
    Send,
    /// `renew`.
    Renew,
    /// Gives up a call that has run for too long.
    GiveUp,
    /// `complete`.
    Complete,
    /// `abandon`.
    GiveBack,
}

impl Turn {
    /// Whether it is a command that may be lost or late.
    pub fn is_command(self) -> bool {
        match self {
            Self::Resend | Self::Begin | Self::RenewFirst | Self::Renew | Self::Complete | Self::GiveBack => true,
            Self::Link | Self::Greet | Self::Check | Self::Send | Self::GiveUp => false,
        }
    }
}

/// What the pod does next over its connection to Redis, and what without.
pub fn turns(pod: &Pod, lease: u8, rules: Rules) -> [Option<Turn>; 2] {
    if !pod.runs() {
        return [None; 2];
    }
    let (mut with_redis, mut without) = (None, None);
    match pod.flight.map(|flight: Flight| flight.step) {
        None => {}
        Some(Step::Ask { wait }) => with_redis = (wait == 0).then_some(Turn::Begin),
        Some(Step::Led(lead)) if is_to_renew(&lead, lease, rules) => with_redis = Some(Turn::RenewFirst),
        Some(Step::Led(_)) => without = Some(Turn::Check),
        Some(Step::Connecting(_)) => without = Some(Turn::Send),
        Some(Step::Calling { renew_in, limit_in, .. }) => {
            with_redis = (renew_in == 0).then_some(Turn::Renew);
            without = (limit_in == 0).then_some(Turn::GiveUp);
        }
        Some(Step::Landing { wait, .. }) => with_redis = (wait == 0).then_some(Turn::Complete),
        Some(Step::GivingBack { wait, .. }) => with_redis = (wait == 0).then_some(Turn::GiveBack),
    }
    if rules.has(Rule::GreetWhileKeeping) && pod.kept.is_some_and(|kept| !kept.has_greeted) {
        with_redis = Some(Turn::Greet);
    }
    // Whoever has found the server new sends it first what it holds.
    if pod.kept.is_some_and(|kept| kept.server < pod.knows && pod.lane == pod.knows) {
        with_redis = Some(Turn::Resend);
    }
    if !pod.is_linked {
        with_redis = Some(Turn::Link);
    }
    [with_redis, without]
}

/// Older than a third, and not over: then there is nothing to renew.
fn is_to_renew(lead: &Lead, lease: u8, rules: Rules) -> bool {
    let is_old = lease - lead.own_lease > lease / 3;
    rules.has(Rule::OwnLease) && rules.has(Rule::RenewBeforeCall) && is_old && lead.own_lease > 0
}
