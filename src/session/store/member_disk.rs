//! The disk of a member of a fleet: a sealed file where there is a key for one, else nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;
use zeroize::Zeroizing;

use super::sealed_file::{self, SealedFile, member};
use crate::credentials::sealing::binding::Binding;
use crate::fleet::MemberStore;
use crate::secret::Secret;
use crate::session::spawn::run_blocking;

/// The disk of a member. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct MemberDisk {
    state: Arc<Mutex<State>>,
    directory: Option<PathBuf>,
    binding: Binding,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<SealedFile>>,
    /// The access token of a saved session that the member is about to take over.
    taken_over: Option<Secret>,
    has_failed: bool,
}

impl MemberDisk {
    pub(crate) fn new(directory: Option<PathBuf>, binding: Binding) -> Self {
        Self { state: Arc::default(), directory, binding }
    }

    /// Keeps what comes in `file`, which opens late where its key does.
    pub(crate) fn keep_in(&self, file: Option<Arc<SealedFile>>) {
        self.state().file = file;
    }

    /// Reads what the last run has kept.
    pub(crate) async fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, sealed_file::Error> {
        let Some(file) = self.state().file.clone() else { return Ok(None) };
        run_blocking(move || file.read_member()).await
    }

    /// Erases the saved session as soon as the member's own file has its access token: the single-use
    /// token beside it is the fleet's from then on.
    pub(crate) fn take_over(&self, access: Secret) {
        self.state().taken_over = Some(access);
    }

    /// Erases what the member has kept.
    pub(crate) async fn erase(&self) {
        let this = self.clone();
        run_blocking(move || {
            this.state().file = None;
            let erased =
                this.directory.as_deref().map(|path| member::erase_member(path, &this.binding));
            if let Some(Err(error)) = erased {
                warn!(%error, "what the member of the fleet has kept could not be erased");
            }
        })
        .await;
    }

    fn write(&self, plain: &[u8]) -> bool {
        let Some(file) = self.state().file.clone() else { return true };
        if let Err(error) = file.write_member(plain) {
            if !std::mem::replace(&mut self.state().has_failed, true) {
                warn!(%error, "could not save what the member of the fleet knows; serving on");
            }
            return false;
        }
        self.state().has_failed = false;
        let holds = |access: &Secret| {
            let access = access.expose().as_bytes();
            !access.is_empty() && plain.windows(access.len()).any(|part| part == access)
        };
        let is_held = self.state().taken_over.as_ref().is_some_and(holds);
        if is_held && let Some(directory) = self.directory.as_deref() {
            match sealed_file::erase(directory, &self.binding) {
                Ok(()) => self.state().taken_over = None,
                Err(error) => {
                    warn!(%error, "a session that the fleet has taken over is still saved")
                }
            }
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemberStore for MemberDisk {
    async fn save(&mut self, plain: Zeroizing<Vec<u8>>) -> bool {
        let this = self.clone();
        run_blocking(move || this.write(&plain)).await
    }
}
