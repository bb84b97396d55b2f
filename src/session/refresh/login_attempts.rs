//! The record of login attempts, across restarts: a small file without secrets.
//!
//! The file also holds the client id of each account, or each start without a session file would
//! leave another token at Nexudus. Attempts at one origin say nothing about another, so each origin
//! has its own; a lock holds for all origins.
//!
//! The file is written before a password is sent, so that a daemon killed and restarted in a loop
//! spends one budget, not one per start. The file identifies a login by 16 bits of a keyed hash
//! only. That is enough to see that the login has changed, and next to nothing for an attacker who
//! tests guesses against a password that may be a mistyped real one. One changed login in 65,536
//! looks unchanged; it is then refused until it is changed again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use super::totp::TotpCode;
use crate::config::Origin;
use crate::credentials::{Login, SecondFactor};
use crate::secure_fs;
use crate::session::store::record::wall_millis;

/// The attempts of one profile.
#[derive(Debug)]
pub(crate) struct LoginAttempts {
    path: Option<PathBuf>,
    /// As [`Origin`] writes it.
    origin: String,
    state: Mutex<AttemptsFile>,
    /// Held while the file is read or written, and acquired before `state`: a reader of the state
    /// does not wait for the disk.
    file: Mutex<()>,
}

/// Whether a login may be offered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginDecision {
    /// Offer the login.
    Allow,
    /// Nexudus has refused the login for good.
    Blocked(BlockReason),
    /// The 2FA code was typed once and has been offered.
    CodeUsed,
    /// Too many ambiguous responses: wait for this time.
    Wait(Duration),
}

/// Why a login is not offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockReason {
    /// The address or the password is wrong.
    Refused,
    /// A 2FA code is missing.
    TotpRequired,
    /// The 2FA code, or what it came with, is wrong.
    CodeRejected,
    /// A new password must be set.
    PasswordReset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct AttemptsFile {
    salt: String,
    locked: bool,
    /// Attempts at the default origin, to which version 1 of the session file belongs too.
    #[serde(flatten)]
    usual: OriginAttempts,
    /// Attempts at each other origin.
    elsewhere: BTreeMap<String, OriginAttempts>,
    /// Whether the last write has failed, so that the file is out of date.
    #[serde(skip)]
    unsaved: bool,
    /// Whether the file was read or written by this process.
    #[serde(skip)]
    is_known: bool,
    /// The flaw of the file, as a sentence.
    #[serde(skip)]
    damage: Option<String>,
}

