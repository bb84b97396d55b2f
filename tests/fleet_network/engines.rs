//! The engine of the fleet: a primary, two replicas and three sentinels, each on a machine of its own,
//! with TLS everywhere and the users that the documentation prescribes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::namespaces::{self, Node};
use crate::until;

/// The servers and the sentinels.
pub(crate) struct Engines {
    folder: TempDir,
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

/// A process on a machine of its own.
struct Server {
    node: Node,
    /// On a file system of its own.
    folder: PathBuf,
    log: PathBuf,
    child: Child,
    words: Vec<String>,
}

/// A file that leaves no room on the file system of a server.
pub(crate) struct FullDisk(PathBuf);

impl Engines {
    /// Starts all of them, and waits until the replicas and the sentinels know each other. The members
    /// keep their records under keys of this name.
    pub(crate) fn start(keyspace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes: Vec<Node> = (0..6).map(|number| Node::new(FIRST_NODE + number)).collect();
        write_certificates(folder.path(), &nodes);
        fs::write(folder.path().join("users.acl"), users(keyspace)).unwrap();
        let primary = nodes[0].address.clone();
        let (servers, sentinels) = nodes.split_at(3);
        let servers = servers.iter().map(|node| {
            let mut lines = server_lines(folder.path(), node);
            if node.address != primary {
                lines += &format!("replicaof {primary} {PORT}\n");
            }
            Server::start(folder.path(), node, "redis-server", &lines)
        });
        let servers: Vec<_> = servers.collect();
        let sentinels = sentinels.iter().map(|node| {
            let lines = sentinel_lines(folder.path(), node, &primary);
            Server::start(folder.path(), node, "redis-sentinel", &lines)
        });
        let engines = Self { sentinels: sentinels.collect(), servers, folder };
        until("the replicas are connected", || {
            engines.ask(0, &["INFO", "replication"]).matches("state=online").count() == 2
        });
        until("the sentinels know each other and the replicas", || {
            (0..3).all(|number| {
                let told = engines.ask_sentinel(number, &["INFO", "sentinel"]);
                told.contains("status=ok") && told.contains("slaves=2,sentinels=3")
            })
        });
        engines
    }

    /// Returns the URL for `fleet.engine`.
    pub(crate) fn url(&self) -> String {
        let sentinels = self.sentinels.iter();
        let sentinels: Vec<_> =
            sentinels.map(|one| format!("{}:{SENTINEL_PORT}", one.node.address)).collect();
        format!("rediss-sentinel://{}/fleet", sentinels.join(","))
    }

    /// Returns the authority of all certificates.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns which server the sentinels call the primary.
    pub(crate) fn primary(&self) -> usize {
        let told = self.ask_sentinel(0, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "fleet"]);
        let address = told.lines().next().unwrap_or_default();
        self.servers.iter().position(|server| server.node.address == address).unwrap()
    }

