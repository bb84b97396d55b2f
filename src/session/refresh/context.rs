//! The context of every attempt to get a token, and the steps that a test may watch.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::endpoint::Issuer;
use super::login_attempts::{self, LoginAttempts};
use crate::clock::Clock;
use crate::config;
use crate::credentials::Credentials;
use crate::credentials::sealing::binding::Binding;
use crate::session::store::epoch::Epochs;

/// The context that every attempt to get a token needs.
#[derive(Debug)]
pub(crate) struct FetchContext<I> {
    pub(crate) config: config::Session,
    /// The profile's state directory; `None` keeps everything in memory.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) binding: Binding,
    pub(crate) credentials: Credentials,
    pub(crate) attempts: LoginAttempts,
    pub(crate) epochs: Epochs,
    pub(crate) issuer: I,
    pub(crate) clock: Clock,
    /// Called at each step; does nothing outside tests.
    pub(crate) on_step: fn(FetchStep),
    /// Whether the log says already that a session of another origin is left alone.
    pub(crate) other_origins_logged: AtomicBool,
}

impl<I: Issuer> FetchContext<I> {
    pub(crate) fn new(
        config: config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> Self {
        let binding = Binding::new(issuer.origin(), credentials.profile());
        let attempts = directory.as_ref().map(|path| path.join(login_attempts::FILE_NAME));
        Self {
            attempts: LoginAttempts::new(attempts, &binding.origin),
            epochs: Epochs::new(directory.as_deref()),
            config,
            directory,
            binding,
            credentials,
            issuer,
            clock,
            on_step: |_| {},
            other_origins_logged: AtomicBool::new(false),
        }
    }
}

/// The steps of an attempt, between any two of which the process may be killed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStep {
    /// The lock across processes is held.
    Locked,
    /// A new client id is on disk.
    ClientIdStored,
    /// The password attempt is recorded.
    AttemptRecorded,
    /// The request is about to be sent.
    SendingRequest,
    /// The response has arrived and is not yet used.
    ResponseReceived,
    /// Requests use the new token.
    Published,
    /// The new pair, or whether the session is locked, is about to be written.
    Writing,
    /// The new pair is durable.
    Stored,
}
