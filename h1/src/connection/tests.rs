//! Memory that a connection gives back.

use http_body_util::Empty;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

#[tokio::test]
async fn an_idle_connection_frees_the_memory_of_a_download() {
    let (ours, mut server) = duplex(1 << 20);
    let mut connection = Connection::new(ours);
    let served = async {
        read_head(&mut server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        server.write_all(&[b'x'; 1_000_000]).await.unwrap();
    };
    let (length, ()) = tokio::join!(get(&mut connection), served);
    assert_eq!(length, 1_000_000);

    assert!(connection.is_reusable());

    assert!(!connection.read_buf.try_reclaim(MIN_READ + 1));
}

/// Sends a request and returns the length of the response's body.
async fn get(connection: &mut Connection<DuplexStream, Empty<Bytes>>) -> usize {
    let mut request = http::Request::get("/").body(Empty::new()).unwrap();
    connection.send_request(&mut request, Duration::from_secs(20)).await.unwrap();
    let mut length = 0;
    while let Some(data) = connection.data().await {
        length += data.unwrap().len();
    }
    length
}

async fn read_head(server: &mut DuplexStream) {
    let mut seen = vec![];
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(server.read_u8().await.unwrap());
    }
}
