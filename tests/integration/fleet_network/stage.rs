//! Three daemons in network namespaces of their own, and between them an engine with a replica and three
//! sentinels, over TLS.
//!
//! The test's own namespace is the hub: the engine, the sentinels and the simulator listen there on one
//! address, to which each member has a link of its own. A member is this test binary again, in a process
//! that can be stopped and killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexudus_proxy::admin::api::FleetStatus;
use nexudus_proxy::admin::client::AdminClient;
use nexudus_proxy::config::Paths;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The address of everything in the hub.
pub const HUB: &str = "10.77.0.1";

/// The primary, its replica, the sentinels.
const ENGINES: [u16; 2] = [7001, 7002];
const SENTINELS: [u16; 3] = [7011, 7012, 7013];

/// Packets of one member that the kernel drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No call reaches the engine.
    Calls,
    /// No answer reaches the member.
    Answers,
    Both,
}

/// The engine with its replica and its sentinels.
pub struct Engines {
    pub folder: TempDir,
    primary: Child,
    others: Vec<Child>,
}

impl Engines {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let primary = server(folder.path(), ENGINES[0], &[]);
        await_port(ENGINES[0]);
        let of = format!("{HUB} {}", ENGINES[0]);
        let mut others = vec![server(folder.path(), ENGINES[1], &["--replicaof", &of])];
        await_log(&folder.path().join("7002.log"), "Finished with success");
        others.extend(SENTINELS.map(|port| sentinel(folder.path(), port)));
        SENTINELS.into_iter().for_each(await_port);
        // A sentinel that knows the replica and the other two can act.
        for port in SENTINELS {
            await_log(&folder.path().join(format!("{port}.log")), "+slave slave");
        }
        Self { folder, primary, others }
    }

    pub fn url() -> String {
        let all = SENTINELS.map(|port| format!("{HUB}:{port}")).join(",");
        format!("rediss-sentinel://{all}/main")
    }

    pub fn kill_primary(&mut self) {
        self.primary.kill().unwrap();
        self.primary.wait().unwrap();
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.primary]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn tls(folder: &Path) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        ("port", "0".to_owned()),
        ("bind", HUB.to_owned()),
        ("tls-cert-file", path("cert.pem")),
        ("tls-key-file", path("key.pem")),
        ("tls-ca-cert-file", path("ca.pem")),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-replication", "yes".to_owned()),
    ]
}

fn server(folder: &Path, port: u16, further: &[&str]) -> Child {
    let directory = folder.join(format!("data-{port}"));
    std::fs::create_dir(&directory).unwrap();
    let mut command = Command::new("redis-server");
    for (name, value) in tls(folder) {
        command.args([format!("--{name}"), value]);
    }
    command.args(["--tls-port", &port.to_string(), "--save", "", "--dir"]).arg(directory);
    started(command.args(further), &folder.join(format!("{port}.log")))
}

fn sentinel(folder: &Path, port: u16) -> Child {
    let path = folder.join(format!("{port}.conf"));
    let mut text: String =
        tls(folder).into_iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    text.push_str(&format!(
        "tls-port {port}\nsentinel monitor main {HUB} {} 2\nsentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 5000\n",
        ENGINES[0]
    ));
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new("redis-sentinel");
    started(command.arg(path), &folder.join(format!("{port}.log")))
}

fn started(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn().unwrap()
}

