//! The end of this installation's refresh tokens at Nexudus: `GET` and `DELETE /api/sys/refreshtokens`.
//!
//! Nexudus has no endpoint of RFC 7009. Refresh tokens are records, which an administrator, or an
//! account with the roles for them, may list and delete. A record names the client id that its token
//! is bound to; only those with ours are deleted, whatever the server makes of the filter.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::endpoint::HttpIssuer;
use super::response_body;
use crate::session::error::Cause;

/// Why refresh tokens were not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// The account may not see or delete them.
    #[error("this account may not delete refresh tokens")]
    Forbidden,
    /// Nexudus gave no usable response.
    #[error("{0}")]
    Failed(Cause),
}

impl HttpIssuer {
    /// Deletes the refresh tokens of these client ids, and returns how many there were.
    ///
    /// # Errors
    ///
    /// [`RevocationError::Forbidden`] where the account may not, or why it is not known. Some may be
    /// deleted by then.
    pub async fn revoke(
        &self,
        bearer: &HeaderValue,
        client_ids: &[String],
    ) -> Result<usize, RevocationError> {
        let revoked = async {
            let mut count = 0;
            for client_id in client_ids {
                for id in self.refresh_tokens_of(bearer, client_id).await? {
                    let path = format!("{LIST_PATH}/{id}");
                    match self.records(Method::DELETE, &path, bearer).await?.0 {
                        status if status.is_success() => count += 1,
                        // Another process was faster.
                        StatusCode::NOT_FOUND => {}
                        status => return Err(refusal(status)),
                    }
                }
            }
            Ok(count)
        };
        let late = |_| RevocationError::Failed(Cause::new("Nexudus did not respond within 30 s"));
        tokio::time::timeout(REVOCATION_TIMEOUT, revoked).await.map_err(late)?
    }

    /// Returns the numbers of the records with this client id.
    async fn refresh_tokens_of(
        &self,
        bearer: &HeaderValue,
        client_id: &str,
    ) -> Result<Vec<u64>, RevocationError> {
        let filter: String = form_urlencoded::byte_serialize(client_id.as_bytes()).collect();
        let mut found = vec![];
        for page in 1..=MAX_PAGES {
            let path = format!("{LIST_PATH}?RefreshToken_ClientId={filter}&page={page}&size=100");
            let (status, body) = self.records(Method::GET, &path, bearer).await?;
            if !status.is_success() {
                return Err(refusal(status));
            }
            let list: Page = serde_json::from_slice(&body).map_err(|_| {
                RevocationError::Failed(Cause::new("the list of refresh tokens is not readable"))
            })?;
            let ours = list.records.iter().filter(|token| token.client_id == client_id);
            found.extend(ours.map(|token| token.id));
            if !list.has_next_page {
                break;
            }
        }
        Ok(found)
    }

    async fn records(
        &self,
        method: Method,
        path: &str,
        bearer: &HeaderValue,
    ) -> Result<(StatusCode, Vec<u8>), RevocationError> {
        let failed = |what: &str| RevocationError::Failed(Cause::new(what));
        let request = || {
            let request = self.call(method.clone(), path);
            request.header(header::AUTHORIZATION, bearer.clone())
        };
        // Deleting twice deletes once.
        let sent = self.send(request, (method.clone(), path), true).await;
        let response = sent.map_err(|_| failed("Nexudus did not respond"))?;
        let status = response.status();
        let body = response_body::read(response).await;
        Ok((status, body.map_err(|_| failed("Nexudus sent no whole response"))?.to_vec()))
    }
}

fn refusal(status: StatusCode) -> RevocationError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RevocationError::Forbidden,
        status => RevocationError::Failed(Cause::new(format!("Nexudus responded with {status}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    records: Vec<RefreshTokenRecord>,
    #[serde(default)]
    has_next_page: bool,
}

/// A record; its ticket and hash are not read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RefreshTokenRecord {
    id: u64,
    #[serde(default)]
    client_id: String,
}

const LIST_PATH: &str = "/api/sys/refreshtokens";

/// Most pages read, of 100 records each: a server that ignores the filter shows all of the account's
/// business.
const MAX_PAGES: u32 = 50;

/// Longest time for all of it.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(30);
