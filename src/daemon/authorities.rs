//! The keeper of the two certificate authorities: reads them once the session's key is known, makes
//! those that are needed, stores them, and says what a person has to do.
//!
//! One task owns the files. Nothing that it finds on disk is overwritten unless a person asks: a file
//! that does not open may belong to a key that comes back.

mod error;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use self::error::{AuthorityError, KeyUnreadable, describe};
use crate::admin::api::{self, AuthorityState};
use crate::admin::{Authorities, AuthorityCommand, AuthorityNote};
use crate::ca::{
    Authority, AuthorityKind, AuthorityStore, EXPIRY_NOTICE, LeafIssuer, LiveAuthorities,
    StoreError,
};
use crate::clock::Clock;
use crate::config::{Config, SessionStore};
use crate::credentials::{AuthorityKey, AuthoritySealer, Credentials, credentials_directory};

/// Owns the authorities of one daemon.
pub(super) struct AuthorityKeeper {
    config: Config,
    clock: Clock,
    credentials: Credentials,
    /// The profile's state directory; `None` where nothing is stored.
    store: Option<AuthorityStore>,
    live: LiveAuthorities,
    key: watch::Receiver<AuthorityKey>,
    commands: mpsc::Receiver<AuthorityCommand>,
    notes: watch::Sender<Vec<AuthorityNote>>,
    has_warned: [bool; AuthorityKind::ALL.len()],
}

impl AuthorityKeeper {
    /// Makes the keeper and the other ends of its channels.
    pub(super) fn new(
        config: &Config,
        state: Option<PathBuf>,
        credentials: &Credentials,
        clock: &Clock,
    ) -> (Self, Authorities) {
        let live = LiveAuthorities::default();
        let (sender, commands) = mpsc::channel(1);
        let absent = AuthorityKind::ALL.map(|kind| absent(kind, AuthorityState::None));
        let (notes, reader) = watch::channel(absent.into());
        let keeps_file = config.session.store != SessionStore::Memory;
        let keeper = Self {
            store: state.filter(|_| keeps_file).map(|path| AuthorityStore::new(&path)),
            config: config.clone(),
            clock: clock.clone(),
            key: credentials.authority_key(),
            credentials: credentials.clone(),
            live: live.clone(),
            commands,
            notes,
            has_warned: [false; AuthorityKind::ALL.len()],
        };
        (keeper, Authorities { live, notes: reader, commands: sender })
    }

