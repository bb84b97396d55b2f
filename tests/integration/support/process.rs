//! The real program, to be killed and started again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nexudus_simulator::Simulator;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{EMAIL, EVENT_TIMEOUT, PASSWORD, SESSION_KEY, client};

/// A home directory, and the environment that the service manager gives.
pub struct ProcessSetup {
    home: TempDir,
    origin: String,
    environment: BTreeMap<&'static str, String>,
    user: Option<u32>,
    listen: &'static str,
}

impl ProcessSetup {
    /// Logs in with what is in the environment; saves the session under a key from systemd.
    pub fn new(upstream: &Simulator) -> Self {
        Self::before(upstream.origin(), upstream.ca_pem())
    }

    /// The same before whatever is at `origin` and proves it with `ca`.
    pub fn before(origin: String, ca: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ca.pem"), ca).unwrap();
        let handed = home.path().join("handed");
        std::fs::create_dir(&handed).unwrap();
        std::fs::write(handed.join("nexudus-key"), SESSION_KEY).unwrap();
        let environment = BTreeMap::from([
            ("HOME", home.path().to_str().unwrap().to_owned()),
            ("CREDENTIALS_DIRECTORY", handed.to_str().unwrap().to_owned()),
            ("NEXUDUS_EMAIL", EMAIL.to_owned()),
            ("NEXUDUS_PASSWORD", PASSWORD.to_owned()),
        ]);
        Self { home, origin, environment, user: None, listen: "127.0.0.1:0" }
    }

    /// Sets a variable of the environment.
    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    /// Listens there.
    pub fn listening(self, listen: &'static str) -> Self {
        Self { listen, ..self }
    }

    /// Runs as this user, whose home it becomes.
    pub fn with_user(mut self, uid: u32) -> Self {
        for path in ["", "ca.pem", "handed", "handed/nexudus-key"] {
            std::os::unix::fs::chown(self.home.path().join(path), Some(uid), Some(uid)).unwrap();
        }
        self.user = Some(uid);
        self
    }

