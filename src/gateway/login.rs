//! `POST /api/token` and `POST /api/sys/users/token`, answered here: for clients that insist on logging in.
//!
//! What the client sent goes nowhere. If there is a local key in it, that key is what the client
//! gets as its token, and shows from then on; otherwise it gets a stand-in that means nothing and
//! is replaced like any other `Authorization`.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::caller::{self, Caller, Keys};
use super::{Body, Error, guard, respond};
use crate::clients::PREFIX;
use crate::listen::sandbox;
use crate::upstream::{Fault, Keep, Kept};

/// Answers a grant of any kind.
pub(super) async fn answer(
    request: Request<Incoming>,
    mut caller: Caller,
    keys: &Keys,
) -> Result<Response<Body>, Error> {
    let mut key = caller::shown(request.headers()).map(Cow::into_owned);
    let keep = Keep::new(GRANT_BYTES, GRANT_BYTES as u64, GRANT_PAUSE);
    let form = match keep.look(request.into_body()).await.map_err(Error::Body)? {
        Kept::Empty => Bytes::new(),
        Kept::Whole(form, _) => form,
        Kept::Once(_) => return Err(Error::Body(Fault::TooLarge)),
    };
    let refused = |error| Error::Guard(guard::Error::Client(error));
    for (name, value) in form_urlencoded::parse(&form) {
        // A client that renews sends the key back as what it was given it for.
        let may_be = matches!(&*name, "password" | "refresh_token");
        if may_be && value.starts_with(PREFIX) {
            caller = keys.add(caller, value.as_bytes()).map_err(refused)?;
            key = Some(value.into_owned().into_bytes());
        } else {
            let fields = [&name, &value];
            fields.into_iter().try_for_each(|it| caller::check_form_field(it)).map_err(refused)?;
        }
    }
    keys.check(&caller).map_err(refused)?;
    let token = |key: &Option<Vec<u8>>| match key {
        Some(key) => String::from_utf8_lossy(key).into_owned(),
        None => stand_in(),
    };
    let body = json!({
        "access_token": token(&key),
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
        "refresh_token": token(&key),
    });
    let mut response = Response::new(Body::full(Bytes::from(body.to_string())));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    sandbox(fields);
    respond::name(&mut response, caller.name());
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