/// The attempts at one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OriginAttempts {
    latched: Option<BlockedLogin>,
    unclear: Option<AmbiguousAttempts>,
    spent_code: Option<u16>,
    totp_step: u64,
    /// Client ids by a keyed hash of the e-mail address.
    client_ids: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BlockedLogin {
    login: u16,
    reason: BlockReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AmbiguousAttempts {
    login: u16,
    times: u32,
    /// Milliseconds since 1970.
    last: u64,
}

impl LoginAttempts {
    /// Records the attempts at `origin` in the file at `path`, or only in memory.
    pub(crate) fn new(path: Option<PathBuf>, origin: &str) -> Self {
        let origin = origin.to_owned();
        Self { path, origin, state: Mutex::default(), file: Mutex::default() }
    }

    /// Reads the file. A missing file leaves the state in memory.
    ///
    /// A file that is damaged or cannot be read may have said that the session is locked, or that a
    /// password was refused. So the session counts as locked, until a person unlocks it; a process
    /// that has read the file before knows better, and writes it again.
    pub(crate) fn load(&self) {
        let _guard = self.file();
        let read = self.path.as_deref().map(read_file);
        let mut state = self.state();
        match read {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(read))) => *state = AttemptsFile { is_known: true, ..read },
            Some(Err(why)) => {
                state.locked |= !state.is_known;
                state.unsaved = true;
                if state.damage.is_none() {
                    let effect = if state.is_known {
                        "its content is still known"
                    } else {
                        "the session is locked until `nexudus-proxy unlock`"
                    };
                    let damage = format!("{why}; {effect}");
                    warn!(damage, "the record of login attempts is not used");
                    state.damage = Some(damage);
                }
            }
        }
        if state.salt.is_empty() {
            state.salt = uuid::Uuid::new_v4().to_string();
        }
    }

    /// Returns what is wrong with the file, as a sentence.
    pub(crate) fn damage(&self) -> Option<String> {
        self.state().damage.clone()
    }

    /// Says what may be done with `login`. A request of the user lifts every block but that of a
    /// refused password.
    pub(crate) fn decide(
        &self,
        login: &Login,
        is_user_request: bool,
        now: SystemTime,
    ) -> LoginDecision {
        let state = self.state();
        let (tried, own) = (state.at(&self.origin), fingerprint(&state.salt, login));
        if let Some(latched) = tried.latched.filter(|latched| latched.login == own)
            && (!is_user_request || latched.reason == BlockReason::Refused)
        {
            return LoginDecision::Blocked(latched.reason);
        }
        if has_typed_code(login) && tried.spent_code == Some(own) {
            return LoginDecision::CodeUsed;
        }
        let Some(unclear) = tried.unclear.filter(|unclear| unclear.login == own) else {
            return LoginDecision::Allow;
        };
        let span = if unclear.times < MAX_SHORT_WAITS { SHORT_WAIT } else { LONG_WAIT };
        // A clock set back must not make the wait longer than it ever was.
        let passed = wall_millis(now).checked_sub(unclear.last).map(Duration::from_millis);
        match span.checked_sub(passed.unwrap_or_default()) {
            Some(left) if !left.is_zero() => LoginDecision::Wait(left),
            Some(_) | None => LoginDecision::Allow,
        }
    }

    /// Returns the newest step for which a code was offered.
    pub(crate) fn totp_step(&self) -> u64 {
        self.state().at(&self.origin).totp_step
    }

    /// Records that `login` is about to be offered. Until another result is recorded the attempt
    /// counts as ambiguous, which is the state that a crash leaves behind.
    ///
    /// # Errors
    ///
    /// When the record could not be written; it holds in memory all the same.
    pub(crate) fn record_start(
        &self,
        login: &Login,
        code: &TotpCode,
        now: SystemTime,
    ) -> io::Result<()> {
        self.update_origin(|tried, salt| {
            let own = fingerprint(salt, login);
            let before = tried.unclear.filter(|unclear| unclear.login == own);
            let times = before.map_or(0, |unclear| unclear.times).saturating_add(1);
            tried.unclear = Some(AmbiguousAttempts { login: own, times, last: wall_millis(now) });
            if let TotpCode::Generated { step, .. } = code {
                tried.totp_step = *step;
            }
            if has_typed_code(login) {
                tried.spent_code = Some(own);
            }
        })
    }

    /// Records that Nexudus did not look at `login`: the attempt does not count. A typed code stays
    /// used, since a server may have read it.
    pub(crate) fn record_unprocessed(&self, login: &Login) -> io::Result<()> {
        self.update_origin(|tried, salt| {
            let own = fingerprint(salt, login);
            tried.unclear = tried
                .unclear
                .filter(|unclear| unclear.login != own || unclear.times > 1)
                .map(|unclear| AmbiguousAttempts {
                    times: unclear.times.saturating_sub(1),
                    ..unclear
                });
        })
    }

    /// Records that Nexudus refused `login` for good.
    pub(crate) fn block(&self, login: &Login, reason: BlockReason) -> io::Result<()> {
        self.update_origin(|tried, salt| {
            tried.unclear = None;
            tried.latched = Some(BlockedLogin { login: fingerprint(salt, login), reason });
        })
    }

    /// Records that Nexudus accepted the login.
    pub(crate) fn record_success(&self) -> io::Result<()> {
        self.update_origin(|tried, _| {
            tried.unclear = None;
            tried.latched = None;
        })
    }

    /// Returns the client id of this account: the one that is `known` otherwise, the recorded one,
    /// or a new one, which is recorded first.
    ///
    /// # Errors
    ///
    /// When the id could not be written; it holds in memory all the same.
    pub(crate) fn client_id(&self, email: &str, known: Option<String>) -> (String, io::Result<()>) {
        let (account, recorded) = {
            let state = self.state();
            let account = account_hash(&state.salt, email);
            let id = state.at(&self.origin).client_ids.get(&account).cloned();
            (account, id)
        };
        let id = known.or(recorded).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let noted =
            self.update_origin(|tried, _| drop(tried.client_ids.insert(account, id.clone())));
        (id, noted)
    }

    /// Returns the recorded client ids of all accounts.
    pub(crate) fn client_ids(&self) -> Vec<String> {
        self.state().at(&self.origin).client_ids.into_values().collect()
    }

    /// Says whether the user has locked the session.
    pub(crate) fn is_locked(&self) -> bool {
        self.state().locked
    }

    /// Records that the user has locked or unlocked the session.
    pub(crate) fn set_locked(&self, locked: bool) -> io::Result<()> {
        self.update(|state| state.locked = locked)
    }

    /// Changes the attempts at this origin; `change` also gets the salt.
    fn update_origin(&self, change: impl FnOnce(&mut OriginAttempts, &str)) -> io::Result<()> {
        self.update(|state| {
            let salt = state.salt.clone();
            change(state.at_mut(&self.origin), &salt);
        })
    }

    fn update(&self, change: impl FnOnce(&mut AttemptsFile)) -> io::Result<()> {
        let _guard = self.file();
        let mut state = self.state();
        let before = state.clone();
        change(&mut state);
        let Some(path) = &self.path else { return Ok(()) };
        if *state == before && !before.unsaved {
            return Ok(());
        }
        state.unsaved = true;
        let json = serde_json::to_vec(&*state).expect("numbers and words are valid JSON");
        drop(state);
        path.parent().map_or(Ok(()), secure_fs::create_dir)?;
        secure_fs::atomic_write(path, &json)?;
        let mut state = self.state();
        state.unsaved = false;
        state.is_known = true;
        state.damage = None;
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, AttemptsFile> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptsFile {
    fn at(&self, origin: &str) -> OriginAttempts {
        if origin == Origin::nexudus().to_string() {
            self.usual.clone()
        } else {
            self.elsewhere.get(origin).cloned().unwrap_or_default()
        }
    }

    fn at_mut(&mut self, origin: &str) -> &mut OriginAttempts {
        if origin == Origin::nexudus().to_string() {
            &mut self.usual
        } else {
            self.elsewhere.entry(origin.to_owned()).or_default()
        }
    }
}

/// Reads the file; `None` when there is none. Of a damaged one a copy is kept: the next write
/// replaces it.
fn read_file(path: &Path) -> Result<Option<AttemptsFile>, String> {
    let why = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => format!("{} cannot be read: {error}", path.display()),
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(read) => return Ok(Some(read)),
            Err(_) => format!("{} is damaged", path.display()),
        },
    };
    let copy = secure_fs::keep_copy(path).map_or_else(
        |error| format!("no copy could be kept: {error}"),
        |copy| format!("a copy is {}", copy.display()),
    );
    Err(format!("{why} ({copy})"))
}

