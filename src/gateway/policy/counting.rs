//! Counts requests against the quotas of their clients.

use std::pin::Pin;

use super::error::Error;
use crate::clients::QuotaError;
use crate::gateway::client_auth::ClientIdentity;

/// Counts a request against the quota of its client. Where the file of the counts must be written
/// first, returns what waits for that.
///
/// # Errors
///
/// The quota that is used up.
pub(in crate::gateway) fn count(client: &ClientIdentity) -> Result<Option<PendingCount>, Error> {
    let ClientIdentity::Client(client) = client else { return Ok(None) };
    match client.consume() {
        Ok(()) => Ok(None),
        Err(QuotaError::Unreserved) => {
            let client = client.clone();
            // Boxed, because few requests come here.
            Ok(Some(Box::pin(async move { Ok(client.consume_reserved().await?) })))
        }
        Err(error) => Err(error.into()),
    }
}

/// A request that is counted as soon as the file of the counts is written.
pub(in crate::gateway) type PendingCount = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Waits until a request is counted, if it was not counted at once.
pub(in crate::gateway) async fn wait_counted(pending: Option<PendingCount>) -> Result<(), Error> {
    match pending {
        Some(pending) => pending.await,
        None => Ok(()),
    }
}
