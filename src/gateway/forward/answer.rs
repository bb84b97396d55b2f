//! Responses that the forward proxy of the daemon and that of a `run` have in common.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request, Response};
use hyper::ext::ReasonPhrase;
use tokio::io::AsyncWriteExt as _;

use crate::forward_proxy::{ForwardProxy, HostPort, Interception, InterceptionError, OpenConnect};
use crate::gateway::content::Content;
use crate::gateway::error::Error;
use crate::gateway::error_response::{self, UnparsedRequest};
use crate::gateway::headers::{is_connection_option, is_hop_by_hop, with_dashes};
use crate::gateway::response_body::ProxyBody;
use crate::gateway::{client_auth, guard};
use crate::listen::{Stream, discard_rest};
use crate::upstream::ClientBody;

/// Decides on a `CONNECT` of a process of our own user, and connects where it leads elsewhere.
/// Returns the response, and what the connection continues with once that has been sent; a refusal
/// names the commands of `profile`.
pub async fn open_connect<B>(
    profile: &str,
    proxy: &ForwardProxy,
    request: &Request<B>,
) -> (Response<ProxyBody>, Option<OpenConnect>) {
    match proxy.open_connect(request.uri(), request.headers(), true).await {
        Ok(open) => (connected(), Some(open)),
        Err(error) => {
            (error_response::render_for_profile(profile, None, &Error::Forward(error)), None)
        }
    }
}

/// Sends a plain request of a process of our own user to another host.
pub async fn send_plain(
    profile: &str,
    proxy: &ForwardProxy,
    to: &HostPort,
    request: Request<ClientBody>,
) -> Response<ProxyBody> {
    let sent = plain_response(proxy, to, request, true).await;
    sent.unwrap_or_else(|error| error_response::render_for_profile(profile, None, &error))
}

/// Takes the TLS of an intercepted `CONNECT`, within `timeout`. A client that does not speak TLS, or
/// to another host, gets a response, and its connection ends.
pub async fn intercept(
    interception: Interception,
    stream: Stream,
    received: Bytes,
    timeout: Duration,
) -> Option<Stream> {
    let handshake = tokio::time::timeout(timeout, interception.handshake(stream, received)).await;
    let (stream, error) = match handshake {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(InterceptionError::NotTls(stream))) => (stream, UnparsedRequest::NotTls),
        Ok(Err(InterceptionError::OtherServerName(stream))) => {
            (stream, UnparsedRequest::OtherServerName)
        }
        Ok(Err(InterceptionError::Handshake(error))) => {
            tracing::debug!(%error, "a TLS handshake of a local client failed");
            return None;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake of a local client took too long");
            return None;
        }
    };
    refuse(stream, error, timeout).await;
    None
}

/// Writes the response to what never becomes a request, and ends the connection.
pub(in crate::gateway) async fn refuse(
    mut stream: Stream,
    error: UnparsedRequest,
    timeout: Duration,
) {
    let rejection = error_response::rejection(error);
    let sent = async {
        stream.write_all(&rejection.response).await?;
        stream.shutdown().await
    };
    let sent = tokio::time::timeout(timeout, sent).await;
    if let Ok(Ok(())) = sent {
        discard_rest(&mut stream).await;
    }
    tracing::debug!(code = rejection.code, is_sent = matches!(sent, Ok(Ok(()))), "no request");
}

/// The response to a `CONNECT` that was accepted.
pub(super) fn connected() -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(Bytes::new()));
    response.extensions_mut().insert(ReasonPhrase::from_static(b"Connection established"));
    response
}

/// Sends a plain request to another host without what is meant for us, and returns its response.
pub(super) async fn plain_response(
    proxy: &ForwardProxy,
    to: &HostPort,
    request: Request<ClientBody>,
    is_owner: bool,
) -> Result<Response<ProxyBody>, Error> {
    let (mut head, body) = request.into_parts();
    client_auth::remove_keys(&mut head).map_err(guard::Error::from)?;
    remove_hop_by_hop(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    let sent = proxy.send_plain(to, Request::from_parts(head, body), is_owner).await?;
    let (mut head, body) = sent.into_parts();
    if head.headers.contains_key(TRANSFER_ENCODING) {
        // Of two lengths the first one counts (RFC 9112 §6.3), and that one ends here.
        head.headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(&mut head.headers);
    let body = ProxyBody::from_upstream(Content::Plain(Box::new(body)), false);
    Ok(Response::from_parts(head, body))
}

/// Removes what is about one connection, but for the length of the body.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let is_removed = |name: &HeaderName| {
        is_connection_option(name.as_str(), headers)
            || *name != CONTENT_LENGTH && is_hop_by_hop(&with_dashes(name.as_str()))
    };
    let removed: Vec<HeaderName> =
        headers.keys().filter(|name| is_removed(name)).cloned().collect();
    removed.iter().for_each(|name| drop(headers.remove(name)));
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_about_one_connection_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("proxy_authorization", "Basic eDp5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }

        remove_hop_by_hop(&mut headers);

        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-kept"]);
    }
}