fn has_typed_code(login: &Login) -> bool {
    matches!(login.second_factor, Some(SecondFactor::Code(_)))
}

/// Returns 16 bits that change when any part of the login does.
fn fingerprint(salt: &str, login: &Login) -> u16 {
    let factor = match &login.second_factor {
        None => "",
        Some(SecondFactor::Code(factor) | SecondFactor::Shared(factor)) => factor.expose(),
    };
    let mut whole = Zeroizing::new(vec![]);
    for part in [login.email.as_str(), login.password.expose(), factor] {
        // The length first, so that no two logins run together into the same bytes.
        whole.extend_from_slice(&part.len().to_be_bytes());
        whole.extend_from_slice(part.as_bytes());
    }
    // In one step: a context leaves the last block that it was given on the stack.
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
    let mut tag = [0; 32];
    hmac::sign_to_buffer(&key, &whole, &mut tag).expect("a tag of HMAC-SHA256 has 32 bytes");
    u16::from_be_bytes([tag[0], tag[1]])
}

/// Returns the key of an account's client id: only the session file holds the address itself.
fn account_hash(salt: &str, email: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
    let tag = hmac::sign(&key, email.trim().to_lowercase().as_bytes());
    tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The file's name in the profile's state directory.
pub(crate) const FILE_NAME: &str = "attempts.json";

/// After so many ambiguous responses, each [`SHORT_WAIT`] after the one before, an attempt is made
/// each [`LONG_WAIT`].
const MAX_SHORT_WAITS: u32 = 3;
const SHORT_WAIT: Duration = Duration::from_secs(5);
const LONG_WAIT: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests;
