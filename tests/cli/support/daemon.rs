//! A daemon in a process of its own, a simulated Nexudus for it, and a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

use crate::support::Home;

/// A simulated Nexudus for a daemon in another process.
pub(crate) struct Nexudus(pub(crate) Simulator);

impl Nexudus {
    pub(crate) fn start() -> Self {
        Self(Simulator::builder().account(Account::new(EMAIL, PASSWORD)).start().unwrap())
    }

    pub(crate) fn command(&self, home: &Home) -> Command {
        let ca = home.path("ca.pem");
        self.0.write_ca(&ca).unwrap();
        let upstream = format!("https://localhost:{}", self.0.address().port());
        let mut command = home.detached("serve --listen 127.0.0.1:0 --store memory");
        command.args(["--upstream", &upstream, "--ca-file"]).arg(ca);
        // A flag comes before it.
        command.env("NEXUDUS_PROXY_LOG_FORMAT", "human");
        command.args(["--credentials", "env"]);
        command.env("NEXUDUS_EMAIL", EMAIL).env("NEXUDUS_PASSWORD", PASSWORD);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn serve(&self, home: &Home, change: impl FnOnce(&mut Command)) -> Served {
        let mut command = self.command(home);
        change(&mut command);
        Served::start(command)
    }

    /// Hands sockets over as systemd does: descriptors 3 and 4, named, for that very process.
    pub(crate) fn serve_through_shell(
        &self,
        home: &Home,
        data: &TcpListener,
        admin: &UnixListener,
    ) -> Served {
        use std::os::fd::AsFd as _;
        let inner = self.command(home);
        let mut command = Command::new("bash");
        command.args([
            "-c",
            "exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec \"$@\"",
            "-",
        ]);
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "data:admin");
        command.current_dir(home.root());
        command.stdin(data.as_fd().try_clone_to_owned().unwrap());
        command.stdout(admin.as_fd().try_clone_to_owned().unwrap());
        command.stderr(Stdio::piped());
        Served::start(command)
    }
}

/// A daemon in a process of its own.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) log: BufReader<std::process::ChildStderr>,
}

impl Served {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    pub(crate) fn status(&self, home: &Home) -> Json {
        let text = home.run("status --json");
        serde_json::from_str(text.strip_suffix("=> 0\n").expect(&text)).unwrap()
    }

    pub(crate) fn port(&self, home: &Home) -> u16 {
        let status = self.status(home);
        let address = status["listening"]["tcp"][0].as_str().unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.ended()
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log_until(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended without {wanted}");
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let mut log = String::new();
            self.log.read_to_string(&mut log).ok();
            std::io::stderr().write_all(log.as_bytes()).ok();
        }
    }
}

/// A running `tail`, its lines read by a thread.
pub(crate) struct Tail {
    pub(crate) child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Tail {
    pub(crate) fn start(home: &Home, line: &str) -> Self {
        let mut child =
            home.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    pub(crate) fn next(&mut self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_millis(200)).ok()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn get(port: u16, path: &str) -> String {
    ask(&mut TcpStream::connect(("127.0.0.1", port)).unwrap(), path)
}

/// Sends a GET, reads the whole answer and returns its status; the connection stays usable.
pub(crate) fn ask(connection: &mut (impl Read + Write), path: &str) -> String {
    let (head, _) = exchange(connection, path);
    head[9..12].to_owned()
}

pub(crate) fn exchange(connection: &mut (impl Read + Write), path: &str) -> (String, Vec<u8>) {
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "it was closed");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).expect(&head);
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    (head, body)
}

pub(crate) const EMAIL: &str = "ada@example.test";

const PASSWORD: &str = "marker-password-7f3a";

/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
