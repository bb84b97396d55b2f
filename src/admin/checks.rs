//! The checks of `doctor` that only the daemon can make: its keychain and the sources of its login.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::api::SelfCheck;
use super::context::AdminContext;
use crate::config::with_profile_flag;
use crate::credentials::{Error, Keychain};
use crate::problem::{Problem, Report};
use crate::session;

/// Handles `POST /v1/doctor`: a POST, because the check of the keychain writes an entry of its own
/// and removes it.
pub(super) async fn doctor(State(context): State<Arc<AdminContext>>) -> Json<Vec<SelfCheck>> {
    let mut checks = vec![store(&context).await, login(&context).await];
    for fix in checks.iter_mut().filter_map(|check| check.fix.as_mut()) {
        *fix = with_profile_flag(fix, &context.server.profile);
    }
    Json(checks)
}

async fn store(context: &AdminContext) -> SelfCheck {
    let wanted = context.credentials.uses_keychain() || !context.has_key_outside_keychain;
    let Some(keychain) = context.credentials.keychain().filter(|_| wanted) else {
        return found("store", "skip", "the daemon uses no keychain".to_owned());
    };
    let directory = context.clients.directory();
    match session::self_test_keychain(keychain, directory, &context.clock).await {
        Ok(()) => found(
            "store",
            "ok",
            format!(
                "{}: an entry was written, read on another connection and deleted",
                Keychain::product_name()
            ),
        ),
        Err(error) => {
            let has_login = !context.credentials.sources_beside_keychain().is_empty();
            let failed = failed("store", &error);
            if !(has_login && context.has_key_outside_keychain) {
                return failed;
            }
            let finding = format!(
                "{}; neither the login nor the session's key is read there",
                failed.finding
            );
            let fix = Some("Nothing, if the check of the token passes.".to_owned());
            SelfCheck { verdict: "warn".to_owned(), finding, fix, ..failed }
        }
    }
}

async fn login(context: &AdminContext) -> SelfCheck {
    match context.credentials.load().await {
        Ok(login) => {
            let finding = format!(
                "{} from the {}, the most explicit source that has one",
                login.login.email, login.source
            );
            match context.credentials.incomplete_sources().first() {
                None => found("login", "ok", finding),
                Some(half) => SelfCheck {
                    fix: Some("Complete that half, or take it away.".to_owned()),
                    ..found("login", "warn", format!("{finding}; {half}"))
                },
            }
        }
        Err(Error::Missing(_)) => SelfCheck {
            fix: Some(
                "Give the service a login (docs/login.md), unless the check of the token passes."
                    .to_owned(),
            ),
            ..found("login", "warn", "no source of the daemon holds a login".to_owned())
        },
        Err(error) => failed("login", &error),
    }
}

fn found(check: &str, verdict: &str, finding: String) -> SelfCheck {
    SelfCheck { check: check.to_owned(), verdict: verdict.to_owned(), finding, fix: None }
}

fn failed(check: &str, error: &impl Problem) -> SelfCheck {
    let Report { message, causes, hint } =
        Report::all(error).into_iter().next().unwrap_or_default();
    let parts: Vec<_> = std::iter::once(message).chain(causes).collect();
    SelfCheck { fix: hint, ..found(check, "fail", parts.join(": ")) }
}
