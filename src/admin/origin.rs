//! Which upstream the daemon asks: told to a `run`, and compared with the one a login is for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};

use super::wire::{OTHER_ORIGIN, Problem, UPSTREAM, Upstream};
use super::{Shared, json};

/// Answers `GET /v1/upstream`.
pub(super) async fn upstream(State(shared): State<Arc<Shared>>) -> Response<Body> {
    json(StatusCode::OK, &Upstream { upstream: shared.facts.upstream.clone() })
}

/// Checks that a login is for the daemon's own upstream. A command of an earlier version does not
/// say what it is for.
///
/// # Errors
///
/// The refusal.
pub(super) fn check(shared: &Shared, query: Option<&str>) -> Result<(), Box<Response<Body>>> {
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    let origin = pairs.find_map(|pair| pair.strip_prefix(UPSTREAM)?.strip_prefix('='));
    let ours = &shared.facts.upstream;
    match origin {
        Some(origin) if origin != ours => {
            let detail = format!("this daemon serves {ours}, and the login is for {origin}");
            let problem = Problem::new(StatusCode::CONFLICT, OTHER_ORIGIN, detail);
            Err(Box::new(shared.refuse(problem)))
        }
        Some(_) | None => Ok(()),
    }
}
