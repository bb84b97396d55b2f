//! The one task that owns the session.

use super::issuer::Issuer;

/// The task's body, ready to be spawned.
#[derive(Debug)]
pub struct Keeper<I> {
    issuer: I,
}

impl<I: Issuer> Keeper<I> {
    /// Runs until every [`super::Session`] is gone.
    pub async fn run(self) {
        let _ = self.issuer;
    }
}
