//! What is known of a session: for each of its claims how often that led, and for how long it is refused.
//!
//! By claim, because a holder of a token of the session can claim anything: five wrong secrets must not cool the owner
//! down. So many claims have accounts of their own, known callers always; all further ones share one.
//!
//! In Redis: the fields of `attempts:<session>`, by the account.

use tokio::time::Instant;

use super::attempts::Attempts;
use crate::config::Config;

/// So many claims of a session have accounts of their own.
const MOST_ACCOUNTS: usize = 64;
/// Known callers find some more.
const MOST_ACCOUNTS_AT_ALL: usize = 1024;

/// Which account of a session a flight is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// That of its claim.
    Own(u64),
    /// That of all claims that came when there were too many.
    Shared,
}

/// What a flight was charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) account: Account,
    /// The start of the window. None where nothing was counted.
    pub(crate) window: Option<Instant>,
}

/// A session, with the claims that led.
#[derive(Debug)]
pub(crate) struct Session {
    // Mostly the only one: as many are kept as there are sessions.
    first: (Account, Attempts),
    others: Vec<(Account, Attempts)>,
}

impl Session {
    pub(crate) fn new(account: Account) -> Self {
        Self { first: (account, Attempts::default()), others: Vec::new() }
    }

    /// The account that pays for flights of a claim with this one. Accounts that are over make room.
    pub(crate) fn account(
        &mut self,
        own: u64,
        is_known: impl FnOnce() -> bool,
        now: Instant,
        config: &Config,
    ) -> Account {
        let account = Account::Own(own);
        if self.attempts(account).is_some() {
            return account;
        }
        if self.others.len() + 1 >= MOST_ACCOUNTS {
            self.others.retain(|(_, attempts)| !attempts.is_over(now, config));
        }
        let accounts = self.all().filter(|(account, _)| *account != Account::Shared).count();
        let is_there_room = accounts < MOST_ACCOUNTS || (accounts < MOST_ACCOUNTS_AT_ALL && is_known());
        if is_there_room { account } else { Account::Shared }
    }

    pub(crate) fn attempts(&self, account: Account) -> Option<&Attempts> {
        self.all().find(|(other, _)| *other == account).map(|(_, attempts)| attempts)
    }

    /// Those of an account that may be new.
    pub(crate) fn attempts_mut(&mut self, account: Account) -> &mut Attempts {
        if self.first.0 == account {
            return &mut self.first.1;
        }
        let known = self.others.iter().position(|(other, _)| *other == account);
        let index = known.unwrap_or_else(|| {
            self.others.push((account, Attempts::default()));
            self.others.len() - 1
        });
        &mut self.others[index].1
    }

    /// Whether nothing has to be remembered any more.
    pub(crate) fn is_over(&self, now: Instant, config: &Config) -> bool {
        self.all().all(|(_, attempts)| attempts.is_over(now, config))
    }

    #[cfg(test)]
    pub(crate) fn count_in(&self, now: Instant, config: &Config) -> u32 {
        self.all().map(|(_, attempts)| attempts.count_in(now, config)).sum()
    }

    fn all(&self) -> impl Iterator<Item = &(Account, Attempts)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_accounts_of_their_own_until_there_are_too_many() {
        let (config, now) = (Config::default(), Instant::now());
        let mut session = Session::new(Account::Own(0));
        for number in 0..60_000 {
            let account = session.account(number, || false, now, &config);
            assert_eq!(account == Account::Shared, number >= MOST_ACCOUNTS as u64, "{number}");
            session.attempts_mut(account).charge(now, &config);
        }

        assert_eq!(session.others.len(), MOST_ACCOUNTS);
        let owner = session.account(0, || false, now, &config);
        assert_eq!(session.attempts(owner).map(|attempts| attempts.count_in(now, &config)), Some(1));
        assert_eq!(session.account(80_000, || true, now, &config), Account::Own(80_000), "known callers find more");
        let later = now + config.refresh_attempt_window;
        assert_ne!(session.account(70_000, || false, later, &config), Account::Shared, "all of them are over");
        assert!(session.is_over(later, &config));
    }
}
