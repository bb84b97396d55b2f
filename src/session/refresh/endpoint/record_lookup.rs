//! One record of the API, for a person who decides about it: a call of our own.

use http::{HeaderValue, Method, header};
use zeroize::Zeroizing;

use super::HttpIssuer;
use crate::config::UpstreamAuth;
use crate::session::error::Cause;
use crate::session::refresh::response_body;

impl HttpIssuer {
    /// Asks for the record at `path`. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// When there is no record, or none that is small enough.
    pub async fn record(
        &self,
        path: &str,
        authorization: &HeaderValue,
    ) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let is_login = self.auth == UpstreamAuth::Basic;
        let client_id = self.client_id.value().filter(|_| is_login);
        let request = || {
            let request = self.call(Method::GET, path);
            let request = request.header(header::AUTHORIZATION, authorization.clone());
            match &client_id {
                Some(client_id) => request.header("client_id", client_id.as_str()),
                None => request,
            }
        };
        let lost = || Cause::new("Nexudus did not respond");
        let response =
            self.send(request, (Method::GET, path), !is_login).await.map_err(|_| lost())?;
        if !response.status().is_success() {
            return Err(Cause::new(format!(
                "Nexudus responded with {}",
                response.status().as_u16()
            )));
        }
        let too_large = |_| Cause::new("the record is too large, or broke off");
        response_body::read(response).await.map_err(too_large)
    }
}
