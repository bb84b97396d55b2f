//! TLS records made by hand: what no library would send.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Records that are sent without end.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    /// Requests for new keys.
    KeyUpdates,
    /// Records without a byte.
    Empty,
    /// Session tickets.
    Tickets,
    /// Session tickets, and a byte of data between every thousand.
    TicketsAndData,
}

/// Sends records for as long as the other end reads.
pub async fn flood(mut tls: TlsStream<TcpStream>, kind: Flood) {
    if let Flood::KeyUpdates = kind {
        while tls.get_mut().1.refresh_traffic_keys().is_ok() && tls.flush().await.is_ok() {}
        return;
    }
    let (mut tcp, connection) = tls.into_inner();
    let mut writer = Writer::new(connection.dangerous_extract_secrets().unwrap());
    let mut sent = Ok(());
    while sent.is_ok() {
        let mut burst = vec![];
        for _ in 0..1_000 {
            match kind {
                Flood::Empty => writer.append(DATA, b"", &mut burst),
                Flood::KeyUpdates | Flood::Tickets | Flood::TicketsAndData => {
                    writer.append(HANDSHAKE, &ticket(), &mut burst);
                }
            }
        }
        if let Flood::TicketsAndData = kind {
            writer.append(DATA, b"x", &mut burst);
        }
        sent = tcp.write_all(&burst).await;
    }
}

/// RFC 8446 §4.6.1.
fn ticket() -> Vec<u8> {
    let body = [&[0, 0, 28, 32][..], &[0, 0, 0, 1], &[1, 7], &[0, 32], &[9; 32], &[0, 0]].concat();
    [&[4, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

/// Writes records as RFC 8446 §5.2 has them.
struct Writer {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Writer {
    fn new(secrets: ExtractedSecrets) -> Self {
        let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
            panic!("another cipher suite");
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), number }
    }

    fn append(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.number.to_be_bytes()).for_each(|(one, two)| *one ^= two);
        self.number += 1;
        let length = u16::try_from(content.len() + 1 + 16).unwrap().to_be_bytes();
        let header = [DATA, 3, 3, length[0], length[1]];
        let mut sealed = [content, &[kind]].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        out.extend_from_slice(&header);
        out.extend_from_slice(&sealed);
    }
}

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
