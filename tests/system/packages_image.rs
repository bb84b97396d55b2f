//! The container image, run by runc as an engine would: the image's user, a root that cannot be
//! written, no capability, the engines' system call filter, and volumes as a kubelet makes them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Fault, FaultAction, Simulator};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value as Json, json};

use crate::machine::{Said, User, program};
use crate::packages::artefact;
use crate::service_page::source;
use crate::shared::eventually;

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn it_serves_without_any_right_is_probed_and_drains_on_sigterm() {
    let image = Image::unpacked();
    let mut container = image.start();

    eventually("it is ready", || container.exec("wait --once").code == 0);
    assert_eq!(curl(APP, "http://localhost:6399/readyz"), "200");
    assert_eq!(curl(APP, "http://localhost:6398/api/auth/me"), "200");
    assert_eq!(curl(User(1001), "http://localhost:6398/api/auth/me"), "403");
    let socket = image.scratch.path().join("sockets/daemon/proxy.sock");
    let over_socket = format!("--unix-socket {} http://localhost/api/auth/me", socket.display());
    assert_eq!(curl_in_group(&over_socket), "200");
    assert!(container.exec("status").out.contains("ready"));
    assert_eq!(zombies(container.first_process()), 0);

    let slowly = FaultAction::SlowBody { chunk: 1000, pause: Duration::from_millis(100) };
    image.simulator.fault(Fault::on("/ContentDownload", slowly));
    let download = |bytes: u32| {
        let mut curl = program(APP, "curl");
        curl.args(["--silent", "--output", "/dev/null"]);
        curl.arg(format!("http://localhost:6398/ContentDownload/report.pdf?bytes={bytes}"));
        curl.spawn().unwrap()
    };
    // One ends within daemon.drain (5 s), the other would take a minute.
    let (mut short, mut long) = (download(20_000), download(600_000));
    let under_way = || {
        let seen = image.simulator.requests();
        seen.iter().filter(|seen| seen.path().starts_with("/ContentDownload")).count() == 2
    };
    eventually("both are under way", under_way);
    let asked = Instant::now();
    container.runc(&["kill", NAME, "TERM"]);
    let status = container.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    assert_eq!(short.wait().unwrap().code(), Some(0), "it was let finish");
    assert_eq!(long.wait().unwrap().code(), Some(18), "a part, and curl can tell");
}

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn it_is_small_and_says_what_it_is() {
    let image = Image::unpacked();

    let layout = image.scratch.path().join("layout");
    let told = Said::by(Command::new("skopeo").arg("inspect").arg(reference(&layout)));
    let told: Json = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    let config =
        Said::by(Command::new("skopeo").args(["inspect", "--config"]).arg(reference(&layout)));
    let config: Json = serde_json::from_str(&config.out).unwrap();
    let config = &config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/nexudus-proxy"]));
    assert_eq!((&config["Cmd"], &config["StopSignal"]), (&json!(["serve"]), &json!("SIGTERM")));
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let size: u64 = blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum();
    assert!(size < 15 * 1024 * 1024, "{size} bytes");
}

/// The image as a bundle of runc, and the Nexudus that its daemon asks. The calling thread has a
/// network of its own, which the container shares as a pod's containers share theirs.
struct Image {
    simulator: Simulator,
    scratch: tempfile::TempDir,
}

