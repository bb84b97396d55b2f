//! A request to the host before there are bytes of it: it is asked for its parts where they are
//! written, and never built.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::ReplayBody;

/// With whom a connection may be shared that has carried a request.
///
/// Whether a server reads the end of a body where its sender meant it cannot be seen from here. What
/// is left over would be read as the beginning of the next request, so that its sender must not be
/// able to speak for a caller who may do more (HAProxy: `http-reuse safe`). On HTTP/2 the question
/// does not arise: a body is framed by its stream, whatever its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse<'a> {
    /// With every caller.
    Shared,
    /// With the client of this identity, once a body has been sent.
    Client(&'a str),
    /// With no other request, once a body has been sent.
    Never,
}

/// What a request consists of. However often it is asked, it says the same.
pub trait UpstreamRequest {
    /// Returns its method.
    fn method(&self) -> &Method;

    /// Returns its path and query. At what host is for the connection to say.
    fn target(&self) -> &PathAndQuery;

    /// Hands over its fields in their order: `Host`, and nothing of the length of a body that there
    /// is.
    fn for_each_header(&self, each: impl FnMut(&HeaderName, &HeaderValue));

    /// Returns with whom its connection may be shared afterwards.
    fn reuse(&self) -> Reuse<'_>;

    /// Returns its body, which may be there only once.
    fn body(&mut self) -> &mut ReplayBody;
}

#[cfg(test)]
impl UpstreamRequest for http::Request<ReplayBody> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> &PathAndQuery {
        self.uri().path_and_query().unwrap()
    }

    fn for_each_header(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        self.headers().iter().for_each(|(name, value)| each(name, value));
    }

    fn reuse(&self) -> Reuse<'_> {
        Reuse::Shared
    }

    fn body(&mut self) -> &mut ReplayBody {
        self.body_mut()
    }
}
