//! Changes that commands make to the files of a profile while no daemon runs.

use std::io;
#[cfg(unix)]
use std::path::PathBuf;

use crate::ca::{AuthorityKind, AuthorityStore, TrustRecord};
use crate::cli::CliError;
use crate::cli::globals::GlobalArgs;
use crate::clock::Clock;
use crate::config::{Config, Origin, Paths};
use crate::credentials::{self, Credentials};
use crate::daemon::{self, StandaloneSession};
use crate::fleet::FleetError;
use crate::problem::ExitCode;
use crate::redact;
use crate::session::{self, CurrentUser, CurrentUserError};

/// The logins that a logout has removed from files and keychain.
#[derive(Debug)]
pub(in crate::cli) struct ClearedLogins {
    /// The origins that had a login.
    pub(in crate::cli) origins: Vec<Origin>,
    /// Whether the sealed file held a login, and the key file that stays.
    pub(in crate::cli) sealed: credentials::ClearedFiles,
    /// Whether the keychain held a login.
    pub(in crate::cli) keychain: Result<bool, credentials::Error>,
}

/// Removes every session file of the profile and its logins in the keychain.
pub(in crate::cli) async fn clear_logins(
    paths: &Paths,
    credentials: &Credentials,
    origins: Vec<Origin>,
) -> Result<ClearedLogins, CliError> {
    let files = session::remove_all(&paths.profile_state(), &Clock::system()).await;
    let tokens = redact::erase_tokens(&paths.profile_state());
    let sealed = credentials.clear_files();
    let keychain = credentials.clear(&origins).await;
    files.map_err(|cause| {
        let message = format!("could not remove the session: {cause}");
        let hint = "Make that directory writable for this user, and log out again.";
        CliError::message(ExitCode::Failed, message, Some(hint))
    })?;
    tokens.map_err(|error| tokens_remain(&error))?;
    Ok(ClearedLogins { origins, sealed: sealed?, keychain })
}

/// Removes the certificate authorities: the key that opens their files is gone. A daemon that runs
/// keeps both.
pub(in crate::cli) fn remove_authorities(paths: &Paths) -> Result<(), CliError> {
    let store = AuthorityStore::new(&paths.profile_state());
    let removed = AuthorityKind::ALL.into_iter().try_for_each(|kind| store.remove(kind).map(drop));
    removed.map_err(|error| {
        let hint = "Make that directory writable for this user, and log out again.";
        CliError::message(ExitCode::Failed, error.to_string(), Some(hint))
    })
}

/// Returns where the files stand that a shell is told of, and the root certificate of the daemon's
/// intercept authority, with its path.
#[cfg(unix)]
pub(in crate::cli) fn shell_files(paths: &Paths) -> (PathBuf, PathBuf, io::Result<String>) {
    let state = paths.profile_state();
    let root = AuthorityStore::new(&state).root_path(AuthorityKind::Intercept);
    let content = std::fs::read_to_string(&root);
    (state, root, content)
}

/// Returns the origins that a login of the profile is stored for.
pub(in crate::cli) fn origins_with_login(paths: &Paths) -> Vec<Origin> {
    session::origins_with_login(&paths.profile_state())
}

/// Reads the record of the roots that this person has added to trust stores: no daemon's file.
pub(in crate::cli) fn trust_record(globals: &GlobalArgs) -> Result<TrustRecord, CliError> {
    Ok(TrustRecord::read(&globals.sources(vec![]).paths()?.profile_state())?)
}

/// Stores for the next start whether the session is locked.
pub(in crate::cli) async fn persist_lock(locked: bool, paths: &Paths) -> Result<(), CliError> {
    let stored = session::set_locked(&paths.profile_state(), locked, &Clock::system()).await;
    stored.map_err(|cause| {
        let message = format!("could not keep whether the session is locked: {cause}");
        let hint = "Make that directory writable for this user, and run the command again.";
        CliError::message(ExitCode::Failed, message, Some(hint))
    })?;
    let erased = if locked { redact::erase_tokens(&paths.profile_state()) } else { Ok(()) };
    erased.map_err(|error| tokens_remain(&error))
}

/// Says that what the tokens of redacted clients stand for is still on disk, sealed.
pub(super) fn tokens_remain(error: &io::Error) -> CliError {
    let message = format!("could not remove what tokens stand for: {error}");
    let hint = "Make the state directory writable for this user, and run the command again.";
    CliError::message(ExitCode::Failed, message, Some(hint))
}

/// Tests that the keychain returns what was written to it.
pub(in crate::cli) async fn self_test_keychain(
    keychain: &credentials::Keychain,
    paths: &Paths,
) -> Result<(), credentials::Error> {
    session::self_test_keychain(keychain, &paths.profile_state(), &Clock::system()).await
}

/// Fetches the logged-in user with a session of this process. `on_wait` is told of a 2FA code that
/// has to be waited for.
pub(in crate::cli) async fn fetch_user(
    config: &Config,
    paths: &Paths,
    on_wait: impl Fn(std::time::Duration),
) -> Result<Result<CurrentUser, CurrentUserError>, daemon::Error> {
    // Only a member may spend what the members share.
    if config.fleet.engine.is_some() {
        return Err(FleetError::NeedsMember.into());
    }
    let issuer = daemon::token_client(config)?;
    let credentials = daemon::credentials(config, paths);
    let direct = StandaloneSession::start(config, paths, credentials, issuer.clone());
    let me = async {
        let bearer = direct.bearer(on_wait).await?;
        CurrentUser::fetch(direct.session(), &issuer, bearer).await
    };
    let me = me.await;
    direct.stop().await;
    Ok(me)
}