impl Image {
    fn unpacked() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make check-packages`");
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        done(Command::new("ip").args(["link", "set", "lo", "up"]));
        let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
        let simulator = Simulator::builder().account(account).start().unwrap();
        let image = Self { simulator, scratch: tempfile::tempdir().unwrap() };
        let scratch = image.scratch.path();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(scratch, mode).unwrap();
        let layout = scratch.join("layout");
        std::fs::create_dir(&layout).unwrap();
        done(Command::new("tar").arg("-xf").arg(artefact(".oci.tar")).arg("-C").arg(&layout));
        let name = format!("{}:{}", layout.display(), env!("CARGO_PKG_VERSION"));
        done(Command::new("umoci").args(["unpack", "--image", &name]).arg(scratch.join("bundle")));
        image.write_volumes();
        image.restrict();
        image
    }

    /// Makes what deploy/ mounts.
    fn write_volumes(&self) {
        let scratch = self.scratch.path();
        for name in ["config", "credentials", "sockets", "state"] {
            std::fs::create_dir(scratch.join(name)).unwrap();
        }
        let port = self.simulator.address().port();
        let deployed = std::fs::read_to_string(source("deploy/config.toml")).unwrap();
        let upstream = format!(
            "[upstream]\norigin = \"https://localhost:{port}\"\naddress = \"127.0.0.1\"\n\
             ca_file = \"ca.pem\"\n"
        );
        std::fs::write(scratch.join("config/config.toml"), deployed + &upstream).unwrap();
        self.simulator.write_ca(&scratch.join("config/ca.pem")).unwrap();
        for (name, value) in [
            ("nexudus-email", DEMO_EMAIL),
            ("nexudus-password", DEMO_PASSWORD),
            ("nexudus-key", "marker-key-0123456789abcdef"),
        ] {
            std::fs::write(scratch.join("credentials").join(name), value).unwrap();
        }
        // As an `emptyDir` under `fsGroup`: root's, the group's, open to all, its group inherited.
        let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o2777);
        for name in ["sockets", "state"] {
            std::os::unix::fs::chown(scratch.join(name), None, Some(GROUP)).unwrap();
            std::fs::set_permissions(scratch.join(name), mode.clone()).unwrap();
        }
    }

    /// Takes every right from the bundle that an engine can take.
    fn restrict(&self) {
        let path = self.scratch.path().join("bundle/config.json");
        let mut bundle: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(bundle["process"]["args"], json!(["/nexudus-proxy", "serve"]));
        assert_eq!(bundle["process"]["user"]["uid"], GROUP);
        bundle["process"]["terminal"] = json!(false);
        bundle["process"]["noNewPrivileges"] = json!(true);
        bundle["process"]["capabilities"] = json!({});
        let environment = bundle["process"]["env"].as_array_mut().unwrap();
        environment.retain(|it| !it.as_str().unwrap().starts_with("RUNTIME_DIRECTORY="));
        environment.push(json!("RUNTIME_DIRECTORY=/run/nexudus-proxy/daemon"));
        environment.push(json!("CREDENTIALS_DIRECTORY=/credentials"));
        bundle["root"]["readonly"] = json!(true);
        bundle["linux"]["seccomp"] = system_call_filter();
        let namespaces = bundle["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|it| it["type"] != "network" && it["type"] != "user");
        let volumes = [
            ("config", "/etc/nexudus-proxy", "ro"),
            ("credentials", "/credentials", "ro"),
            ("sockets", "/run/nexudus-proxy", "rw"),
            ("state", "/var/lib/nexudus-proxy", "rw"),
        ];
        let mounts = bundle["mounts"].as_array_mut().unwrap();
        mounts.retain(|it| !volumes.iter().any(|volume| it["destination"] == volume.1));
        for (name, destination, access) in volumes {
            mounts.push(json!({
                "destination": destination, "type": "bind", "source": self.scratch.path().join(name),
                "options": ["bind", access, "nosuid", "nodev", "noexec"],
            }));
        }
        std::fs::write(path, bundle.to_string()).unwrap();
    }

    fn start(&self) -> Container<'_> {
        let mut command = self.runc();
        command.args(["run", "--bundle"]).arg(self.scratch.path().join("bundle")).arg(NAME);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut container = Container { image: self, child, log: Some(log) };
        container.read_until_it_listens();
        container
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.scratch.path().join("runc"));
        command
    }
}

/// A running container.
struct Container<'a> {
    image: &'a Image,
    child: Child,
    log: Option<BufReader<ChildStderr>>,
}

impl Container<'_> {
    fn read_until_it_listens(&mut self) {
        let mut log = self.log.take().unwrap();
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it does not listen: {seen}");
            seen.push_str(&line);
            if line.contains("127.0.0.1:6398") {
                break;
            }
        }
        // The pipe must be emptied, or the daemon would wait for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    }

    /// Runs the program inside, as a health check does.
    fn exec(&self, line: &str) -> Said {
        let words = line.split_whitespace();
        Said::by(self.image.runc().args(["exec", NAME, "/nexudus-proxy"]).args(words))
    }

    fn runc(&self, words: &[&str]) {
        done(self.image.runc().args(words));
    }

    fn first_process(&self) -> u64 {
        let said = Said::by(self.image.runc().args(["state", NAME]));
        let state: Json = serde_json::from_str(&said.out).unwrap();
        state["pid"].as_u64().unwrap()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let said = Said::by(self.image.runc().args(["delete", "--force", NAME]));
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(said.err.as_bytes());
        }
    }
}

/// Returns the engines' filter (containers/common) as the OCI runtime takes it, for a process
/// without capabilities.
fn system_call_filter() -> Json {
    let path = "/usr/share/containers/seccomp.json";
    let text =
        std::fs::read(path).expect("golang-github-containers-common: packaging/tools.sh check");
    let filter: Json = serde_json::from_slice(&text).unwrap();
    let needs = |rule: &Json, what: &str| {
        rule["includes"][what].as_array().is_some_and(|list| !list.is_empty())
    };
    let is_native = |rule: &Json| {
        let names = rule["includes"]["arches"].as_array();
        names.is_none_or(|names| names.iter().any(|name| name == "amd64"))
    };
    let rules = filter["syscalls"].as_array().unwrap().iter();
    let rules = rules.filter(|rule| !needs(rule, "caps") && is_native(rule)).map(|rule| {
        let mut kept = json!({ "names": rule["names"], "action": rule["action"] });
        for key in ["args", "errnoRet"] {
            if rule[key].is_array() || rule[key].is_number() {
                kept[key] = rule[key].clone();
            }
        }
        kept
    });
    json!({
        "defaultAction": filter["defaultAction"],
        "defaultErrnoRet": filter["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules.collect::<Vec<_>>(),
    })
}

fn curl(user: User, words: &str) -> String {
    said_code(&mut program(user, "curl"), words)
}

/// Calls as the application does that may open the socket: of another user, in the socket's group.
fn curl_in_group(words: &str) -> String {
    let mut command = program(APP, "setpriv");
    // Back to root first: only root may take a group.
    command.uid(0).gid(0).args(["--reuid=1000", "--regid=1000", "--groups=65532", "curl"]);
    said_code(&mut command, words)
}

fn said_code(curl: &mut Command, words: &str) -> String {
    curl.args(["--silent", "--max-time", "30", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code}"]).args(words.split_whitespace());
    Said::by(curl).out
}

fn zombies(parent: u64) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some((fields.next()? == "Z", fields.next()?.parse::<u64>().ok()?))
    });
    stats.filter(|(is_zombie, above)| *is_zombie && *above == parent).count()
}

fn reference(layout: &Path) -> String {
    format!("oci:{}:{}", layout.display(), env!("CARGO_PKG_VERSION"))
}

fn done(command: &mut Command) {
    let said = Said::by(command);
    assert_eq!(said.code, 0, "{command:?}\n{}{}", said.out, said.err);
}

/// The user of the application beside it, as deploy/config.toml names it.
const APP: User = User(1000);

/// The image's user and group.
const GROUP: u32 = 65532;

const NAME: &str = "nexudus-proxy-test";
