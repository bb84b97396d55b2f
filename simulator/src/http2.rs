//! HTTP/2 through hyper: the same exchanges, without what only HTTP/1.1 can get wrong.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Notify, mpsc};

use crate::exchange::Exchange;
use crate::request::{ReceivedBody, RequestHead};
use crate::resettable_stream::TrackedStream;
use crate::response::{Outcome, SimulatedResponse};
use crate::state::SharedState;

/// Serves HTTP/2 until one side has had enough.
pub(crate) async fn serve(
    shared: &Arc<SharedState>,
    lane: TrackedStream,
    reset: &AtomicBool,
    number: u64,
) {
    let cut = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (shared, cut) = (Arc::clone(shared), Arc::clone(&cut));
        async move { respond(&shared, request, number, &cut).await }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(lane), service);
    let mut connection = pin!(connection);
    let mut sweep = shared.sweep.subscribe();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = sweep.changed() => connection.as_mut().graceful_shutdown(),
            () = cut.notified() => {
                reset.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

async fn respond(
    shared: &Arc<SharedState>,
    request: http::Request<Incoming>,
    number: u64,
    cut: &Notify,
) -> Result<http::Response<ChannelBody>, io::Error> {
    let (parts, mut incoming) = request.into_parts();
    let head = request_head(&parts);
    let exchange = Arc::new(Exchange::begin(shared, &head, number));
    let reply = match exchange.respond_before_body(&head) {
        Some(reply) => reply,
        None => {
            let mut intake = ReceivedBody::for_head(&head);
            while let Some(frame) = incoming.frame().await {
                let Ok(frame) = frame else {
                    exchange.abandon();
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                if let Some(data) = frame.data_ref() {
                    intake.push(data);
                }
            }
            read_and_respond(&exchange, head.clone(), intake).await?
        }
    };
    match reply {
        Outcome::Answer(answer) => Ok(response(&head, answer, exchange)),
        // The service's error becomes a reset of the stream.
        Outcome::Raw(_) | Outcome::Close => {
            exchange.abandon();
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Outcome::Reset => {
            exchange.abandon();
            cut.notify_one();
            std::future::pending().await
        }
        Outcome::Hang => std::future::pending().await,
    }
}

fn request_head(parts: &http::request::Parts) -> RequestHead {
    RequestHead {
        method: parts.method.as_str().to_owned(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        version: "HTTP/2.0",
        authority: parts.uri.authority().map(|authority| authority.as_str().to_owned()),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
    }
}

/// Judges on a task of its own, so that a request is carried out although its client has left.
async fn read_and_respond(
    exchange: &Arc<Exchange>,
    head: RequestHead,
    intake: ReceivedBody,
) -> io::Result<Outcome> {
    let waiting = AbandonOnDrop(Some(Arc::clone(exchange)));
    let judge = Arc::clone(exchange);
    let reply = tokio::spawn(async move { judge.reply(head, intake).await });
    let reply = reply.await.map_err(io::Error::other);
    waiting.disarm();
    reply
}

/// Dropped by hyper when the client resets the stream.
struct AbandonOnDrop(Option<Arc<Exchange>>);

impl AbandonOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            exchange.client_left();
        }
    }
}

fn response(
    asked: &RequestHead,
    answer: SimulatedResponse,
    exchange: Arc<Exchange>,
) -> http::Response<ChannelBody> {
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        // Headers about the connection do not exist in HTTP/2.
        let own = ["connection", "keep-alive", "transfer-encoding", "upgrade"];
        if !own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            response = response.header(name, value);
        }
    }
    let (pieces, receiver) = mpsc::channel(4);
    let bodiless = asked.method == "HEAD" || answer.is_bodiless();
    if !answer.is_bodiless() && answer.delivery.framing == crate::response::Framing::Length {
        response = response.header("content-length", answer.body.length());
    }
    tokio::spawn(async move {
        if bodiless || send_body(&answer, &pieces).await {
            exchange.finish();
        } else {
            exchange.abandon();
        }
    });
    let body = ChannelBody { pieces: receiver };
    response.body(body).unwrap_or_else(|_| {
        let mut broken = http::Response::new(ChannelBody { pieces: mpsc::channel(1).1 });
        *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

/// Sends the body; returns whether the client took all of it.
async fn send_body(answer: &SimulatedResponse, pieces: &mpsc::Sender<BodyFrame>) -> bool {
    let delivery = &answer.delivery;
    let end = delivery.cut.map_or(answer.body.length(), |cut| cut.min(answer.body.length()));
    let piece = if delivery.chunk == 0 { 16 * 1024 } else { delivery.chunk };
    let mut sent = 0;
    while sent < end {
        if !delivery.pause.is_zero() {
            tokio::time::sleep(delivery.pause).await;
        }
        let bytes = answer.body.piece(sent, piece.min((end - sent) as usize));
        sent += bytes.len() as u64;
        if pieces.send(Ok(Frame::data(bytes))).await.is_err() {
            return false;
        }
    }
    if delivery.cut.is_some() {
        let _ = pieces.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
        return false;
    }
    if !delivery.trailers.is_empty() {
        let trailers = delivery.trailers.iter().filter_map(|(name, value)| {
            Some((http::HeaderName::try_from(name).ok()?, value.parse().ok()?))
        });
        let _ = pieces.send(Ok(Frame::trailers(trailers.collect()))).await;
    }
    true
}

type BodyFrame = Result<Frame<Bytes>, io::Error>;

/// A body fed by a task.
struct ChannelBody {
    pieces: mpsc::Receiver<BodyFrame>,
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(context)
    }
}
