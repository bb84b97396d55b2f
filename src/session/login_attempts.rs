//! What was tried with a password, across restarts: a small file without secrets. It also holds the
//! client id of each account, or each start without a session file would leave another token behind.
//! What was tried at one origin says nothing about another, so each has attempts of its own; a lock
//! holds for all of them.
//!
//! It is written before a password leaves, so that a daemon killed and restarted in a loop spends
//! one budget, not one per life. A login is known here by 16 bits of a keyed hash only: enough to
//! see that it has changed, and next to nothing for somebody who wants to test guesses against a
//! password that may be a mistyped real one. One changed login in 65,536 looks unchanged; it is
//! then refused until it is changed again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::wall_millis;
use super::totp::TotpCode;
use crate::config::Origin;
use crate::credentials::{Login, SecondFactor};
use crate::secure_fs;

/// The attempts of one profile.
#[derive(Debug)]
pub(super) struct LoginAttempts {
    path: Option<PathBuf>,
    /// As [`Origin`] writes it.
    origin: String,
    state: Mutex<AttemptsFile>,
    /// Held while the file is read or written, and taken first: who asks what is kept does not
    /// wait for the disk.
    file: Mutex<()>,
}

/// What may be done with a login now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginDecision {
    /// Offer it.
    Allow,
    /// It was turned down for good.
    Blocked(BlockReason),
    /// Its code was typed once and has been offered.
    CodeUsed,
    /// Too many unclear answers: not before this has passed.
    Wait(Duration),
}

/// Why a login was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BlockReason {
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
    /// At the default origin, where version 1 of the session file counts as issued too.
    #[serde(flatten)]
    usual: OriginAttempts,
    /// At each other origin.
    elsewhere: BTreeMap<String, OriginAttempts>,
    /// The file is behind: the last write has failed.
    #[serde(skip)]
    unsaved: bool,
}

