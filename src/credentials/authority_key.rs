//! The keys that seal certificate authorities and tokens: known as soon as the session's key has been
//! read.
//!
//! Nothing reads that key a second time for it: a key command may ask a person, and a keychain may
//! show a dialog.

use std::sync::Arc;

use tokio::sync::watch;

use super::{AuthoritySealer, TokenSealer};

/// The state of the key.
#[derive(Clone, Debug, Default)]
pub enum AuthorityKey {
    /// Nothing has read it yet.
    #[default]
    Unread,
    /// The key was read.
    Read {
        /// Seals authorities with it.
        sealer: Arc<AuthoritySealer>,
        /// Seals with it what the tokens of redacted clients stand for.
        tokens: Arc<TokenSealer>,
        /// Whether it is still there after a reboot.
        is_durable: bool,
    },
    /// The key could not be read, for this reason.
    Unreadable(String),
}

/// Tells of the newest reading. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct AuthorityKeyWatch(watch::Sender<AuthorityKey>);

impl AuthorityKeyWatch {
    /// Publishes what a reading of the session's key has found.
    pub(super) fn publish(&self, key: AuthorityKey) {
        self.0.send_replace(key);
    }

    /// Follows the newest reading.
    pub(super) fn subscribe(&self) -> watch::Receiver<AuthorityKey> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::credentials::Credentials;

    fn session(key_command: &[&str]) -> config::Session {
        let key_command = key_command.iter().map(|word| (*word).to_owned()).collect();
        config::Session { key_command, ..config::Session::default() }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_reading_of_the_session_is_seen_by_every_clone() {
        let credentials = Credentials::in_memory(None);
        let mut seen = credentials.clone().authority_key();
        assert!(matches!(*seen.borrow(), AuthorityKey::Unread));

        credentials.session_key(&session(&[]), None).await.unwrap_err();
        assert!(matches!(&*seen.borrow_and_update(), AuthorityKey::Unreadable(why)
            if why == "no credentials are stored"));

        let printed = session(&["printf", "sixteen bytes ok"]);
        let key = credentials.session_key(&printed, None).await.unwrap();
        assert!(seen.has_changed().unwrap());
        let AuthorityKey::Read { sealer, is_durable: true, .. } = seen.borrow().clone() else {
            panic!("{seen:?}")
        };
        let sealed = AuthoritySealer::new(&key.material, "default").unwrap().seal("x", b"plain");
        assert_eq!(*sealer.open("x", &sealed).unwrap(), b"plain");

        credentials.session_key(&session(&["printf", "short"]), None).await.unwrap();
        assert!(matches!(&*seen.borrow(), AuthorityKey::Unreadable(why) if why.contains("short")));
    }
}
