//! Puts our token where the caller's was.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, RANGE, USER_AGENT, VIA,
};
use http::uri::{Parts, Uri};
use http::{HeaderMap, HeaderValue, Method, Request};

use super::policy::Allowed;
use super::{headers, tunnel};
use crate::session::Bearer;
use crate::upstream::{Kept, Payload, Upstream};

/// What is said of callers upstream.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// In the place of theirs.
    pub user_agent: Option<HeaderValue>,
    /// Whether their trace goes on.
    pub trace: bool,
}

/// Where a request goes, and in whose name.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) manners: &'a Manners,
}

/// Makes the request that goes out: the caller's method, target bytes and body, our authority.
///
/// The caller's fields are copied, not moved: what came in can be sent again.
pub(super) fn with(
    allowed: &Allowed,
    body: &mut Kept,
    bearer: &Bearer,
    to: To<'_>,
) -> Request<Payload> {
    let head = allowed.head();
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 4);
    headers.insert(HOST, to.upstream.authority().clone());
    let nominating = headers::nominating(&head.headers);
    let mut accepts = Accepts::Nothing;
    for (name, value) in &head.headers {
        let is_wanted_trace = to.manners.trace && headers::is_trace(name, nominating);
        let goes_up = headers::goes_up(name, nominating, allowed.has_cookies());
        if is_wanted_trace || goes_up {
            accepts = if name == ACCEPT { accepts.and(value) } else { accepts };
            headers.append(name, value.clone());
        }
    }
    if accepts != Accepts::Something {
        headers.insert(ACCEPT, JSON);
    }
    if allowed.is_without_tokens() {
        // As JSON that can be read, and all of it.
        headers.insert(ACCEPT, JSON);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(RANGE);
    }
    if let Some(name) = &to.manners.user_agent {
        headers.insert(USER_AGENT, name.clone());
    }
    // hyper sends no length for a body that is not there, and a server may insist on one.
    let announces = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if announces && matches!(body, Kept::Empty) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if allowed.switches() {
        tunnel::announce(&mut headers);
    }
    headers.insert(VIA, OURSELVES);
    // The last thing to be set: nothing above can name it, copy it or take it away.
    headers.insert(AUTHORIZATION, bearer.header().clone());

    let mut request = Request::new(body.payload());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = path_only(&head.uri);
    *request.headers_mut() = headers;
    request
}

/// Takes the target's bytes as they came, and never its authority.
fn path_only(uri: &Uri) -> Uri {
    if uri.authority().is_none() && uri.scheme().is_none() {
        return uri.clone();
    }
    let mut parts = Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).expect("a path alone is a complete target")
}

/// What a caller accepts. Nexudus answers XML or HTML to those who do not ask for JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    Nothing,
    Anything,
    Something,
}

impl Accepts {
    fn and(self, value: &HeaderValue) -> Self {
        match self {
            Self::Nothing if value == "*/*" => Self::Anything,
            Self::Nothing | Self::Anything | Self::Something => Self::Something,
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// RFC 9110 §7.6.3: a gateway says that it passed a request on.
const OURSELVES: HeaderValue = HeaderValue::from_static("1.1 nexudus-proxy");

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::header::CONNECTION;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_target_keeps_its_bytes_and_loses_its_authority(target in "/[!\"$-;=?-~]{0,60}") {
            if let Ok(uri) = target.parse::<Uri>() {
                prop_assert_eq!(path_only(&uri).to_string(), target.clone());
            }
            if let Ok(uri) = format!("http://evil.example{target}").parse::<Uri>() {
                let sent = path_only(&uri);
                prop_assert!(sent.authority().is_none() && sent.scheme().is_none());
                prop_assert_eq!(sent.to_string(), target);
            }
        }

        #[test]
        fn no_spelling_of_a_name_speaks_for_the_caller(
            name in "(x[-_]forwarded[-_][a-z]{1,8}|client[-_]id|authorization|cookie|sec[-_]fetch[-_][a-z]{1,6})"
        ) {
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!headers::goes_up(&name, None, false));
        }

        #[test]
        fn what_connection_names_stays_here(name in "[a-z][a-z0-9-]{0,12}", pad in "[ \t]{0,2}") {
            let mut all = HeaderMap::new();
            let value = format!("close,{pad}{}{pad}", name.to_uppercase());
            all.insert(CONNECTION, HeaderValue::try_from(value).unwrap());
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!headers::goes_up(&name, Some(&all), true));
        }
    }
}
