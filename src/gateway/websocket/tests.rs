//! Tests of the copying between the two ends of a WebSocket, with paused time.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, duplex};
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_end_that_takes_nothing_times_out_and_one_that_sends_nothing_does_not() {
    let (mut client, mut from) = duplex(64);
    let (mut to, mut host) = duplex(64);
    let mut way = CopyDirection::new(Bytes::from_static(b"ahead "), PingTo::Host, limits());
    let begun = Instant::now();

    let (taken, ended) = tokio::join!(
        async {
            tokio::time::sleep(10 * WRITE_STALL_TIMEOUT).await;
            client.write_all(b"late").await.unwrap();
            let mut taken = [0; 10];
            host.read_exact(&mut taken).await.unwrap();
            // More than fits into the buffers between the two ends.
            client.write_all(&[0; 60]).await.unwrap();
            client.write_all(&[0; 60]).await.unwrap();
            taken
        },
        poll_fn(|cx| way.poll(cx, &mut from, &mut to)),
    );

    assert_eq!(&taken, b"ahead late");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), (11 * WRITE_STALL_TIMEOUT).as_secs());
    assert!(way.buffered.len() <= READ_SIZE && way.copied == 10 + 64, "{}", way.copied);
}

#[tokio::test]
async fn a_long_copy_lets_other_tasks_run() {
    let (mut client, mut from) = duplex(8 << 20);
    let (mut to, _host) = duplex(8 << 20);
    client.write_all(&[0; 4 << 20]).await.unwrap();
    let mut way = CopyDirection::new(Bytes::new(), PingTo::Host, limits());

    let polled = poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;

    // The bytes that were read last wait for the next poll.
    assert!(polled);
    assert!(way.copied <= READ_SIZE * MAX_READS_PER_POLL, "{}", way.copied);
}

#[tokio::test]
async fn a_ping_waits_for_the_end_of_a_frame() {
    let (mut client, mut from) = duplex(64);
    let (mut to, mut host) = duplex(64);
    let mut way = CopyDirection::new(Bytes::from_static(b"\x81\x02h"), PingTo::Client, limits());
    way.ping = Ping::Due;
    let mut copied = async |way: &mut CopyDirection, count: usize| {
        poll_fn(|cx| Poll::Ready(way.poll(cx, &mut from, &mut to).is_pending())).await;
        let mut taken = vec![0; count];
        host.read_exact(&mut taken).await.unwrap();
        taken
    };

    assert_eq!(copied(&mut way, 3).await, b"\x81\x02h");
    assert_eq!(way.ping, Ping::Due);
    client.write_all(b"i\x81").await.unwrap();
    assert_eq!(copied(&mut way, 2).await, b"i\x81");
    assert_eq!(way.ping, Ping::Due, "the next frame has begun");
    client.write_all(b"\x00").await.unwrap();
    assert_eq!(copied(&mut way, 3).await, b"\x00\x89\x00");
}

#[test]
fn silence_is_counted_in_pings_that_were_sent() {
    let mut silence = Silence { has_read: true, unanswered: 0 };
    let mut ping = Ping::Idle;

    assert!(!silence.check(&mut ping));
    assert_eq!(ping, Ping::Idle, "a handshake has just come");
    for _ in 0..10 {
        assert!(!silence.check(&mut ping));
        assert_eq!(ping, Ping::Due, "what was not sent proves nothing");
    }
    for unanswered in 1..=MAX_UNANSWERED_PINGS {
        ping = Ping::Sent;
        assert_eq!(silence.check(&mut ping), unanswered == MAX_UNANSWERED_PINGS);
    }
    silence.has_read = true;
    assert!(!silence.check(&mut ping));
    ping = Ping::Sent;
    assert!(!silence.check(&mut ping), "bytes answer all earlier pings");
}

