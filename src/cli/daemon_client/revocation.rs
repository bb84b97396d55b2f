//! The deletion of an installation's refresh tokens at Nexudus.

use crate::cli::Printer;
use crate::cli::login::note_code_wait;
use crate::cli::waiting::{NEXUDUS, say_waiting};
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::daemon::{self, StandaloneSession};
use crate::session::endpoint::HttpIssuer;
use crate::session::{self, Bearer, Cause, RevocationError};

/// The token and client ids for the deletion, taken before the session is gone.
pub(in crate::cli) struct Revocation {
    issuer: HttpIssuer,
    bearer: Bearer,
    client_ids: Vec<String>,
}

impl Revocation {
    /// Gets a token for the deletion.
    pub(in crate::cli) async fn prepare(
        config: &Config,
        paths: &Paths,
        credentials: &Credentials,
        print: Printer,
    ) -> Result<Self, Cause> {
        if config.fleet.engine.is_some() {
            return Err(Cause::new("the session is shared with other machines"));
        }
        let directory = paths.profile_state();
        let client_ids = session::client_ids(&config.session, &config.upstream.origin, &directory);
        let issuer = daemon::token_client(config).map_err(|error| Cause::new(error.to_string()))?;
        let direct = StandaloneSession::start(config, paths, credentials.clone(), issuer.clone());
        let bearer = say_waiting(print, NEXUDUS, direct.bearer(note_code_wait(print))).await;
        direct.stop().await;
        let bearer = bearer.map_err(|error| Cause::new(format!("no token for that: {error}")))?;
        Ok(Self { issuer, bearer, client_ids })
    }

    /// Deletes the refresh tokens, and returns how many there were.
    pub(in crate::cli) async fn perform(self, print: Printer) -> Result<usize, RevocationError> {
        let deleting = self.issuer.revoke(self.bearer.header(), &self.client_ids);
        say_waiting(print, NEXUDUS, deleting).await
    }
}
