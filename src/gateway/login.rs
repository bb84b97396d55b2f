//! `POST /api/token`, answered here: for clients that insist on logging in.
//!
//! What the client sent is thrown away unread; what it gets is a stand-in that means nothing. Its
//! later requests carry that stand-in, and it is replaced like any other `Authorization`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::{Body, Error, headers};
use crate::upstream::{Fault, Keep, Kept};

/// Answers a grant of any kind.
pub(super) async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let keep = Keep::new(GRANT_BYTES, GRANT_BYTES as u64, GRANT_PAUSE);
    match keep.look(request.into_body()).await.map_err(Error::Body)? {
        Kept::Empty | Kept::Whole(..) => {}
        Kept::Once(_) => return Err(Error::Body(Fault::TooLarge)),
    }
    let body = json!({
        "access_token": stand_in(),
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
        "refresh_token": stand_in(),
    });
    let mut response = Response::new(Body::full(Bytes::from(body.to_string())));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers::shield(fields);
    Ok(response)
}

/// Random, so that nobody takes it for something to compare with.
fn stand_in() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Seven days less a second, as Nexudus documents for its own.
const EXPIRES_IN: u32 = 604_799;

/// A grant is a few hundred bytes.
const GRANT_BYTES: usize = 64 << 10;

/// A client that logs in sends its form at once.
const GRANT_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