#[tokio::test(start_paused = true)]
async fn a_slow_end_gets_all_bytes() {
    let (mut client, mut from) = duplex(1 << 20);
    let (mut to, mut host) = duplex(8);
    client.write_all(&[7; 100]).await.unwrap();
    drop(client);
    let mut way = CopyDirection::new(Bytes::new(), PingTo::Host, limits());

    let (taken, ended) = tokio::join!(
        async {
            let mut taken = vec![];
            while taken.len() < 100 {
                tokio::time::sleep(WRITE_STALL_TIMEOUT / 2).await;
                let mut few = [0; 8];
                let count = host.read(&mut few).await.unwrap();
                taken.extend_from_slice(&few[..count]);
            }
            taken
        },
        poll_fn(|cx| way.poll(cx, &mut from, &mut to)),
    );

    ended.unwrap();
    assert_eq!(taken, [7; 100]);
}

/// Both ends of a WebSocket, seen from outside, and what copies between them.
async fn copied(
    client: impl AsyncFnOnce(tokio::io::DuplexStream),
    host: impl AsyncFnOnce(tokio::io::DuplexStream),
) -> (io::Result<()>, Duration) {
    let (client_end, mut from) = duplex(64);
    let (mut to, host_end) = duplex(64);
    let mut up = CopyDirection::new(Bytes::new(), PingTo::Host, limits());
    let mut down = CopyDirection::new(Bytes::new(), PingTo::Client, limits());
    let begun = Instant::now();
    let ends = async { tokio::join!(client(client_end), host(host_end)) };
    let copying = copy(&mut from, &mut to, (&mut up, &mut down), |_| ());
    tokio::select! {
        ended = copying => (ended, begun.elapsed()),
        _ = ends => panic!("an end has left"),
    }
}

/// Takes every byte, and answers every second ping.
async fn answer_rarely(mut end: tokio::io::DuplexStream, pong: &[u8]) {
    let (mut reading, mut writing) = tokio::io::split(&mut end);
    let take = async {
        let mut taken = [0; 64];
        while reading.read(&mut taken).await.unwrap() > 0 {}
    };
    let answer = async {
        loop {
            tokio::time::sleep(2 * PING_INTERVAL).await;
            writing.write_all(pong).await.unwrap();
        }
    };
    tokio::join!(take, answer);
}

/// Takes every byte and sends none, as a kernel does whose program hangs.
async fn take_all(mut end: tokio::io::DuplexStream) {
    let mut taken = [0; 64];
    while end.read(&mut taken).await.unwrap() > 0 {}
}

#[tokio::test(start_paused = true)]
async fn an_end_that_answers_no_ping_ends_the_websocket_after_two_minutes() {
    let (by_client, after) = copied(take_all, take_all).await;

    assert_eq!(by_client.unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(after, (MAX_UNANSWERED_PINGS + 1) * PING_INTERVAL);

    let talking = async |mut end: tokio::io::DuplexStream| {
        loop {
            tokio::time::sleep(PING_INTERVAL / 2).await;
            end.write_all(b"\x8a\x00").await.unwrap();
        }
    };
    let (by_host, after) = copied(talking, take_all).await;
    assert_eq!(by_host.unwrap_err().kind(), io::ErrorKind::NotConnected, "a client that talks");
    assert_eq!(after, (MAX_UNANSWERED_PINGS + 1) * PING_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn ends_that_answer_pings_and_say_nothing_else_stay_for_hours() {
    let hours = 3 * Duration::from_secs(60 * 60);
    let client = async |end| answer_rarely(end, b"\x8a\x80mask").await;
    let host = async |end| answer_rarely(end, b"\x8a\x00").await;

    let ended = tokio::time::timeout(hours, copied(client, host)).await;

    assert!(ended.is_err(), "{ended:?}");
}

fn limits() -> SilenceLimits {
    SilenceLimits::new(BODY_IDLE)
}

/// The default.
const BODY_IDLE: Duration = Duration::from_secs(60);

const PING_INTERVAL: Duration = Duration::from_secs(30);

const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(120);
