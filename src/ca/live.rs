//! The authorities in use: read by every handshake, replaced now and then.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::kind::AuthorityKind;
use super::leaf_issuer::LeafIssuer;

/// The authorities that this process signs with, each once it is known. Clones share them.
///
/// Reading takes no lock. Nothing is there before the session's key has been read, and an authority
/// that nothing needs is not made.
#[derive(Clone, Default)]
pub struct LiveAuthorities(Arc<Slots>);

struct Slots {
    intercept: ArcSwapOption<LeafIssuer>,
    localhost: ArcSwapOption<LeafIssuer>,
    changes: watch::Sender<()>,
    needed: watch::Sender<[bool; AuthorityKind::ALL.len()]>,
}

impl LiveAuthorities {
    /// Returns the issuer of the configured hosts, once there is one.
    pub fn intercept(&self) -> Option<Arc<LeafIssuer>> {
        self.get(AuthorityKind::Intercept)
    }

    /// Returns the issuer of this machine's names, once there is one.
    pub fn localhost(&self) -> Option<Arc<LeafIssuer>> {
        self.get(AuthorityKind::Localhost)
    }

    /// Returns the issuer of this kind, once there is one.
    pub fn get(&self, kind: AuthorityKind) -> Option<Arc<LeafIssuer>> {
        self.slot(kind).load_full()
    }

    /// Puts an issuer in the place of the one before. Handshakes that have begun finish with theirs.
    pub fn set(&self, kind: AuthorityKind, issuer: Arc<LeafIssuer>) {
        self.slot(kind).store(Some(issuer));
        self.0.changes.send_replace(());
    }

    /// Asks for an authority of this kind: it is made if there is none yet.
    pub fn need(&self, kind: AuthorityKind) {
        self.0
            .needed
            .send_if_modified(|needed| !std::mem::replace(&mut needed[kind as usize], true));
    }

    /// Says whether something has asked for an authority of this kind.
    pub fn is_needed(&self, kind: AuthorityKind) -> bool {
        self.0.needed.borrow()[kind as usize]
    }

    /// Follows which kinds are needed, in the order of [`AuthorityKind::ALL`].
    pub fn needs(&self) -> watch::Receiver<[bool; AuthorityKind::ALL.len()]> {
        self.0.needed.subscribe()
    }

    /// Asks for an authority of this kind, and returns its issuer as soon as there is one. Never
    /// ends before.
    pub async fn wait(&self, kind: AuthorityKind) -> Arc<LeafIssuer> {
        self.need(kind);
        let mut changes = self.0.changes.subscribe();
        loop {
            if let Some(issuer) = self.get(kind) {
                return issuer;
            }
            // `self` holds the sender: the channel cannot close.
            let _ = changes.changed().await;
        }
    }

    /// Follows the replacements of issuers.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    fn slot(&self, kind: AuthorityKind) -> &ArcSwapOption<LeafIssuer> {
        match kind {
            AuthorityKind::Intercept => &self.0.intercept,
            AuthorityKind::Localhost => &self.0.localhost,
        }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            intercept: ArcSwapOption::empty(),
            localhost: ArcSwapOption::empty(),
            changes: watch::Sender::new(()),
            needed: watch::Sender::default(),
        }
    }
}

impl fmt::Debug for LiveAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveAuthorities")
            .field("intercept", &self.intercept())
            .field("localhost", &self.localhost())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;

    fn issuer(kind: AuthorityKind) -> Arc<LeafIssuer> {
        let authority = kind.create(&Config::default(), SystemTime::now()).unwrap();
        Arc::new(LeafIssuer::new(authority, Clock::system()))
    }

    #[tokio::test]
    async fn a_handshake_that_waits_gets_the_first_issuer_of_its_kind() {
        let live = LiveAuthorities::default();
        let waiting = tokio::spawn({
            let live = live.clone();
            async move { live.wait(AuthorityKind::Localhost).await }
        });

        live.set(AuthorityKind::Intercept, issuer(AuthorityKind::Intercept));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && live.localhost().is_none());
        let first = issuer(AuthorityKind::Localhost);
        live.set(AuthorityKind::Localhost, first.clone());

        assert!(Arc::ptr_eq(&waiting.await.unwrap(), &first));
        assert!(live.intercept().is_some());
        assert!(live.is_needed(AuthorityKind::Localhost));
        assert!(!live.is_needed(AuthorityKind::Intercept));
    }

    #[tokio::test]
    async fn a_replaced_issuer_is_seen_by_every_clone() {
        let live = LiveAuthorities::default();
        let clone = live.clone();
        live.set(AuthorityKind::Localhost, issuer(AuthorityKind::Localhost));

        let next = issuer(AuthorityKind::Localhost);
        live.set(AuthorityKind::Localhost, next.clone());

        assert!(Arc::ptr_eq(&clone.localhost().unwrap(), &next));
        assert!(Arc::ptr_eq(&clone.wait(AuthorityKind::Localhost).await, &next));
    }
}
