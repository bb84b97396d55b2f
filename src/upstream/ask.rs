//! A request to the host before there are bytes of it: it is asked for its parts where they are
//! written, and never built.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::Kept;

/// What a request consists of. However often it is asked, it says the same.
pub trait Ask {
    /// Returns its method.
    fn method(&self) -> &Method;

    /// Returns its path and query. At what host is for the connection to say.
    fn target(&self) -> &PathAndQuery;

    /// Hands over its fields in their order: `Host`, and nothing of the length of a body that there
    /// is.
    fn fields(&self, each: impl FnMut(&HeaderName, &HeaderValue));

    /// Returns its body, which may be there only once.
    fn body(&mut self) -> &mut Kept;
}

#[cfg(test)]
impl Ask for http::Request<Kept> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> &PathAndQuery {
        self.uri().path_and_query().unwrap()
    }

    fn fields(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        self.headers().iter().for_each(|(name, value)| each(name, value));
    }

    fn body(&mut self) -> &mut Kept {
        self.body_mut()
    }
}
