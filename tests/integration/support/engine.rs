//! A real engine for a fleet: `redis-server` in a folder and on a port of its own, ended by its process
//! id.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::EVENT_TIMEOUT;

/// A running engine.
pub struct FleetEngine {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl FleetEngine {
    /// Starts an empty engine.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(port).await
    }

    /// Starts a replica, and waits until it has everything.
    pub async fn start_replica(&self) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let of = format!("127.0.0.1 {}", self.port);
        let replica = Self::start_with(port, &["--replicaof", &of]).await;
        replica.wait_for_log("Finished with success").await;
        replica
    }

    async fn start_at(port: u16) -> Self {
        Self::start_with(port, &[]).await
    }

    async fn start_with(port: u16, further: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), port, further).await
    }

    async fn start_in(folder: TempDir, port: u16, further: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--rdbcompression", "no", "--daemonize", "no", "--dir"]).arg(folder.path());
        command.args(further);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let engine = Self { child, port, folder };
        engine.wait_for_log("eady to accept connections").await;
        engine
    }

    /// The log says so: a connection could be one to another program on a port that was free.
    async fn wait_for_log(&self, text: &str) {
        let ready = async {
            loop {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
                if log.contains(text) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, ready).await.expect("the engine does not start");
    }

    /// Returns the URL for `fleet.engine`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it, and everything that it held.
    pub fn stop(mut self) -> u16 {
        self.end();
        self.port
    }

    /// Starts an empty engine on the port of one that was stopped.
    pub async fn start_again(port: u16) -> Self {
        Self::start_at(port).await
    }

    /// Starts one on the port of one that was stopped, with what a backup holds.
    pub async fn start_from(port: u16, backup: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dump.rdb"), backup).unwrap();
        Self::start_in(folder, port, &[]).await
    }

    /// Writes everything to a file, as a backup does, and returns it.
    pub async fn backup(&self) -> Vec<u8> {
        self.command("SAVE").await;
        std::fs::read(self.folder.path().join("dump.rdb")).unwrap()
    }

    /// Gives a command as the engine's operator, who is the default user.
    pub async fn command(&self, line: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// Gives a command as the engine's operator, and returns the answer as it came.
    pub async fn give(&self, line: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        answer.truncate(answer.len() - b"+OK\r\n".len());
        assert!(!answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
        answer
    }

    /// Gives a command whose answer is a list.
    pub async fn list(&self, line: &str) -> Vec<Vec<u8>> {
        let answer = self.give(line).await;
        let mut rest = answer.as_slice();
        let mut number = |mark: u8, skipped: usize| {
            rest = &rest[skipped..];
            assert_eq!(rest[0], mark);
            let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
            let number: usize = str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
            rest = &rest[end + 2..];
            (number, rest)
        };
        let (length, _) = number(b'*', 0);
        let mut skipped = 0;
        let mut items = vec![];
        for _ in 0..length {
            let (size, text) = number(b'$', skipped);
            items.push(text[..size].to_vec());
            skipped = size + 2;
        }
        items
    }

    /// Returns how many scripts it has run: each call of a member is one.
    pub async fn scripts(&self) -> u64 {
        let told = self.ask("INFO commandstats").await;
        let line = told.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
    }

    /// Returns the names of its keys.
    pub async fn keys(&self) -> String {
        self.ask("KEYS *").await
    }

    /// Sends a command and returns all that is told before the connection is closed.
    async fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        told
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for FleetEngine {
    fn drop(&mut self) {
        self.end();
    }
}
