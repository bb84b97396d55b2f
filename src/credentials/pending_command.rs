//! The command that the program waits for, so that a status can name it.
//!
//! A password manager may wait for a finger, for minutes. Meanwhile neither Nexudus nor the network is
//! to blame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The command that runs now, if one does. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingCommand(Arc<Mutex<Option<String>>>);

impl PendingCommand {
    /// Names the command of this configuration key until the guard is dropped.
    pub(super) fn begin(&self, key: &str, argv: &[String]) -> PendingGuard<'_> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        *self.state() = Some(format!("{key} `{program}`"));
        PendingGuard(self)
    }

    /// Returns the key and the program.
    pub(super) fn current(&self) -> Option<String> {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the wait.
pub(super) struct PendingGuard<'a>(&'a PendingCommand);

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        *self.0.state() = None;
    }
}