    /// Takes the password from a command, so that it is not in the environment.
    pub fn password_from_a_command(mut self) -> Self {
        self.environment.remove("NEXUDUS_PASSWORD");
        std::fs::write(self.home.path().join("password"), PASSWORD).unwrap();
        self.set("NEXUDUS_PROXY_CREDENTIALS_EMAIL", EMAIL)
            .set("NEXUDUS_PROXY_CREDENTIALS_COMMAND", r#"["cat", "password"]"#)
    }

    /// Returns where the session is saved.
    pub fn session_file(&self) -> PathBuf {
        self.state("session.sealed")
    }

    /// Waits until no pair is on its way to the disk: the lock is held until it is durable.
    pub async fn wait_durable(&self) {
        let path = self.state("session.lock");
        let locked = move || std::fs::File::open(path).unwrap().lock().unwrap();
        tokio::time::timeout(EVENT_TIMEOUT, tokio::task::spawn_blocking(locked))
            .await
            .unwrap()
            .unwrap();
    }

    /// Returns the command that serves.
    pub fn serve(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_nexudus-proxy");
        let mut command = match self.user {
            None => Command::new(program),
            Some(uid) => {
                // It may be where only root can go.
                let copy = self.home.path().join("nexudus-proxy");
                std::fs::copy(program, &copy).unwrap();
                let mut command = Command::new("/usr/bin/setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={uid}")]);
                command.arg("--clear-groups").arg(copy);
                command
            }
        };
        command.env_clear().envs(&self.environment).current_dir(self.home.path());
        command.args(["serve", "--listen", self.listen, "--upstream", &self.origin]);
        command.args(["--ca-file", self.home.path().join("ca.pem").to_str().unwrap()]);
        command
    }

    /// Runs another command beside it, which must succeed.
    pub async fn run(&self, line: &str) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.env_clear().envs(&self.environment).current_dir(self.home.path());
        let told = command.args(line.split(' ')).output().await.unwrap();
        assert!(told.status.success(), "{told:?}");
    }

    /// Runs another command beside it; says whether it succeeded, and what it said.
    #[cfg(feature = "fleet")]
    pub async fn run_to_end(&self, line: &str) -> (bool, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.env_clear().envs(&self.environment).current_dir(self.home.path());
        command.stdin(Stdio::null());
        let told = command.args(line.split(' ')).output().await.unwrap();
        let texts = [told.stdout, told.stderr].map(|text| String::from_utf8(text).unwrap());
        (told.status.success(), texts.concat())
    }

    /// Writes the configuration file.
    pub fn configure(&self, text: &str) {
        let directory = self.home.path().join(".config/nexudus-proxy");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("config.toml"), text).unwrap();
    }

    /// Returns where the socket of the API is.
    pub fn socket(&self) -> PathBuf {
        self.state("run/proxy.sock")
    }

    /// Starts it and waits until it listens.
    pub async fn start(&self) -> DaemonProcess {
        self.launch(self.serve()).await
    }

    /// The same with at most so many open files.
    pub async fn start_with_max_files(&self, most: u32) -> DaemonProcess {
        let served = self.serve();
        let mut command = Command::new("/usr/bin/prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(served.get_program());
        command.args(served.get_args()).current_dir(self.home.path());
        command.env_clear().envs(&self.environment);
        self.launch(command).await
    }

    /// Hands it this socket, as systemd does, and waits until it listens.
    pub async fn start_with_listener(&self, listener: &TcpListener) -> DaemonProcess {
        self.start_with_descriptor(listener, "LISTEN_FDS=1 LISTEN_PID=$$").await
    }

    /// The same with these variables about it, which a shell sets in the very process.
    pub async fn start_with_descriptor(
        &self,
        listener: &TcpListener,
        variables: &str,
    ) -> DaemonProcess {
        let inner = self.serve();
        let mut command = Command::new("bash");
        let script = format!("exec 3<&0 0</dev/null; {variables} exec \"$@\"");
        command.args(["-c", &script, "-"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(&self.environment);
        command.stdin(listener.as_fd().try_clone_to_owned().unwrap());
        command.current_dir(self.home.path());
        self.launch(command).await
    }

    /// Returns its home directory, which is its working directory too.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    async fn launch(&self, mut command: Command) -> DaemonProcess {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::unbounded_channel();
        // The pipe must be emptied, or the daemon would wait for us.
        std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).for_each(|line: Value| {
                let _ = sender.send(line);
            });
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = DaemonProcess { child, log, skipped: vec![], address, client: client() };
        let listening = program.wait_for_log(|line| line["address"].is_string()).await;
        program.address = listening["address"].as_str().unwrap().parse().unwrap();
        program
    }

    fn state(&self, name: &str) -> PathBuf {
        self.home.path().join(".local/state/nexudus-proxy").join(name)
    }
}

/// The program, running.
pub struct DaemonProcess {
    child: Child,
    log: mpsc::UnboundedReceiver<Value>,
    skipped: Vec<Value>,
    address: SocketAddr,
    client: reqwest::Client,
}

impl DaemonProcess {
    /// Returns its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Returns its anonymous memory that is resident, in bytes.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Sends these bytes on a connection of their own and reads until it is closed; a character is
    /// one byte, as in Latin-1.
    pub async fn raw(&self, text: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let bytes: Vec<u8> = text.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    }

    /// Begins a GET; it goes on by itself.
    pub fn get(&self, path: &str) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
        let url = format!("http://{}{path}", self.address);
        tokio::spawn(self.client.get(url).send())
    }

    /// Sends a GET and returns the status.
    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.unwrap().unwrap().status().as_u16()
    }

    /// Sends a GET that names another host and returns the status.
    pub async fn status_as(&self, host: &str, path: &str) -> u16 {
        let request = self.client.get(format!("http://{}{path}", self.address));
        request.header("host", host).send().await.unwrap().status().as_u16()
    }

    /// Waits for a line of the log.
    pub async fn wait_for_log(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let line = self.log.recv().await.expect("it has ended");
                if wanted(&line) {
                    return line;
                }
                self.skipped.push(line);
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, waiting).await.expect("it logs no such line")
    }

    /// Returns the log lines that came before one that was waited for.
    pub fn skipped(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.skipped)
    }

    /// Returns the log lines that have arrived and were not waited for.
    pub fn lines(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.log.try_recv().ok()).collect()
    }

    /// Ends it as the kernel does when memory runs out.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// Asks it to end, as a service manager does.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
