//! Notices that Redis has forgotten, and for how long nobody is given a new lead.

use super::{Host, Sender};
use crate::rules::Rule;
use crate::settings::LONGEST_LEASE;

/// Who notices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Noticed {
    /// A pod that asks for the lead.
    ByBegin,
    /// A leader: what it leads is proof that the namespace was used.
    ByRenew,
}

impl Host<'_> {
    /// How long recovering lasts yet.
    pub(super) fn recovering(&mut self, from: &Sender, noticed: Noticed) -> u8 {
        if self.rules.has(Rule::ForgottenByFence) && self.server.db.fence < from.seen {
            self.server.db.fence = from.seen;
            self.server.db.recovering = from.lease;
        }
        if self.rules.has(Rule::Incarnation) {
            self.compare_incarnation(from, noticed);
        }
        let db = &mut self.server.db;
        if self.rules.has(Rule::EarlyEnd) && db.register & !db.reported == 0 {
            db.recovering = 0;
        }
        db.recovering
    }

    fn compare_incarnation(&mut self, from: &Sender, noticed: Noticed) {
        let id = if self.rules.has(Rule::ServerNamesItself) { self.server.id } else { from.hello };
        if self.server.db.noted == Some(id) {
            return;
        }
        let nothing_noted = self.server.db.noted.is_none();
        let leads_at_once = nothing_noted && noticed == Noticed::ByBegin && self.may_be_virgin(from);
        self.server.db.noted = Some(id);
        if !leads_at_once {
            self.server.db.recovering = self.longest_lease(from);
        }
    }

    /// Nothing at all is there, and nobody can have led: else there was something, and it is forgotten.
    fn may_be_virgin(&self, from: &Sender) -> bool {
        let young = if self.rules.has(Rule::PromotedIsYoung) { self.server.young_primary } else { self.server.young };
        let is_old_enough = young == 0 || !self.rules.has(Rule::VirginUptime);
        let others = self.listening & !(1 << from.pod);
        let is_alone = others == 0 || !self.rules.has(Rule::VirginListeners);
        self.server.db.is_virgin() && is_old_enough && is_alone
    }

    fn longest_lease(&self, from: &Sender) -> u8 {
        if self.rules.has(Rule::LeaseHasBound) {
            return LONGEST_LEASE;
        }
        if !self.rules.has(Rule::LongestLease) {
            return from.lease;
        }
        let registered = (0..self.leases.len()).filter(|pod| self.server.db.register & 1 << pod != 0);
        registered.map(|pod| self.leases[pod]).fold(from.lease.max(from.longest), u8::max)
    }
}
