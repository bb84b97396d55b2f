//! Failed logins and used one-time codes, by account: the reason for a lock-out or a refused code.

use std::collections::HashMap;
use std::time::Duration;

use crate::settings::TokenSettings;

/// The failed logins and the last used one-time code of each account.
#[derive(Debug, Default)]
pub(crate) struct FailedLogins {
    /// How many logins failed in a row, and when the last one did.
    failed: HashMap<String, (u32, Duration)>,
    used_steps: HashMap<String, u64>,
}

impl FailedLogins {
    /// Counts a failed login of an account.
    pub(crate) fn record_failure(&mut self, account: &str, now: Duration) {
        let failed = self.failed.entry(account.to_owned()).or_default();
        *failed = (failed.0 + 1, now);
    }

    /// Returns how many logins of an account failed in a row.
    pub(crate) fn count(&self, account: &str) -> u32 {
        self.failed.get(account).map_or(0, |failed| failed.0)
    }

    /// Forgets the failed logins of one account.
    pub(crate) fn forget(&mut self, account: &str) {
        self.failed.remove(account);
    }

    /// Forgets the failed logins of all accounts.
    pub(crate) fn forget_all(&mut self) {
        self.failed.clear();
    }

    /// Returns how long the account stays locked out, if it is.
    pub(crate) fn lockout_left(
        &self,
        settings: &TokenSettings,
        account: &str,
        now: Duration,
    ) -> Option<Duration> {
        let (count, last) = self.failed.get(account)?;
        let until = *last + settings.lockout_life;
        (*count >= settings.lockout_after? && now < until).then(|| until - now)
    }

    /// Takes the time step of a one-time code; false if this step or a later one was used before.
    pub(crate) fn use_step(&mut self, account: &str, step: u64) -> bool {
        let last = self.used_steps.entry(account.to_owned()).or_default();
        let is_new = step > *last;
        *last = step.max(*last);
        is_new
    }
}
