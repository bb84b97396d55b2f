//! The real gnome-keyring under a D-Bus of its own, in a home that goes away.
//!
//! There is no display, so a prompt fails instead of waiting.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::keyring_prompter::{Person, person};
use crate::shared::{eventually, run_with_input};

/// A desktop session without a desktop, and a simulated Nexudus.
pub(crate) struct Desktop {
    pub(crate) simulator: Simulator,
    bus: Child,
    address: String,
    provider: Option<Child>,
    home: tempfile::TempDir,
}

/// Starts one, its keyring open.
pub(crate) fn desktop() -> Desktop {
    let mut desktop = without_keyring();
    desktop.open();
    desktop
}

/// Starts one whose keyring is not there yet.
pub(crate) fn without_keyring() -> Desktop {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    // An attempt to show a dialog is recorded and denied.
    let services = run.join("dbus-1/services");
    std::fs::create_dir_all(&services).unwrap();
    let note = home.path().join("asked").display().to_string();
    let service = format!(
        "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\n\
         Exec=/bin/sh -c \"echo asked >> {note}; exit 1\"\n"
    );
    std::fs::write(services.join("org.gnome.keyring.SystemPrompter.service"), service).unwrap();
    let (bus, address) = bus(&home);
    let accounts = [DEMO_EMAIL, BOB].map(|email| Account::new(email, DEMO_PASSWORD));
    let builder =
        accounts.into_iter().fold(Simulator::builder(), |it, account| it.account(account));
    let simulator = builder.start().unwrap();
    simulator.write_ca(&home.path().join("ca.pem")).unwrap();
    let configuration = home.path().join(".config/nexudus-proxy");
    std::fs::create_dir_all(&configuration).unwrap();
    let text = format!(
        "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
         [log]\nlevel = \"trace\"\n",
        simulator.origin(),
        home.path().join("ca.pem").display(),
    );
    std::fs::write(configuration.join("config.toml"), text).unwrap();
    Desktop { simulator, bus, address, provider: None, home }
}

