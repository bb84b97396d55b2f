//! The steps of a request one by one, to be timed and counted: `benches/steps.rs`.
//!
//! No request goes through here. The order is that of `Gateway::answer`, and so are the proofs.

use std::sync::Arc;

use http::{Request, response};

use super::authorize::{self, Manners, To};
use super::guard::{self, Admitted, Guard};
use super::headers;
use super::policy::{self, Allowed, Policy, Verdict};
use super::visitor::Visitor;
use crate::listen::{Peer, Standing};
use crate::session::Bearer;
use crate::upstream::{Ask as _, Kept, Upstream};

/// What the steps compare with.
#[derive(Debug)]
pub struct Steps {
    guard: Guard,
    visitor: Visitor,
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
        let visitor = Visitor::new(peer, Standing::Owner, Arc::default());
        Self { guard, visitor, policy, upstream, bearer }
    }

    /// Admits a request, or says nothing of why not.
    pub fn admit(&self, request: Request<()>) -> Option<In> {
        guard::admit(request, &self.visitor, &self.guard).ok().map(In)
    }

    /// Allows it, unless it is a login.
    pub fn allow(&self, In(admitted): In) -> Option<On> {
        match policy::allow(admitted, &self.policy) {
            Ok(Verdict::Forward(allowed, ())) => Some(On(allowed)),
            Ok(Verdict::Login(..)) | Err(_) => None,
        }
    }

    /// Writes the fields of the request that goes out.
    pub fn compose(&self, On(allowed): &On, head: &mut Vec<u8>) {
        let manners = Manners::default();
        let to = To { upstream: &self.upstream, manners: &manners };
        authorize::with(allowed, &mut Kept::Empty, &self.bearer, to).fields(|name, value| {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(piece);
            }
        });
    }

    /// Makes the head of an answer fit for the caller.
    pub fn clean(&self, On(allowed): &On, head: &mut response::Parts) {
        headers::clean(head, allowed, &self.upstream, &self.bearer);
    }
}
