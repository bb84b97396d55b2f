//! The end of a `login`: who is logged in, and whether a running daemon uses the login.

use serde_json::json;

use super::place::Place;
use crate::admin::client as admin;
use crate::cli::current_user::CurrentUser;
use crate::cli::{CliError, Printer};
use crate::config::with_profile_flag;
use crate::credentials::{Credentials, Keychain, Login, SecondFactor, verb};
use crate::session::SessionStatus;

/// Warns of sources that are read before the keychain, and of a 2FA code that a daemon will miss.
pub(super) fn warn_of_sources(
    credentials: &Credentials,
    is_volatile: bool,
    login: &Login,
    print: Printer,
) {
    for source in credentials.sources_beside_keychain() {
        let source = source.to_string();
        let (holds, is) = (verb(&source, "holds", "hold"), verb(&source, "is", "are"));
        print.warning(&format!(
            "the {source} {holds} a login too and {is} read first: the daemon uses that one"
        ));
    }
    if is_volatile && matches!(login.second_factor, Some(SecondFactor::Code(_))) {
        print.warning(
            "the session is in memory only, so the daemon needs a 2FA code of its own: \
             store the 2FA secret with --totp-secret-stdin",
        );
    }
}

/// A login that was stored.
pub(super) struct StoredLogin<'a> {
    pub(super) profile: &'a str,
    pub(super) user: &'a CurrentUser,
    /// Where the login is stored; `None`: only the session is.
    pub(super) place: Option<&'a Place>,
    /// The status of the running daemon after it was notified, if one runs.
    pub(super) daemon: Result<Option<SessionStatus>, admin::Error>,
}

impl StoredLogin<'_> {
    /// Prints the result.
    pub(super) fn print(&self, is_json: bool, print: Printer) -> Result<(), CliError> {
        if let Some(warning) = self.daemon_warning() {
            print.warning(&warning);
        }
        let Self { profile, user, place, .. } = self;
        let stored = match place {
            Some(Place::System { keeps: false }) => "proof",
            Some(_) => "login",
            None => "session",
        };
        let (place, is_of_system) = match place {
            Some(Place::Keychain) => (Some(Keychain::product_name().to_owned()), false),
            Some(Place::File(file)) => (Some(file.path.display().to_string()), false),
            Some(Place::System { keeps }) => {
                (keeps.then(|| "systemd's credentials".to_owned()), true)
            }
            None => (None, false),
        };
        if is_json {
            let output =
                json!({ "profile": profile, "kept": stored, "place": place, "user": user });
            return print.json(&output);
        }
        print.line(&format!("logged in as {} (profile {profile})", user.title()))?;
        let used = match &self.daemon {
            Ok(Some(session)) if is_used_by_daemon(session, user) => {
                "; the running daemon uses it from now on"
            }
            Ok(None) if is_of_system => {
                "; the service uses it once it runs: `nexudus-proxy service start --system`"
            }
            Ok(None) => &with_profile_flag("; `nexudus-proxy serve` uses it from now on", profile),
            Ok(Some(_)) | Err(_) => "",
        };
        let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
        print.note(&format!("kept the {stored}{place}{used}"));
        Ok(())
    }

    /// Returns why the running daemon does not use this login now.
    fn daemon_warning(&self) -> Option<String> {
        let session = match &self.daemon {
            Err(why) => return Some(format!("the running daemon does not know of it yet: {why}")),
            Ok(session) => {
                session.as_ref().filter(|session| !is_used_by_daemon(session, self.user))?
            }
        };
        if let Some(error) = &session.error {
            let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Some(format!(
                "the running daemon does not use it yet: {}{cause}. {}",
                error.sentence, error.hint
            ));
        }
        let account = session.account.as_deref().unwrap_or("another account");
        let source = session.source.as_deref().unwrap_or("another source");
        Some(format!("the running daemon goes on as {account}, with the login from {source}"))
    }
}

/// Returns whether the daemon serves as this user now.
fn is_used_by_daemon(session: &SessionStatus, user: &CurrentUser) -> bool {
    let same = |(own, other): (&String, &String)| own.trim().eq_ignore_ascii_case(other.trim());
    session.error.is_none() && session.account.as_ref().zip(user.email.as_ref()).is_none_or(same)
}
