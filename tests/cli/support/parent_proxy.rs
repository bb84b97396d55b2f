//! A real small HTTP proxy, as a company puts one between its machines and the internet.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the proxy does with each request.
#[derive(Clone, Copy)]
pub(crate) enum Manners {
    /// Leads every tunnel and every request to one address, whatever the name.
    Leads(SocketAddr),
    /// Responds with these bytes.
    Says(&'static str),
    /// Accepts, and is silent.
    Hangs,
}

/// The proxy, for as long as the test lasts.
pub(crate) struct ParentProxy {
    pub(crate) address: SocketAddr,
    heads: Receiver<String>,
}

impl ParentProxy {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = channel();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || serve(client, manners, &sender));
            }
        });
        Self { address, heads }
    }

    /// Returns the heads of the requests so far, each with its lines joined by `|`, names in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.try_iter().collect()
    }
}

fn serve(client: TcpStream, manners: Manners, heads: &Sender<String>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let first = lines[0].clone();
    if heads.send(lines.join("|")).is_err() {
        return;
    }
    match manners {
        Manners::Says(response) => {
            (&client).write_all(response.as_bytes()).unwrap();
        }
        Manners::Hangs => {
            // Until the other side gives up.
            (&client).read_to_end(&mut vec![]).ok();
        }
        Manners::Leads(to) if first.starts_with("CONNECT ") => {
            let host = TcpStream::connect(to).unwrap();
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            join(client, host);
        }
        Manners::Leads(to) => {
            let mut host = TcpStream::connect(to).unwrap();
            let path = first.split(' ').nth(1).unwrap().splitn(4, '/').nth(3).unwrap();
            write!(host, "GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            std::io::copy(&mut host, &mut &client).ok();
        }
    }
}

fn join(client: TcpStream, host: TcpStream) {
    let (mut client_out, mut host_out) = (client.try_clone().unwrap(), host.try_clone().unwrap());
    let (mut client, mut host) = (client, host);
    let up = std::thread::spawn(move || {
        std::io::copy(&mut client, &mut host_out).ok();
        host_out.shutdown(std::net::Shutdown::Write).ok();
    });
    std::io::copy(&mut host, &mut client_out).ok();
    client_out.shutdown(std::net::Shutdown::Write).ok();
    up.join().ok();
}

/// Answers every plain request with `from the other host`.
pub(crate) fn plain_host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(client.try_clone().unwrap()).lines();
            let _ = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            let said = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nfrom the other host";
            (&client).write_all(said.as_bytes()).ok();
        }
    });
    address
}
