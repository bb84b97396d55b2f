//! What `login` says once it is done: who is logged in, and who uses that from now on.

use serde_json::json;

use super::Attempt;
use crate::admin::client as admin;
use crate::admin::wire::Session;
use crate::cli::Failure;
use crate::cli::me::Me;
use crate::config::in_profile;
use crate::credentials::{Login, SecondFactor, verb};
use crate::session::Visit;

impl Attempt {
    pub(super) fn warn_of_sources(&self, visit: &Visit, login: &Login) {
        for origin in self.credentials.beside_keychain() {
            let source = origin.to_string();
            let (holds, is) = (verb(&source, "holds", "hold"), verb(&source, "is", "are"));
            self.print.warning(&format!(
                "the {source} {holds} a login too and {is} read first: the daemon uses that one"
            ));
        }
        let code = matches!(login.second_factor, Some(SecondFactor::Code(_)));
        if code && visit.keeping().volatile {
            self.print.warning(
                "the session is kept in memory only, so the daemon needs a 2FA code of its own: \
                 store the 2FA secret with --totp-secret-stdin",
            );
        }
    }

    pub(super) fn say(
        &self,
        me: &Me,
        told: Result<Option<Session>, admin::Error>,
    ) -> Result<(), Failure> {
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
            Ok(Some(session)) if in_use_of(session, me) => {
                "; the running daemon uses it from now on"
            }
            Ok(None) => &in_profile("; `nexudus-proxy serve` uses it from now on", profile),
            Ok(Some(_)) | Err(_) => "",
        };
        self.print.note(&format!("kept {kept}{used}"));
        Ok(())
    }

    /// Says why the daemon that runs does not use this login now.
    pub(super) fn warn_of_daemon(&self, told: &Result<Option<Session>, admin::Error>, me: &Me) {
        let warning = match told {
            Err(why) => format!("the running daemon does not know of it yet: {why}"),
            Ok(Some(session)) if !in_use_of(session, me) => {
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
fn in_use_of(session: &Session, me: &Me) -> bool {
    let same = |(own, other): (&String, &String)| own.trim().eq_ignore_ascii_case(other.trim());
    session.error.is_none() && session.account.as_ref().zip(me.email.as_ref()).is_none_or(same)
}
