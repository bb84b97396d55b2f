//! Addresses in order, and connection attempts in parallel.

use super::*;

#[test]
fn families_alternate_from_the_preferred_one() {
    let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mixed = interleave_families(vec![
        parse("[::1]:1"),
        parse("[::2]:1"),
        parse("127.0.0.1:1"),
        parse("127.0.0.2:1"),
    ]);
    let expected = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"].map(parse);
    assert_eq!(mixed, expected);
}

#[tokio::test]
async fn a_dead_address_does_not_stop_a_live_one() {
    let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = live.local_addr().unwrap();
    let dead = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap()
    };

    let stream = happy_eyeballs(vec![dead, address]).await.unwrap();

    assert_eq!(stream.peer_addr().unwrap(), address);
}

#[tokio::test]
async fn an_address_that_does_not_respond_does_not_delay_the_next() {
    // The queue is never emptied: once it is full, Linux drops new connections.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = silent.listen(1).unwrap();
    let address = silent.local_addr().unwrap();
    let mut waiting = vec![];
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();

    let begun = std::time::Instant::now();
    let stream = happy_eyeballs(vec![address, live.local_addr().unwrap()]).await.unwrap();

    assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
    assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < 10 * ATTEMPT_DELAY);
}
