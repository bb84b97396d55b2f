//! What `login` says once it is done: who is logged in, and who uses that from now on.

use serde_json::json;

use super::LoginFlow;
use crate::admin::api::SessionStatus;
use crate::admin::client as admin;
use crate::cli::CliError;
use crate::cli::user::CurrentUser;
use crate::config::with_profile_flag;
use crate::credentials::{Login, SecondFactor, verb};
use crate::session::OfflineSession;

impl LoginFlow {
    pub(super) fn warn_of_sources(&self, visit: &OfflineSession, login: &Login) {
        for origin in self.credentials.sources_beside_keychain() {
            let source = origin.to_string();
            let (holds, is) = (verb(&source, "holds", "hold"), verb(&source, "is", "are"));
            self.print.warning(&format!(
                "the {source} {holds} a login too and {is} read first: the daemon uses that one"
            ));
        }
        let code = matches!(login.second_factor, Some(SecondFactor::Code(_)));
        if code && visit.store_info().is_volatile {
            self.print.warning(
                "the session is kept in memory only, so the daemon needs a 2FA code of its own: \
                 store the 2FA secret with --totp-secret-stdin",
            );
        }
    }

    pub(super) fn print_result(
        &self,
        me: &CurrentUser,
        told: Result<Option<SessionStatus>, admin::Error>,
    ) -> Result<(), CliError> {
        let profile = &self.paths.profile;
        let kept = match self.session_only() {
            true => "the session",
            false => "the login",
        };
        if self.json {
            let kept = if self.session_only() { "session" } else { "login" };
            return self.print.json(&json!({ "profile": profile, "kept": kept, "user": me }));
        }
        self.print.line(&format!("logged in as {} (profile {profile})", me.title()))?;
        let used = match &told {
            Ok(Some(session)) if is_used_by_daemon(session, me) => {
                "; the running daemon uses it from now on"
            }
            Ok(None) => &with_profile_flag("; `nexudus-proxy serve` uses it from now on", profile),
            Ok(Some(_)) | Err(_) => "",
        };
        self.print.note(&format!("kept {kept}{used}"));
        Ok(())
    }

    /// Says why the daemon that runs does not use this login now.
    pub(super) fn warn_of_daemon(
        &self,
        told: &Result<Option<SessionStatus>, admin::Error>,
        me: &CurrentUser,
    ) {
        let warning = match told {
            Err(why) => format!("the running daemon does not know of it yet: {why}"),
            Ok(Some(session)) if !is_used_by_daemon(session, me) => {
                match (&session.error, &session.account) {
                    (Some(error), _) => {
                        let cause = error.cause.iter().map(|cause| format!(": {cause}"));
                        format!(
                            "the running daemon does not use it yet: {}{}. {}",
                            error.sentence,
                            cause.collect::<String>(),
                            error.hint
                        )
                    }
                    (None, account) => {
                        let account = account.as_deref().unwrap_or("another account");
                        let source = session.source.as_deref().unwrap_or("another source");
                        format!(
                            "the running daemon goes on as {account}, with the login from {source}"
                        )
                    }
                }
            }
            Ok(Some(_) | None) => return,
        };
        self.print.warning(&warning);
    }
}

/// Says whether the daemon serves as this user now.
fn is_used_by_daemon(session: &SessionStatus, me: &CurrentUser) -> bool {
    let same = |(own, other): (&String, &String)| own.trim().eq_ignore_ascii_case(other.trim());
    session.error.is_none() && session.account.as_ref().zip(me.email.as_ref()).is_none_or(same)
}
