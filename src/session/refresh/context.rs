//! The context of every attempt to get a token, and the steps that a test may watch.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use tokio::sync::watch;

use super::endpoint::Issuer;
use super::fleet_source::FleetSource;
use super::login_attempts::{self, LoginAttempts};
use super::outcome::FetchError;
use crate::clock::Clock;
use crate::config;
use crate::credentials::Credentials;
use crate::credentials::sealing::binding::Binding;
use crate::session::error::Cause;
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
    /// The member that this machine is, where several machines share the session.
    pub(crate) fleet: Option<FleetSource>,
    pub(crate) clock: Clock,
    /// Called at each step; does nothing outside tests.
    pub(crate) on_step: fn(FetchStep),
    /// Whether the daemon stops: then nothing that a person or a program may delay is waited for.
    pub(crate) stopping: watch::Sender<bool>,
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
            fleet: None,
            clock,
            on_step: |_| {},
            stopping: watch::Sender::new(false),
            other_origins_logged: AtomicBool::new(false),
        }
    }

    /// Does what a person or a program may delay, such as reading a login, unless the daemon stops:
    /// nothing is lost by that, and a program that hangs must not hold up the stop.
    pub(crate) async fn unless_stopping<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, FetchError> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            done = work => Ok(done),
            // The sender is a part of this context.
            _ = stopping.wait_for(|is_stopping| *is_stopping) => {
                Err(FetchError::transient(Cause::new("the daemon is stopping"), None))
            }
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
