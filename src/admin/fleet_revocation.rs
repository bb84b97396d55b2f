//! The end of a fleet's refresh tokens at Nexudus: those of the shared session, of spares and of members
//! that were cut off.

use super::api::{EndedChains, LogoutResult};
use super::context::AdminContext;
use crate::config::{Origin, Session};
use crate::fleet::Chains;
use crate::session::{self, Bearer, Error, RevocationError};

/// The token and the client ids for the deletion, taken before the session is gone.
pub(super) struct FleetRevocation {
    bearer: Result<Bearer, Error>,
    chains: Chains,
}

impl FleetRevocation {
    /// Collects what the deletion needs; `None` on a machine that is in no fleet.
    pub(super) async fn prepare(context: &AdminContext) -> Option<Self> {
        let mut chains = context.fleet.as_ref()?.chains().await;
        if let Some(origin) = Origin::parse(&context.server.upstream) {
            // The sessions that this machine had before it was a member, and while it was cut off.
            let directory = context.clients.directory();
            let own = session::client_ids(&Session::default(), &origin, directory);
            let is_known = |id: &String| chains.strays.contains(id) || chains.shared.contains(id);
            let own: Vec<_> = own.into_iter().filter(|id| !is_known(id)).collect();
            chains.shared.extend(own);
        }
        let bearer = context.session.bearer();
        Some(Self { bearer, chains })
    }

    /// Deletes the refresh tokens, and says in `result` how many there were, or why some are left.
    pub(super) async fn perform(self, context: &AdminContext, result: &mut LogoutResult) {
        let Chains { shared, spares, strays } = self.chains;
        let counts =
            EndedChains { shared: shared.len(), spares: spares.len(), strays: strays.len() };
        let mut client_ids = [shared, spares, strays.clone()].concat();
        client_ids.sort();
        client_ids.dedup();
        let revoked = match &self.bearer {
            Ok(bearer) => context.issuer.revoke(bearer.header(), &client_ids).await,
            Err(error) => Err(no_token(error)),
        };
        match revoked {
            Ok(count) => {
                (result.revoked, result.chains) = (Some(count), Some(counts));
                if let Some(fleet) = context.fleet.as_ref().filter(|_| !strays.is_empty()) {
                    fleet.end_strays(strays);
                }
            }
            Err(error) => result.not_revoked = Some(error.to_string()),
        }
    }
}

fn no_token(error: &Error) -> RevocationError {
    RevocationError::Failed(session::Cause::new(format!("no token for that: {error}")))
}