    /// Keeps the authorities until the daemon drops the task.
    pub(super) async fn run(mut self) {
        let mut needs = self.live.needs();
        loop {
            needs.borrow_and_update();
            self.key.borrow_and_update();
            for kind in AuthorityKind::ALL {
                self.settle(kind).await;
                self.warn_of_end(kind);
            }
            tokio::select! {
                // `self` and the credentials hold the senders.
                _ = needs.changed() => {}
                _ = self.key.changed() => {}
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    // The admin surface has ended.
                    None => return,
                },
                () = sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    async fn obey(&mut self, command: AuthorityCommand) {
        match command {
            AuthorityCommand::Ensure(kind, reply) => {
                self.live.need(kind);
                let done = self.ensure(kind).await;
                drop(reply.send(done.map_err(|error| Box::new(api::Problem::new(&error)))));
            }
            AuthorityCommand::Rotate(kind, reply) => {
                self.live.need(kind);
                let done = self.rotate(kind).await;
                drop(reply.send(done.map_err(|error| Box::new(api::Problem::new(&error)))));
            }
        }
    }

    async fn ensure(&mut self, kind: AuthorityKind) -> Result<(), AuthorityError> {
        self.read_key().await;
        self.settle(kind).await;
        if self.live.get(kind).is_some() {
            return Ok(());
        }
        let why = self.note(kind).problem.unwrap_or_default();
        match self.note(kind).state {
            AuthorityState::Waiting => Err(AuthorityError::NoKey { kind, why: KeyUnreadable(why) }),
            AuthorityState::None
            | AuthorityState::Stored
            | AuthorityState::Memory
            | AuthorityState::Unusable => Err(AuthorityError::Unusable { kind, why }),
        }
    }

    /// Makes another authority, also in the place of one that cannot be used.
    async fn rotate(&mut self, kind: AuthorityKind) -> Result<(), AuthorityError> {
        self.read_key().await;
        let key = self.key.borrow().clone();
        let keeps_file = self.store.as_ref().is_some_and(|store| store.exists(kind));
        if let AuthorityKey::Unreadable(why) = &key
            && keeps_file
        {
            // In memory it would be gone with this process, and the old one would be back.
            return Err(AuthorityError::NoKey { kind, why: KeyUnreadable(why.clone()) });
        }
        let authority = self.create(kind)?;
        let sealer = sealer(&key).filter(|_| self.store.is_some());
        if let Some((sealer, is_durable)) = sealer {
            let (authority, written) = self.write(kind, authority, sealer).await;
            written.map_err(|error| AuthorityError::Store(kind, error))?;
            self.serve(kind, authority, Some(is_durable), None);
        } else {
            self.serve(kind, authority, None, None);
        }
        tracing::info!(kind = kind.name(), "made a new certificate authority");
        Ok(())
    }

    /// Waits for the session to read its key, and reads it where the session does not: a person has
    /// asked.
    async fn read_key(&mut self) {
        if self.store.is_none() {
            return;
        }
        let is_read = |key: &AuthorityKey| !matches!(key, AuthorityKey::Unread);
        if timeout(KEY_TIMEOUT, self.key.wait_for(is_read)).await.is_err() {
            // The result is published.
            let read = self.credentials.session_key(&self.config.session, credentials_directory());
            drop(read.await);
        }
    }

    /// Brings one authority to where it belongs with what is known now.
    async fn settle(&mut self, kind: AuthorityKind) {
        let key = self.key.borrow().clone();
        let Some(store) = self.store.clone() else {
            return self.settle_in_memory(kind, "session.store is memory".to_owned());
        };
        match key {
            AuthorityKey::Unread if self.live.is_needed(kind) => {
                self.tell(absent(kind, AuthorityState::Waiting));
            }
            AuthorityKey::Unread => {}
            AuthorityKey::Read { sealer, is_durable, .. } => {
                self.settle_with(kind, sealer, is_durable).await;
            }
            AuthorityKey::Unreadable(why) if store.exists(kind) => {
                if self.live.get(kind).is_none() {
                    let note = absent(kind, AuthorityState::Waiting);
                    self.tell(AuthorityNote { problem: Some(why), ..note });
                }
            }
            AuthorityKey::Unreadable(why) => self.settle_in_memory(kind, why),
        }
    }

    /// Makes an authority that ends with this process, if one is needed.
    fn settle_in_memory(&mut self, kind: AuthorityKind, why: String) {
        if !self.live.is_needed(kind) || self.live.get(kind).is_some() {
            return;
        }
        match self.create(kind) {
            Ok(authority) => {
                tracing::info!(
                    kind = kind.name(),
                    why,
                    "a certificate authority ends with this process"
                );
                self.serve(kind, authority, None, None);
            }
            Err(error) => self.fail(kind, &error),
        }
    }

    async fn settle_with(
        &mut self,
        kind: AuthorityKind,
        sealer: Arc<AuthoritySealer>,
        is_durable: bool,
    ) {
        let read = self.read(kind, sealer.clone()).await;
        match (read, self.live.get(kind)) {
            (Ok(Some(authority)), Some(issuer))
                if authority.root_der() == issuer.authority().root_der() => {}
            (Ok(Some(authority)), _) => {
                tracing::debug!(kind = kind.name(), "read a certificate authority");
                self.serve(kind, authority, Some(is_durable), None);
            }
            // The one in use was made before there was a key, or sealed with another key: what trusts
            // it goes on.
            (Ok(None) | Err(StoreError::Sealed { .. }), Some(issuer)) => {
                let authority = issuer.authority().to_secret_bytes();
                let copied = Authority::from_secret_bytes(&authority);
                let authority = copied.expect("the bytes were written by the authority itself");
                self.store_and_serve(kind, authority, sealer, is_durable).await;
            }
            (Ok(None), None) if self.live.is_needed(kind) => match self.create(kind) {
                Ok(authority) => self.store_and_serve(kind, authority, sealer, is_durable).await,
                Err(error) => self.fail(kind, &error),
            },
            (Ok(None), None) => self.tell(absent(kind, AuthorityState::None)),
            (Err(error), None) => {
                let note = absent(kind, AuthorityState::Unusable);
                self.tell(AuthorityNote { problem: Some(describe(&error)), ..note });
            }
            (Err(error @ StoreError::Io { .. }), Some(_)) => {
                let note = AuthorityNote { problem: Some(describe(&error)), ..self.note(kind) };
                self.tell(note);
            }
        }
    }

    async fn store_and_serve(
        &mut self,
        kind: AuthorityKind,
        authority: Authority,
        sealer: Arc<AuthoritySealer>,
        is_durable: bool,
    ) {
        match self.write(kind, authority, sealer).await {
            (authority, Ok(())) => {
                tracing::info!(kind = kind.name(), "stored a certificate authority");
                self.serve(kind, authority, Some(is_durable), None);
            }
            // The next check tries again.
            (authority, Err(error)) => self.serve(kind, authority, None, Some(describe(&error))),
        }
    }

    fn create(&self, kind: AuthorityKind) -> Result<Authority, AuthorityError> {
        let made = kind.create(&self.config, self.clock.now().wall);
        made.map_err(|error| AuthorityError::Create(kind, error))
    }

    async fn read(
        &self,
        kind: AuthorityKind,
        sealer: Arc<AuthoritySealer>,
    ) -> Result<Option<Authority>, StoreError> {
        let Some(store) = self.store.clone() else { return Ok(None) };
        run_blocking(move || store.read(kind, |sealed| sealer.open(kind.name(), sealed))).await
    }

    async fn write(
        &self,
        kind: AuthorityKind,
        authority: Authority,
        sealer: Arc<AuthoritySealer>,
    ) -> (Authority, Result<(), StoreError>) {
        let Some(store) = self.store.clone() else { return (authority, Ok(())) };
        run_blocking(move || {
            let written = store.write(kind, &authority, |plain| sealer.seal(kind.name(), plain));
            (authority, written)
        })
        .await
    }

    /// Signs with this authority from now on. `durable` says whether its file outlives a reboot;
    /// `None`: there is no file.
    fn serve(
        &mut self,
        kind: AuthorityKind,
        authority: Authority,
        durable: Option<bool>,
        problem: Option<String>,
    ) {
        let is_stored = durable.is_some();
        let state = if is_stored { AuthorityState::Stored } else { AuthorityState::Memory };
        let file = self.store.as_ref().filter(|_| is_stored).map(|store| store.root_path(kind));
        let uncovered = kind.uncovered(&authority, &self.config);
        if !uncovered.is_empty() {
            let names = uncovered.join(", ");
            tracing::warn!(
                kind = kind.name(),
                names,
                "a certificate authority does not cover these names until `nexudus-proxy ca rotate`"
            );
        }
        self.has_warned[kind as usize] = false;
        self.live.set(kind, Arc::new(LeafIssuer::new(authority, self.clock.clone())));
        let is_durable = durable.unwrap_or_default();
        self.tell(AuthorityNote { kind, state, is_durable, file, uncovered, problem });
    }

    fn fail(&mut self, kind: AuthorityKind, error: &AuthorityError) {
        let note = absent(kind, AuthorityState::Unusable);
        self.tell(AuthorityNote { problem: Some(describe(error)), ..note });
    }

    /// Publishes what is known, and logs a problem once.
    fn tell(&mut self, note: AuthorityNote) {
        if self.note(note.kind) == note {
            return;
        }
        if let Some(error) = &note.problem {
            let kind = note.kind.name();
            tracing::warn!(kind, error, "a certificate authority needs a person");
        }
        let at = note.kind as usize;
        self.notes.send_modify(|notes| notes[at] = note);
    }

    fn note(&self, kind: AuthorityKind) -> AuthorityNote {
        self.notes.borrow()[kind as usize].clone()
    }

    /// Logs once that the end is near.
    fn warn_of_end(&mut self, kind: AuthorityKind) {
        let Some(issuer) = self.live.get(kind) else { return };
        let end = issuer.authority().not_after();
        if self.clock.now().wall + EXPIRY_NOTICE < end
            || std::mem::replace(&mut self.has_warned[kind as usize], true)
        {
            return;
        }
        let not_after = humantime::format_rfc3339_seconds(end).to_string();
        tracing::warn!(
            kind = kind.name(),
            not_after,
            "a certificate authority ends soon: `nexudus-proxy ca rotate` makes another one"
        );
    }
}

fn absent(kind: AuthorityKind, state: AuthorityState) -> AuthorityNote {
    AuthorityNote { kind, state, is_durable: false, file: None, uncovered: vec![], problem: None }
}

fn sealer(key: &AuthorityKey) -> Option<(Arc<AuthoritySealer>, bool)> {
    match key {
        AuthorityKey::Read { sealer, is_durable, .. } => Some((sealer.clone(), *is_durable)),
        AuthorityKey::Unread | AuthorityKey::Unreadable(_) => None,
    }
}

/// Runs work that waits for the disk on another thread.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and drops the caller.
        Err(_) => std::future::pending().await,
    }
}

/// How often the ends of the authorities are looked at, and a failed write is tried again.
const CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long a command waits for the session to read its key.
const KEY_TIMEOUT: Duration = Duration::from_secs(2);
