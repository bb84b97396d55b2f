//! Which upstream the daemon asks: told to a `run`, and compared with the one a login is for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};

use super::api::{ORIGIN_MISMATCH_CODE, Problem, UPSTREAM_PARAM, UpstreamInfo};
use super::{AdminContext, json};

/// Answers `GET /v1/upstream`.
pub(super) async fn upstream(State(shared): State<Arc<AdminContext>>) -> Response<Body> {
    json(StatusCode::OK, &UpstreamInfo { upstream: shared.server.upstream.clone() })
}

/// Checks that a login is for the daemon's own upstream. A command of an earlier version does not
/// say what it is for.
///
/// # Errors
///
/// The refusal.
pub(super) fn check(shared: &AdminContext, query: Option<&str>) -> Result<(), Box<Response<Body>>> {
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    let origin = pairs.find_map(|pair| pair.strip_prefix(UPSTREAM_PARAM)?.strip_prefix('='));
    let ours = &shared.server.upstream;
    match origin {
        Some(origin) if origin != ours => {
            let detail = format!("this daemon serves {ours}, and the login is for {origin}");
            let problem = Problem::new(StatusCode::CONFLICT, ORIGIN_MISMATCH_CODE, detail);
            Err(Box::new(shared.problem_response(problem)))
        }
        Some(_) | None => Ok(()),
    }
}
