//! The cost of a small request on a connection of ours and on one of hyper's: `cargo bench -p
//! h1-client`.
//!
//! Both talk to the same server over a pipe in memory, on one thread. The time includes the
//! server's few reads and writes, which are the same for both and allocate nothing.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use allocation_counter::AllocationInfo;
use bytes::Bytes;
use h1_client::Connection;
use http::Request;
use http_body::Body as _;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    show("h1-client", &runtime, ours);
    show("hyper", &runtime, hypers);
}

/// Prints the least time of a request and the allocations of one.
fn show(name: &str, runtime: &Runtime, run: impl AsyncFn(u32)) {
    let best = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        runtime.block_on(run(REQUESTS));
        begun.elapsed() / REQUESTS
    });
    let best = best.min().unwrap();
    let counted = |requests| allocation_counter::measure(|| runtime.block_on(run(requests)));
    let (few, many): (AllocationInfo, AllocationInfo) = (counted(100), counted(1100));
    let each = |few: u64, many: u64| (many - few) as f64 / 1000.0;
    let (count, bytes) =
        (each(few.count_total, many.count_total), each(few.bytes_total, many.bytes_total));
    println!("{name:>10}: {best:>8?}, {count:.1} allocations, {bytes:.0} bytes");
}

async fn ours(requests: u32) {
    let mut connection = Connection::<_, Empty<Bytes>>::new(server());
    for _ in 0..requests {
        let mut request = request();
        let response = connection.send_request(&mut request, TIMEOUT).await.unwrap();
        while let Some(data) = connection.data().await {
            data.unwrap();
        }
        connection.recycle_headers(response.into_parts().0.headers);
        assert!(connection.is_reusable());
    }
}

async fn hypers(requests: u32) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(server())).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..requests {
        sender.ready().await.unwrap();
        let mut body = sender.send_request(request()).await.unwrap().into_body();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            frame.unwrap();
        }
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("/api/items?page=1")
        .header("host", "localhost")
        .header("accept", "application/json")
        .body(Empty::new())
        .unwrap()
}

/// Starts a server that responds to each head with the same kilobyte.
fn server() -> DuplexStream {
    let (ours, mut theirs) = duplex(64 << 10);
    let body = "x".repeat(1100);
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\
         \r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        let mut buf = [0; 1024];
        // A request comes in one write, so that one read takes it.
        while let Ok(1..) = theirs.read(&mut buf).await {
            theirs.write_all(response.as_bytes()).await.unwrap();
        }
    });
    ours
}

const ROUNDS: u32 = 20;

const REQUESTS: u32 = 5_000;

const TIMEOUT: Duration = Duration::from_secs(5);
