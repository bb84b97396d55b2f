//! A request in the parts that a connection writes.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body;

/// A request that is written from its parts, so that none has to be built.
///
/// [`http::Request`] is one. A program that has the parts elsewhere implements the trait instead,
/// and copies none of them.
pub trait Request {
    /// The body.
    type Body: Body<Data = Bytes> + Unpin;

    /// Returns the method.
    fn method(&self) -> &Method;

    /// Returns the target as it is written, of whatever form (RFC 9112 §3.2). The bytes are sent
    /// unchanged.
    fn target(&self) -> &str;

    /// Calls `each` with the headers in the order in which they are written, `Host` included. The
    /// connection itself adds `Content-Length` or `Transfer-Encoding` if there is a body.
    fn for_each_header(&self, each: impl FnMut(&HeaderName, &HeaderValue));

    /// Returns the length of the body, or `None` if it is not known: then the body is sent in
    /// chunks.
    fn body_length(&self) -> Option<u64>;

    /// Returns the body, if all of it is in memory: a small one is then written together with the
    /// head, and [`Request::take_body`] is not called.
    fn buffered_body(&self) -> Option<&[u8]> {
        None
    }

    /// Takes the body, once at most, after the head has been written.
    fn take_body(&mut self) -> Self::Body;
}

impl<B: Body<Data = Bytes> + Default + Unpin> Request for http::Request<B> {
    type Body = B;

    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> &str {
        let uri = self.uri();
        match uri.authority() {
            Some(authority) if self.method() == Method::CONNECT => authority.as_str(),
            Some(_) | None => uri.path_and_query().map_or("/", |target| target.as_str()),
        }
    }

    fn for_each_header(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        self.headers().iter().for_each(|(name, value)| each(name, value));
    }

    fn body_length(&self) -> Option<u64> {
        self.body().size_hint().exact()
    }

    fn take_body(&mut self) -> B {
        std::mem::take(self.body_mut())
    }
}
