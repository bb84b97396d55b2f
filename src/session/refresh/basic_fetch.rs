//! One attempt under `upstream.auth = "basic"`: the login is read, offered once, and kept in memory.
//!
//! Nothing is stored: what a token store would hold is the password. A login that Nexudus refuses
//! is blocked as under bearer (`login_attempts.rs`), and is not offered again.

use super::endpoint::Issuer;
use super::login::blocked_error;
use super::login_attempts::BlockReason;
use super::outcome::{FetchError, FetchResult};
use super::token_fetch::TokenFetch;
use crate::config::UpstreamAuth;
use crate::credentials::{self, Login, ResolvedLogin};
use crate::session::error::Error;
use crate::session::store::token_store::TokenStore;
use crate::session::token::encode_login;

impl<I: Issuer> TokenFetch<I> {
    /// Reads the login and proves it.
    pub(crate) async fn attempt_basic(&mut self) -> Result<FetchResult, FetchError> {
        self.outcome.store = Some(TokenStore::memory(
            "upstream.auth is basic: each request carries the login, and there is no token".into(),
        ));
        let has_changed_login = self.request.has_changed_login();
        self.outcome.credentials_unreadable = has_changed_login;
        self.start_deadline();
        let ResolvedLogin { login, source } = match self.load_login().await? {
            Ok(found) => found,
            Err(credentials::Error::Missing(keychain)) => {
                self.outcome.credentials_unreadable = false;
                // A login that was taken away is sent no more.
                self.outcome.account_changed = has_changed_login;
                return Err(self.missing_login_error(keychain).await.into());
            }
            Err(
                error @ (credentials::Error::Incomplete { .. }
                | credentials::Error::Command(_)
                | credentials::Error::Unusable(_)
                | credentials::Error::File(_)
                | credentials::Error::Locked
                | credentials::Error::Unavailable(_)),
            ) => return Err(error.into()),
        };
        self.outcome.credentials_unreadable = false;
        // The scheme has no place for a code.
        let login = Login { second_factor: None, ..login };
        self.check_account(Some(&login.email));
        self.acquire_lock().await?;
        let is_held = self.holds(&login);
        let result = if is_held && self.outcome.is_login_refused && !has_changed_login {
            // A request has shown what another attempt would show, which may lock the account.
            self.block(login, BlockReason::Refused).await;
            Err(blocked_error(BlockReason::Refused, source, UpstreamAuth::Basic).into())
        } else {
            self.log_in(ResolvedLogin { login, source }).await
        };
        if is_held && matches!(result, Err(FetchError { error: Error::Refused { .. }, .. })) {
            // Under bearer a token would still work. This login does not.
            self.outcome.account_changed = true;
        }
        result
    }

    /// Says whether this is the login that requests carry.
    fn holds(&self, login: &Login) -> bool {
        let held = self.outcome.record.as_ref().and_then(|held| held.pair.as_ref());
        let encoded = encode_login(&login.email, &login.password);
        held.zip(encoded).is_some_and(|(held, encoded)| held.access == encoded)
    }
}
