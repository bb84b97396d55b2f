//! The changes to a response's body that its client's redaction demands.

use http::Response;

use super::error::Error;
use super::login_material;
use super::policy::Allowed;
use super::redacted_response::ResponseRedaction;
use super::response_body::ProxyBody;

/// The changes to the body of one response.
pub(super) struct BodyChanges {
    has_login_material: bool,
    redaction: Option<Box<ResponseRedaction>>,
}

impl BodyChanges {
    /// Returns the changes to the response to this request, if there are any.
    pub(super) fn of(allowed: &Allowed) -> Option<Self> {
        let has_login_material = allowed.has_login_material();
        let redaction = ResponseRedaction::begin(allowed);
        let is_changed = has_login_material || redaction.is_some();
        is_changed.then_some(Self { has_login_material, redaction })
    }

    /// Makes them.
    pub(super) async fn apply(
        self,
        mut response: Response<ProxyBody>,
    ) -> Result<Response<ProxyBody>, Error> {
        if self.has_login_material {
            response = login_material::remove(response).await?;
        }
        match self.redaction {
            Some(redaction) => redaction.apply(response).await,
            None => Ok(response),
        }
    }
}