/// What was tried at one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OriginAttempts {
    latched: Option<BlockedLogin>,
    unclear: Option<AmbiguousAttempts>,
    spent_code: Option<u16>,
    totp_step: u64,
    /// By a keyed hash of the address.
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
    /// Remembers those at `origin` in the file at `path`, or only in memory.
    pub(super) fn new(path: Option<PathBuf>, origin: &str) -> Self {
        let origin = origin.to_owned();
        Self { path, origin, state: Mutex::default(), file: Mutex::default() }
    }

    /// Reads the file. A missing or unreadable one leaves what is in memory.
    pub(super) fn load(&self) {
        let _turn = self.file();
        let text = self.path.as_ref().and_then(|path| std::fs::read(path).ok());
        let read = text.and_then(|text| serde_json::from_slice::<AttemptsFile>(&text).ok());
        let mut kept = self.state();
        if let Some(read) = read {
            *kept = read;
        }
        if kept.salt.is_empty() {
            kept.salt = uuid::Uuid::new_v4().to_string();
        }
    }

    /// Says what may be done with `login`. A person who asks opens every latch but that of a
    /// refused password.
    pub(super) fn decide(&self, login: &Login, asked: bool, now: SystemTime) -> LoginDecision {
        let kept = self.state();
        let (tried, own) = (kept.at(&self.origin), fingerprint(&kept.salt, login));
        if let Some(latched) = tried.latched.filter(|latched| latched.login == own)
            && (!asked || latched.reason == BlockReason::Refused)
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
    pub(super) fn totp_step(&self) -> u64 {
        self.state().at(&self.origin).totp_step
    }

    /// Notes that `login` is about to be offered. Until something else is noted it counts as an
    /// unclear answer, which is what a crash leaves behind.
    ///
    /// # Errors
    ///
    /// When the note could not be written; it holds in memory all the same.
    pub(super) fn record_start(
        &self,
        login: &Login,
        code: &TotpCode,
        now: SystemTime,
    ) -> std::io::Result<()> {
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

    /// Notes that `login` was not looked at: the attempt does not count. A typed code stays
    /// spent: who knows what read it.
    pub(super) fn record_unprocessed(&self, login: &Login) -> std::io::Result<()> {
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

    /// Notes that `login` was turned down for good.
    pub(super) fn block(&self, login: &Login, reason: BlockReason) -> std::io::Result<()> {
        self.update_origin(|tried, salt| {
            tried.unclear = None;
            tried.latched = Some(BlockedLogin { login: fingerprint(salt, login), reason });
        })
    }

    /// Notes that `login` was accepted.
    pub(super) fn record_success(&self) -> std::io::Result<()> {
        self.update_origin(|tried, _| {
            tried.unclear = None;
            tried.latched = None;
        })
    }

    /// Returns the client id of this account; one that is `known` otherwise counts, a new one is kept
    /// before it is used.
    ///
    /// # Errors
    ///
    /// When it could not be kept; it holds in memory all the same.
    pub(super) fn client_id(
        &self,
        email: &str,
        known: Option<String>,
    ) -> (String, std::io::Result<()>) {
        let (account, kept) = {
            let kept = self.state();
            let account = account_hash(&kept.salt, email);
            let id = kept.at(&self.origin).client_ids.get(&account).cloned();
            (account, id)
        };
        let id = known.or(kept).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let noted =
            self.update_origin(|tried, _| drop(tried.client_ids.insert(account, id.clone())));
        (id, noted)
    }

    /// Says whether a person has locked the session.
    pub(super) fn is_locked(&self) -> bool {
        self.state().locked
    }

    /// Notes that a person has locked or unlocked the session.
    pub(super) fn set_locked(&self, locked: bool) -> std::io::Result<()> {
        self.update(|kept| kept.locked = locked)
    }

    /// Changes what was tried at this origin; the salt comes with it.
    fn update_origin(&self, change: impl FnOnce(&mut OriginAttempts, &str)) -> std::io::Result<()> {
        self.update(|kept| {
            let salt = kept.salt.clone();
            change(kept.at_mut(&self.origin), &salt);
        })
    }

    fn update(&self, change: impl FnOnce(&mut AttemptsFile)) -> std::io::Result<()> {
        let _turn = self.file();
        let mut kept = self.state();
        let before = kept.clone();
        change(&mut kept);
        let Some(path) = &self.path else { return Ok(()) };
        if *kept == before && !before.unsaved {
            return Ok(());
        }
        kept.unsaved = true;
        let json = serde_json::to_vec(&*kept).expect("numbers and words are valid JSON");
        drop(kept);
        path.parent().map_or(Ok(()), secure_fs::create_dir)?;
        secure_fs::atomic_write(path, &json)?;
        self.state().unsaved = false;
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
        match origin == Origin::nexudus().to_string() {
            true => self.usual.clone(),
            false => self.elsewhere.get(origin).cloned().unwrap_or_default(),
        }
    }

    fn at_mut(&mut self, origin: &str) -> &mut OriginAttempts {
        match origin == Origin::nexudus().to_string() {
            true => &mut self.usual,
            false => self.elsewhere.entry(origin.to_owned()).or_default(),
        }
    }
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

/// Returns what an account's client id is found by: its address is for the session file alone.
fn account_hash(salt: &str, email: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
    let tag = hmac::sign(&key, email.trim().to_lowercase().as_bytes());
    tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Its name in the profile's state directory.
pub(super) const FILE_NAME: &str = "attempts.json";

/// How many unclear answers may follow each other [`MIN_RETRY_AFTER`]; then one may come each [`LONG_WAIT`].
const MAX_SHORT_WAITS: u32 = 3;
const SHORT_WAIT: Duration = Duration::from_secs(5);
const LONG_WAIT: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_refused_login_stays_refused_until_it_changes() {
        let (_directory, attempts) = attempts();
        attempts.block(&login("p1"), BlockReason::Refused).unwrap();
        let attempts = restarted(&attempts);

        let refused = LoginDecision::Blocked(BlockReason::Refused);
        assert_eq!(attempts.decide(&login("p1"), false, at(0)), refused);
        assert_eq!(attempts.decide(&login("p1"), true, at(0)), refused);
        assert_eq!(attempts.decide(&login("p2"), false, at(0)), LoginDecision::Allow);
        let factor = Some(SecondFactor::Shared(Secret::new("s")));
        let with_factor = Login { second_factor: factor, ..login("p1") };
        assert_eq!(attempts.decide(&with_factor, false, at(0)), LoginDecision::Allow);
    }

    #[test]
    fn a_person_may_note_what_is_not_about_the_password() {
        for reason in
            [BlockReason::TotpRequired, BlockReason::CodeRejected, BlockReason::PasswordReset]
        {
            let (_directory, attempts) = attempts();
            attempts.block(&login("p"), reason).unwrap();

            assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Blocked(reason));
            assert_eq!(attempts.decide(&login("p"), true, at(0)), LoginDecision::Allow);
        }
    }

    #[test]
    fn a_crash_loop_spends_one_budget() {
        let (_directory, mut attempts) = attempts();
        let mut tries = Vec::new();
        for second in 0..3_600 {
            attempts = restarted(&attempts);
            if attempts.decide(&login("p"), false, at(second)) == LoginDecision::Allow {
                tries.push(second);
                attempts.record_start(&login("p"), &TotpCode::None, at(second)).unwrap();
            }
        }
        assert_eq!(tries, [0, 5, 10, 910, 1_810, 2_710]);
    }

    #[test]
    fn a_clock_set_back_waits_no_longer_than_ever() {
        let (_directory, attempts) = attempts();
        attempts.record_start(&login("p"), &TotpCode::None, at(1_000_000)).unwrap();

        assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Wait(SHORT_WAIT));
    }

    #[test]
    fn an_attempt_that_was_not_looked_at_does_not_count() {
        let (_directory, attempts) = attempts();
        for second in 0..10 {
            assert_eq!(attempts.decide(&login("p"), false, at(second)), LoginDecision::Allow);
            attempts.record_start(&login("p"), &TotpCode::None, at(second)).unwrap();
            attempts.record_unprocessed(&login("p")).unwrap();
        }
        attempts.record_start(&login("p"), &TotpCode::None, at(20)).unwrap();
        attempts.record_start(&login("p"), &TotpCode::None, at(30)).unwrap();
        attempts.record_unprocessed(&login("p")).unwrap();
        assert_eq!(
            attempts.decide(&login("p"), false, at(31)),
            LoginDecision::Wait(at(4).duration_since(at(0)).unwrap())
        );
    }

    #[test]
    fn success_forgets_and_another_login_has_its_own_budget() {
        let (_directory, attempts) = attempts();
        attempts.record_start(&login("p"), &TotpCode::None, at(0)).unwrap();
        assert_eq!(attempts.decide(&login("q"), false, at(0)), LoginDecision::Allow);
        attempts.record_success().unwrap();
        assert_eq!(attempts.decide(&login("p"), false, at(0)), LoginDecision::Allow);
    }

    #[test]
    fn a_typed_code_and_a_step_are_spent_across_restarts() {
        let (_directory, attempts) = attempts();
        let code = Secret::new("123456");
        let typed = Login { second_factor: Some(SecondFactor::Code(code.clone())), ..login("p") };
        attempts.record_start(&typed, &TotpCode::Typed(code.clone()), at(0)).unwrap();
        attempts.record_start(&login("p"), &TotpCode::Generated { code, step: 7 }, at(0)).unwrap();
        let attempts = restarted(&attempts);

        assert_eq!(attempts.decide(&typed, true, at(9)), LoginDecision::CodeUsed);
        assert_eq!(attempts.totp_step(), 7);
    }

    #[test]
    fn the_file_holds_no_secret_and_the_lock() {
        let (_directory, attempts) = attempts();
        attempts.block(&login("hunter2"), BlockReason::Refused).unwrap();
        attempts.set_locked(true).unwrap();

        let text = std::fs::read_to_string(attempts.path.as_ref().unwrap()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("ada@"), "{text}");
        assert!(restarted(&attempts).is_locked());
    }

    #[test]
    fn an_account_keeps_its_client_id_across_restarts_whatever_else_happens() {
        let (_directory, attempts) = attempts();
        let (ada, _) = attempts.client_id("ada@example.test", None);
        let (bob, _) = attempts.client_id("bob@example.test", Some("bobs".into()));
        attempts.record_success().unwrap();
        let attempts = restarted(&attempts);

        assert_eq!(attempts.client_id("Ada@Example.test", None).0, ada);
        assert_eq!(
            (bob.as_str(), attempts.client_id("bob@example.test", None).0.as_str()),
            ("bobs", "bobs")
        );
    }

    #[test]
    fn what_was_tried_at_one_origin_says_nothing_about_another_but_a_lock_holds_at_all() {
        let (_directory, a) = attempts();
        a.block(&login("p"), BlockReason::Refused).unwrap();
        let (id, _) = a.client_id("ada@example.test", None);
        a.set_locked(true).unwrap();

        let b = at_origin(&a, "https://b.example");
        assert_eq!(b.decide(&login("p"), false, at(0)), LoginDecision::Allow);
        assert_ne!(b.client_id("ada@example.test", None).0, id);
        assert!(b.is_locked());
        b.record_start(&login("q"), &TotpCode::None, at(0)).unwrap();
        b.record_success().unwrap();

        let a = restarted(&b);
        assert_eq!(
            a.decide(&login("p"), false, at(0)),
            LoginDecision::Blocked(BlockReason::Refused)
        );
        assert_eq!(a.client_id("ada@example.test", None).0, id);
    }

    /// What an earlier version has written counts as tried at the default origin.
    #[test]
    fn attempts_without_an_origin_are_those_at_nexudus() {
        let (directory, a) = attempts();
        let path = directory.path().join("attempts.json");
        let fingerprint = fingerprint("s", &login("p"));
        let old = format!(
            r#"{{"salt":"s","latched":{{"login":{fingerprint},"reason":"refused"}},"unclear":null,
                "spent_code":null,"totp_step":7,"locked":true,"client_ids":{{}}}}"#
        );
        std::fs::write(path, old).unwrap();

        let a = restarted(&a);
        let refused = LoginDecision::Blocked(BlockReason::Refused);
        assert_eq!(a.decide(&login("p"), false, at(0)), refused);
        assert_eq!((a.totp_step(), a.is_locked()), (7, true));
        let b = at_origin(&a, "https://b.example");
        assert_eq!((b.decide(&login("p"), false, at(0)), b.totp_step()), (LoginDecision::Allow, 0));
    }

    #[test]
    fn without_a_directory_it_holds_in_memory() {
        let attempts = LoginAttempts::new(None, NEXUDUS);
        attempts.load();
        attempts.block(&login("p"), BlockReason::Refused).unwrap();
        attempts.load();

        let refused = LoginDecision::Blocked(BlockReason::Refused);
        assert_eq!(attempts.decide(&login("p"), false, at(0)), refused);
    }

    fn attempts() -> (tempfile::TempDir, LoginAttempts) {
        let directory = tempfile::tempdir().unwrap();
        let attempts = LoginAttempts::new(Some(directory.path().join("attempts.json")), NEXUDUS);
        attempts.load();
        (directory, attempts)
    }

    fn restarted(attempts: &LoginAttempts) -> LoginAttempts {
        at_origin(attempts, NEXUDUS)
    }

    fn at_origin(attempts: &LoginAttempts, origin: &str) -> LoginAttempts {
        let attempts = LoginAttempts::new(attempts.path.clone(), origin);
        attempts.load();
        attempts
    }

    const NEXUDUS: &str = "https://spaces.nexudus.com";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn login(password: &str) -> Login {
        let password = Secret::new(password);
        Login { email: "ada@example.test".into(), password, second_factor: None }
    }
}