    /// Sends a command to a server as its operator, and returns the answer; nothing if it has none.
    pub(crate) fn ask(&self, server: usize, words: &[&str]) -> String {
        let mut command = self.client(&self.servers[server], PORT);
        command.args(["--user", OPERATOR]).env("REDISCLI_AUTH", OPERATOR_PASSWORD);
        let output = command.args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the machine of a server.
    pub(crate) fn node(&self, server: usize) -> &Node {
        &self.servers[server].node
    }

    /// Sends a command to the primary as its operator. It must be done.
    pub(crate) fn tell(&self, words: &[&str]) {
        assert_eq!(self.ask(self.primary(), words).trim(), "OK", "{words:?}");
    }

    /// Ends a server at once.
    pub(crate) fn kill(&mut self, server: usize) {
        self.servers[server].kill();
    }

    /// Starts a server again that was killed, in its folder.
    pub(crate) fn start_again(&mut self, server: usize) {
        self.servers[server].spawn_again();
    }

    /// Copies the files of all servers, each as it is now.
    pub(crate) fn backup(&self) -> TempDir {
        let backup = tempfile::tempdir().unwrap();
        for server in &self.servers {
            copy_files(&server.files(), &backup.path().join(&server.node.address));
        }
        backup
    }

    /// Ends all servers, and starts them again with the files of a backup.
    pub(crate) fn restore(&mut self, backup: &TempDir) {
        self.servers.iter_mut().for_each(Server::kill);
        for server in &mut self.servers {
            fs::remove_dir_all(server.files()).unwrap();
            copy_files(&backup.path().join(&server.node.address), &server.files());
            server.spawn_again();
        }
    }

    /// Fills the file system of a server, until what is returned is dropped.
    pub(crate) fn fill_disk(&self, server: usize) -> FullDisk {
        let path = self.servers[server].folder.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        FullDisk(path)
    }

    /// Waits until `server` is a replica of the primary.
    pub(crate) fn until_replica(&self, server: usize) {
        until("it is a replica again", || {
            let told = self.ask(server, &["INFO", "replication"]);
            told.contains("role:slave") && told.contains("master_link_status:up")
        });
    }

    fn ask_sentinel(&self, number: usize, words: &[&str]) -> String {
        let mut command = self.client(&self.sentinels[number], SENTINEL_PORT);
        String::from_utf8(command.args(words).output().unwrap().stdout).unwrap()
    }

    fn client(&self, server: &Server, port: u16) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &server.node.address, "-p", &port.to_string(), "--tls", "--cacert"]);
        command.arg(self.ca_file()).arg("--no-auth-warning");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Server {
    fn start(shared: &Path, node: &Node, program: &str, lines: &str) -> Self {
        let folder = shared.join(&node.address);
        fs::create_dir(&folder).unwrap();
        namespaces::mount_small(&folder);
        let file = shared.join(format!("{}.conf", node.address));
        let log = shared.join(format!("{}.log", node.address));
        let own = format!("dir {}\nlogfile {}\n", folder.display(), log.display());
        fs::write(&file, own + lines).unwrap();
        let words = vec![program.to_owned(), file.display().to_string()];
        let child = spawn(node, &words);
        Self { node: node.clone(), folder, log, child, words }
    }

    /// Returns where the append-only file is.
    fn files(&self) -> PathBuf {
        self.folder.join("appendonlydir")
    }

    fn spawn_again(&mut self) {
        self.child = spawn(&self.node, &self.words);
    }

    fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Engines {
    /// What the servers said belongs to the report of a test that fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for server in self.servers.iter().chain(&self.sentinels) {
                let log = fs::read_to_string(&server.log).unwrap_or_default();
                crate::report(&format!("engine {}", server.node.address), &log);
            }
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn spawn(node: &Node, words: &[String]) -> Child {
    let mut command = node.command(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn tls_lines(folder: &Path, node: &Node, port: u16) -> String {
    let folder = folder.display();
    format!(
        "bind {address}\nport 0\ntls-port {port}\ntls-cert-file {folder}/server.pem\n\
         tls-key-file {folder}/server.key\ntls-ca-cert-file {folder}/ca.pem\n\
         tls-auth-clients no\ntls-replication yes\n",
        address = node.address
    )
}

fn server_lines(folder: &Path, node: &Node) -> String {
    tls_lines(folder, node, PORT)
        + &format!(
            "aclfile {folder}/users.acl\nmasteruser {OPERATOR}\nmasterauth {OPERATOR_PASSWORD}\n\
             appendonly yes\nappendfsync everysec\nsave \"\"\nrepl-diskless-sync-delay 0\n\
             maxmemory-policy noeviction\n",
            folder = folder.display()
        )
}

fn sentinel_lines(folder: &Path, node: &Node, primary: &str) -> String {
    tls_lines(folder, node, SENTINEL_PORT)
        + &format!(
            "sentinel monitor fleet {primary} {PORT} 2\nsentinel auth-user fleet {OPERATOR}\n\
             sentinel auth-pass fleet {OPERATOR_PASSWORD}\n\
             sentinel down-after-milliseconds fleet {}\nsentinel failover-timeout fleet 10000\n",
            DOWN_AFTER.as_millis()
        )
}

/// The user of the members is the documented one; Redis 7.0 does not know `waitaof`.
fn users(keyspace: &str) -> String {
    let documented = include_str!("../../deploy/fleet/users.acl");
    let zeros = format!("#{}", "0".repeat(64));
    assert!(documented.contains(&zeros));
    let member = documented
        .replace(&zeros, &format!(">{PASSWORD}"))
        .replace("{nexudus-proxy:default}", &format!("{{nexudus-proxy:{keyspace}}}"))
        .replace(" +waitaof", "");
    format!("{member}user {OPERATOR} on >{OPERATOR_PASSWORD} ~* &* +@all\n")
}

fn write_certificates(folder: &Path, nodes: &[Node]) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    let mut leaf = CertificateParams::new(names).unwrap();
    // OpenSSL takes a certificate for its own issuer where both have one name.
    leaf.distinguished_name.push(DnType::CommonName, "engine of a test");
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    for (name, text) in
        [("ca.pem", ca.pem()), ("server.pem", leaf.pem()), ("server.key", key.serialize_pem())]
    {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// The password of the members' user.
pub(crate) const PASSWORD: &str = "marker-engine-password";

/// The port of the servers, which the sentinels announce.
pub(crate) const PORT: u16 = 6380;

const SENTINEL_PORT: u16 = 26_380;

/// The user of replicas, of sentinels and of the test.
const OPERATOR: &str = "operator";

const OPERATOR_PASSWORD: &str = "marker-operator-password";

/// The number of the first engine; `namespaces::ENGINES` covers all six.
const FIRST_NODE: usize = 33;

/// How long a server is silent until a sentinel calls it down.
const DOWN_AFTER: Duration = Duration::from_secs(3);