fn await_port(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect((HUB, port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn await_log(log: &Path, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let told = std::fs::read_to_string(log).unwrap();
        if told.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{}: {told}", log.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes an authority and the files of a server at the hub's address.
fn certificates(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![HUB.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    for (name, pem) in
        [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), pem).unwrap();
    }
}

/// A daemon in a network namespace of its own.
pub struct Member {
    number: u8,
    /// Keeps the namespace.
    keeper: Child,
    daemon: Option<Child>,
    home: TempDir,
    environment: Vec<(&'static str, String)>,
    /// What its clients were answered.
    answers: Arc<Mutex<Vec<String>>>,
}

impl Member {
    pub fn start(number: u8, environment: &[(&'static str, String)]) -> Self {
        let keeper = Command::new("unshare").args(["-n", "sleep", "900"]).spawn().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut member = Self {
            number,
            keeper,
            daemon: None,
            home,
            environment: environment.to_vec(),
            answers: Arc::default(),
        };
        member.link();
        member.run();
        member
    }

    /// Lays the link between the member and the hub.
    fn link(&self) {
        let (pid, number) = (self.keeper.id(), self.number);
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = format!("/proc/{pid}/ns/net");
        while std::fs::read_link(&theirs).is_ok_and(|theirs| theirs == own) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (near, far) = (format!("10.77.{number}.1/24"), format!("10.77.{number}.2/24"));
        let name = format!("m{number}");
        sh(&format!("ip link add {name} type veth peer name eth0 netns {pid}"));
        sh(&format!("ip addr add {near} dev {name} && ip link set {name} up"));
        let inside = format!("nsenter -t {pid} -n ip");
        sh(&format!("{inside} link set lo up && {inside} addr add {far} dev eth0"));
        sh(&format!("{inside} link set eth0 up && {inside} route add {HUB} via 10.77.{number}.1"));
    }

    /// Starts the daemon, also after it was killed.
    pub fn run(&mut self) {
        let pid = self.keeper.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "fleet_network::a_member", "--ignored", "--nocapture"]);
        command.env("FLEET_MEMBER", self.name()).env("FLEET_HOME", self.home.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = self.home.path().join("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut daemon =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (lines, answers) =
            (BufReader::new(daemon.stdout.take().unwrap()), self.answers.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(answer) = line.strip_prefix("answer ") {
                    answers.lock().unwrap().push(answer.to_owned());
                }
            }
        });
        self.daemon = Some(daemon);
    }

    pub fn name(&self) -> String {
        format!("member-{}", self.number)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.as_ref().unwrap().id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Kills the daemon, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.daemon.take().unwrap().wait().unwrap();
    }

    /// Returns its admin surface: a socket of the file system leads into every namespace.
    pub async fn admin(&self) -> AdminClient {
        let socket: PathBuf = Paths::rooted_at(self.home.path()).admin_socket();
        let found = async {
            loop {
                if let Ok(admin) = AdminClient::find(std::slice::from_ref(&socket)).await {
                    return admin;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let log = || std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        let admin = tokio::time::timeout(Duration::from_secs(30), found).await;
        admin.unwrap_or_else(|_| panic!("{} does not start: {}", self.name(), log()))
    }

    pub async fn status(&self) -> FleetStatus {
        self.admin().await.get("/v1/fleet").await.unwrap()
    }

    /// Takes the answers that its clients got since the last call.
    pub fn take_answers(&self) -> Vec<String> {
        std::mem::take(&mut self.answers.lock().unwrap())
    }

    /// Drops its packets to or from the engine and the sentinels, until [`Member::mend`]. The issuer stays
    /// in reach.
    pub fn cut(&self, cut: Cut) {
        self.filter("-I", cut);
    }

    pub fn mend(&self, cut: Cut) {
        self.filter("-D", cut);
    }

    fn filter(&self, action: &str, cut: Cut) {
        let far = format!("10.77.{}.2", self.number);
        let calls = format!("INPUT -s {far} -p tcp --dport 7001:7013 -j DROP");
        let answers = format!("OUTPUT -d {far} -p tcp --sport 7001:7013 -j DROP");
        let rules = match cut {
            Cut::Calls => vec![calls],
            Cut::Answers => vec![answers],
            Cut::Both => vec![calls, answers],
        };
        for rule in rules {
            sh(&format!("iptables -w {action} {rule}"));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for child in [self.daemon.as_mut(), Some(&mut self.keeper)].into_iter().flatten() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs a line of shell, which must succeed.
pub fn sh(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}; scripts/prepare.sh");
}
