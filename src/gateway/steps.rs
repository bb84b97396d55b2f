//! The steps of a request one by one, to be timed and counted: `benches/steps.rs`.
//!
//! No request goes through here. The order is that of `Gateway::handle`, and so are the proofs.

use std::sync::Arc;

use http::{Request, response};

use super::guard::{self, Admitted, Guard};
use super::headers;
use super::outbound::{self, Destination, HeaderPolicy};
use super::peer_identity::ConnectionPeer;
use super::policy::{self, Allowed, Decision, Policy};
use crate::listen::{Peer, PeerAccess};
use crate::session::Bearer;
use crate::upstream::{ReplayBody, Upstream, UpstreamRequest as _};

/// What the steps compare with.
#[derive(Debug)]
pub struct Steps {
    guard: Guard,
    visitor: ConnectionPeer,
    policy: Policy,
    upstream: Upstream,
    bearer: Bearer,
}

/// A request that was admitted.
#[derive(Debug)]
pub struct In(Admitted<()>);

/// A request that was allowed.
#[derive(Debug)]
pub struct On(Allowed);

impl Steps {
    /// Lets `peer` ask `upstream` with `bearer`.
    pub fn new(
        guard: Guard,
        policy: Policy,
        upstream: Upstream,
        bearer: Bearer,
        peer: Peer,
    ) -> Self {
        let visitor = ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default());
        Self { guard, visitor, policy, upstream, bearer }
    }

    /// Admits a request, or says nothing of why not.
    pub fn admit(&self, request: Request<()>) -> Option<In> {
        guard::admit(request, &self.visitor, &self.guard).ok().map(In)
    }

    /// Allows it, unless it is a login.
    pub fn allow(&self, In(admitted): In) -> Option<On> {
        match policy::decide(admitted, &self.policy) {
            Ok(Decision::Forward(allowed, ())) => Some(On(allowed)),
            Ok(Decision::TokenEndpoint(..)) | Err(_) => None,
        }
    }

    /// Writes the fields of the request that goes out.
    pub fn compose(&self, On(allowed): &On, head: &mut Vec<u8>) {
        let manners = HeaderPolicy::default();
        let to = Destination { upstream: &self.upstream, header_policy: &manners };
        outbound::build(allowed, &mut ReplayBody::Empty, &self.bearer, to).for_each_header(
            |name, value| {
                for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    head.extend_from_slice(piece);
                }
            },
        );
    }

    /// Makes the head of an answer fit for the caller.
    pub fn clean(&self, On(allowed): &On, head: &mut response::Parts) {
        headers::sanitize_response(head, allowed, &self.upstream, &self.bearer);
    }
}
