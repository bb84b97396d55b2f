//! A request to the host before it is bytes: read part by part where it is written, and never
//! built.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::body_buffer::ReplayBody;

/// Which requests may follow on a connection that has carried this one.
///
/// Whether a server sees the end of a body where its sender meant it cannot be seen from here.
/// Bytes left over would be read as the beginning of the next request, so that their sender must
/// not be able to speak for a client who may do more (HAProxy: `http-reuse safe`). On HTTP/2 the
/// question does not arise: a body is framed by its stream, whatever its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse<'a> {
    /// Those of every client.
    Shared,
    /// Those of this client, once a body has been sent.
    Client(&'a str),
    /// None, once a body has been sent.
    Never,
}

/// The parts of a request. Each call returns the same.
pub trait UpstreamRequest {
    /// Returns the method.
    fn method(&self) -> &Method;

    /// Returns the path and query; the connection knows the host.
    fn target(&self) -> &PathAndQuery;

    /// Calls `each` with the headers in their order: `Host` too, but no length of a body that there
    /// is.
    fn for_each_header(&self, each: impl FnMut(&HeaderName, &HeaderValue));

    /// Takes down how long the request waited for a connection, where none was idle.
    fn note_connect(&self, _waited: Duration) {}

    /// Returns which requests may follow on the same connection.
    fn reuse(&self) -> Reuse<'_>;

    /// Returns the body.
    fn body(&self) -> &ReplayBody;

    /// Returns the body, to be taken: it may be there only once.
    fn body_mut(&mut self) -> &mut ReplayBody;
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

    fn body(&self) -> &ReplayBody {
        self.body()
    }

    fn body_mut(&mut self) -> &mut ReplayBody {
        self.body_mut()
    }
}
