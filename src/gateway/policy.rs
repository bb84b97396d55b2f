//! What may be asked of the upstream.

use http::request::Parts;
use http::{Method, Request};
use hyper::body::Incoming;

use super::guard::Admitted;
use super::target;
use crate::upstream::{Kept, Repeat};

/// A request that may be sent.
#[derive(Debug)]
pub(super) struct Allowed(Parts);

/// Where an admitted request goes.
#[derive(Debug)]
pub(super) enum Verdict {
    /// To the upstream, with its body.
    Forward(Allowed, Incoming),
    /// To our own token endpoint.
    Login(Request<Incoming>),
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A server could read the path as the token endpoint, which the daemon keeps to itself.
    #[error("the path can be read as /api/token, which is answered here only in that spelling")]
    Reserved,
    /// The token endpoint takes POST.
    #[error("/api/token takes POST only")]
    TokenMethod,
}

/// Allows everything but the token endpoint, which never reaches Nexudus: a grant that went
/// through would hand out real tokens and end our own session.
pub(super) fn allow(Admitted { head, body }: Admitted) -> Result<Verdict, Error> {
    match token_endpoint(head.uri.path()) {
        Spelling::Other => Ok(Verdict::Forward(Allowed(head), body)),
        Spelling::Exact if head.method == Method::POST => {
            Ok(Verdict::Login(Request::from_parts(head, body)))
        }
        Spelling::Exact => Err(Error::TokenMethod),
        Spelling::Odd => Err(Error::Reserved),
    }
}

impl Allowed {
    /// Returns the method.
    pub(super) fn method(&self) -> &Method {
        &self.0.method
    }

    /// Returns the path, without the query.
    pub(super) fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// Returns the head as the caller sent it.
    pub(super) fn head(&self) -> &Parts {
        &self.0
    }

    /// Says whether a second execution would change anything (RFC 9110 §9.2.1).
    pub(super) fn repeat(&self, body: &Kept) -> Repeat {
        let safe = matches!(self.0.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match safe && matches!(body, Kept::Empty) {
            true => Repeat::Harmless,
            false => Repeat::Never,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Spelling {
    Exact,
    Odd,
    Other,
}

fn token_endpoint(path: &str) -> Spelling {
    if path == TOKEN {
        return Spelling::Exact;
    }
    // Canonical forms are never longer than the path, and a path of plain characters changes only
    // its case and its slashes: the few that could be the endpoint are worth an allocation.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_~".contains(&byte));
    let may_match = path.len() >= TOKEN.len() && (!is_plain || has_token_shape(path));
    match may_match && target::canonical(path) == TOKEN {
        true => Spelling::Odd,
        false => Spelling::Other,
    }
}

/// Says whether a path of plain characters has the endpoint's letters.
fn has_token_shape(path: &str) -> bool {
    let letters = path.bytes().filter(|byte| *byte != b'/').map(|byte| byte.to_ascii_lowercase());
    letters.eq(TOKEN.bytes().filter(|byte| *byte != b'/'))
}

const TOKEN: &str = "/api/token";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_token_endpoint_is_known_in_every_spelling() {
        assert_eq!(token_endpoint("/api/token"), Spelling::Exact);
        for path in ["/API/token", "/api/token/", "//api/token", "/api/%74oken", "/x/../api/token"]
        {
            assert_eq!(token_endpoint(path), Spelling::Odd, "{path}");
        }
        for path in ["/", "/api", "/api/tokens", "/api/token/x", "/a/pi/token", "/apitoken"] {
            assert_eq!(token_endpoint(path), Spelling::Other, "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_short_cut_never_hides_a_spelling(path in "/[aApPiItToOkKeEnN/%.;\\\\0-9a-f]{0,24}") {
            let odd = target::canonical(&path) == TOKEN && path != TOKEN;
            prop_assert_eq!(token_endpoint(&path) == Spelling::Odd, odd);
        }
    }
}