/// Starts one whose keyring runs and was never set up: it has no collection.
pub(crate) fn without_collection() -> Desktop {
    let mut desktop = without_keyring();
    let provider = desktop
        .tool("gnome-keyring-daemon")
        .args(["--foreground", "--replace", "--components=secrets"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|_| panic!("the test needs gnome-keyring-daemon: {HOW}"));
    let pid = provider.id();
    desktop.provider = Some(provider);
    eventually("the keyring runs", || desktop.owner() == Some(pid));
    desktop
}

/// Starts a session bus, and returns its address.
fn bus(home: &tempfile::TempDir) -> (Child, String) {
    let mut bus = within(home, "dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
        .arg(format!("--address=unix:dir={}", home.path().join("run").display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|_| panic!("the test needs dbus-daemon: {HOW}"));
    let mut address = String::new();
    BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
    // Without the bus's own number: another may have the place later.
    let address = address.trim().split(",guid=").next().unwrap().to_owned();
    (bus, address)
}

impl Desktop {
    /// Opens the keyring, as a login to the desktop does.
    pub(crate) fn open(&mut self) {
        // A request between the end of one provider and the start of the next makes the bus start a third,
        // locked one, which then has the name.
        let opened = (0..20).any(|_| self.try_open());
        assert!(opened, "the keyring opens");
    }

    fn try_open(&mut self) -> bool {
        let mut provider = self
            .tool("gnome-keyring-daemon")
            .args(["--foreground", "--replace", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|_| panic!("the test needs gnome-keyring-daemon: {HOW}"));
        provider.stdin.take().unwrap().write_all(MASTER.as_bytes()).unwrap();
        let pid = provider.id();
        if let Some(mut old) = self.provider.replace(provider) {
            let _ = old.kill();
            old.wait().unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.owner() == Some(pid) && self.is_locked() == Some(false) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Returns the process that offers the service, without making the bus start one.
    fn owner(&self) -> Option<u32> {
        let output = self
            .tool("gdbus")
            .args(["call", "--session", "--dest", "org.freedesktop.DBus"])
            .args(["--object-path", "/org/freedesktop/DBus"])
            .args(["--method", "org.freedesktop.DBus.GetConnectionUnixProcessID"])
            .arg("org.freedesktop.secrets")
            .output()
            .unwrap_or_else(|_| panic!("the test needs gdbus: {HOW}"));
        let told = String::from_utf8(output.stdout).unwrap();
        told.trim().strip_prefix("(uint32 ")?.strip_suffix(",)")?.parse().ok()
    }

    /// Locks the keyring, as its owner may.
    pub(crate) fn lock(&self) {
        let collection = format!("[objectpath '{COLLECTION}']");
        self.call(
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.Lock",
            &[&collection],
        );
        assert_eq!(self.is_locked(), Some(true));
    }

    /// Kills the provider; the bus starts another, which is locked, at the next request.
    pub(crate) fn kill_provider(&mut self) {
        let mut provider = self.provider.take().unwrap();
        provider.kill().unwrap();
        provider.wait().unwrap();
    }

    /// Ends the person's session and begins another: its bus has another address. Returns what
    /// brings the bus back for the clients of the old one.
    pub(crate) fn log_in_again(&mut self) -> impl FnOnce() + use<> {
        self.kill_provider();
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
        let (bus, address) = bus(&self.home);
        let old = std::mem::replace(&mut self.address, address);
        self.bus = bus;
        self.open();
        let place = |address: &str| PathBuf::from(address.strip_prefix("unix:path=").unwrap());
        let (old, new) = (place(&old), place(&self.address));
        move || {
            let _ = std::fs::remove_file(&old);
            std::os::unix::fs::symlink(new, old).unwrap();
        }
    }

    fn is_locked(&self) -> Option<bool> {
        let told = self.call(
            COLLECTION,
            "org.freedesktop.DBus.Properties.Get",
            &["org.freedesktop.Secret.Collection", "Locked"],
        );
        match told.trim() {
            "(<true>,)" => Some(true),
            "(<false>,)" => Some(false),
            _ => None,
        }
    }

    /// Says whether a program tried to show a dialog.
    pub(crate) fn was_asked(&self) -> bool {
        self.path("asked").exists()
    }

    /// Puts a person at the desktop who knows the password.
    pub(crate) fn person(&self) -> Person {
        person(&self.address, MASTER)
    }

    /// Returns how many entries of ours the keyring has.
    pub(crate) fn entries(&self) -> usize {
        let told = self.call(
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.SearchItems",
            &["{'service': 'nexudus-proxy'}"],
        );
        told.matches("/org/freedesktop/secrets/collection/").count()
    }

    fn call(&self, object: &str, method: &str, arguments: &[&str]) -> String {
        let output = self
            .tool("gdbus")
            .args(["call", "--session", "--dest", "org.freedesktop.secrets"])
            .args(["--object-path", object, "--method", method])
            .args(arguments)
            .output()
            .unwrap_or_else(|_| panic!("the test needs gdbus: {HOW}"));
        String::from_utf8(output.stdout).unwrap()
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = within(&self.home, program);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }

    /// Returns our program in this session.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.tool(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split_whitespace());
        command
    }

    /// Runs our program with this on its standard input.
    pub(crate) fn run(&self, line: &str, input: &str) -> Told {
        Told::by(&mut self.command(line), input)
    }

    /// Returns a path below the home directory.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// Starts the daemon.
    pub(crate) fn serve(&self) -> Serving {
        let log = std::fs::File::create(self.path("serve.log")).unwrap();
        let child = self.command("serve").stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let socket = self.path("run/nexudus-proxy/proxy.sock");
        eventually("the daemon listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Serving { child }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in self.provider.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running daemon; it ends with the test.
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Told {
    fn by(command: &mut Command, input: &str) -> Self {
        let Output { status, stdout, stderr } = run_with_input(command, input);
        Self {
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
            code: status.code().unwrap(),
        }
    }
}

/// A program with nothing of this machine but its tools.
fn within(home: &tempfile::TempDir, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path().join("run"));
    command
}

/// Another account.
pub(crate) const BOB: &str = "bob@example.test";

const COLLECTION: &str = "/org/freedesktop/secrets/collection/login";
const MASTER: &str = "test-master-pw";
const HOW: &str = "run scripts/prepare.sh";
