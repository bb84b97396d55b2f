//! Accepts the connections of this user's programs, and serves them.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::routes::Site;
use crate::listen::{Listener, Stream};
use crate::peer::{PeerAccess, UserAcl};

/// Serves for ever. A connection of another user ends before a byte of it is read.
pub(super) async fn serve(mut listener: Listener, site: &Site<'_>) {
    let own_user = UserAcl::new(vec![], vec![], false);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                if own_user.classify(&peer) == PeerAccess::Owner && connections.len() < MAX_CONNECTIONS {
                    stream.disable_reset();
                    connections.push(serve_connection(stream, site));
                }
            }
            Some(()) = connections.next() => {}
        }
    }
}

async fn serve_connection(stream: Stream, site: &Site<'_>) {
    let service = service_fn(async |request| Ok::<_, Infallible>(site.respond(request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_header_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A browser that leaves in the middle of a response is no error.
    let _ = connection.await;
}

/// Most connections at once. A browser opens six for each tab.
const MAX_CONNECTIONS: usize = 64;

/// Longest time for the head of a request, and between two requests.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
