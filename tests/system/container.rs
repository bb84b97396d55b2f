//! A container: a root that cannot be written, a user without a name or a home, and the program as
//! process 1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::shared::eventually;
use crate::support::{PATH, text};

#[test]
fn with_nothing_writable_it_serves_and_says_what_is_lost() {
    let container = Container::new();
    let mut serving =
        container.start("serve --store memory --socket off --listen 127.0.0.1:0", &[]);

    let lost = serving.log_until("no state directory");
    assert!(lost.contains("/var/lib/nexudus-proxy") && lost.contains("STATE_DIRECTORY"), "{lost}");
    serving.log_until("there is no admin socket");
    let port = serving.port();
    assert_eq!(serving.get(port, "/api/auth/me"), "200");
}

#[test]
fn what_wants_to_write_is_told_where_and_a_directory_is_enough() {
    let container = Container::new();

    let said = container.run("serve --listen 127.0.0.1:0", &[]);

    // This root has no certificates either.
    let (anchors, refused) = said.split_once('\n').unwrap();
    assert!(anchors.contains("this system has no trust anchors: using those of Mozilla"), "{said}");
    assert_eq!(
        refused,
        "error: could not use the state directory /var/lib/nexudus-proxy\n\
         \x20 caused by: Read-only file system (os error 30)\n\
         hint: Make it writable for this user, or set STATE_DIRECTORY to a directory that is; where \
         nothing can be written: `nexudus-proxy serve --store memory --socket off`.\n\
         => 1\n"
    );
    let state = [("STATE_DIRECTORY", "/state")];
    let mut serving = container.start("serve --listen 127.0.0.1:0 --log-format human", &state);
    serving.log_until("listening");
    assert_eq!(serving.inside("/nexudus-proxy wait", &state), "=> 0\n");
    assert_eq!(serving.inside("/nexudus-proxy wait --once", &state), "=> 0\n");
    let status = serving.inside("/nexudus-proxy status", &state);
    assert!(status.contains("/state/run/proxy.sock") && status.ends_with("=> 0\n"), "{status}");
}

#[test]
fn as_process_1_it_reaps_orphans_and_keeps_the_exit_codes_of_its_own() {
    let container = Container::new();
    // The command ends at once, and leaves three processes behind.
    let notify = r#"["sh","-c","for i in 1 2 3; do sleep 1 & done; exit 3"]"#;
    let wrong = [("NEXUDUS_PASSWORD", "wrong"), ("NEXUDUS_PROXY_NOTIFY_COMMAND", notify)];
    let mut serving =
        container.start("serve --store memory --socket off --listen 127.0.0.1:0", &wrong);

    let failed = serving.log_until("notify.command failed");

    assert!(failed.contains("exit status: 3"), "its exit code is ours: {failed}");
    let first = serving.first_process();
    assert_eq!(children(first).len(), 3, "the orphans are children of process 1");
    eventually("the orphans are gone", || children(first).is_empty());
}

#[test]
fn as_process_1_a_run_passes_signals_on_and_ends_as_its_command() {
    let container = Container::new();
    let mut running = container.command("run --", &[("STATE_DIRECTORY", "/state")]);
    running.args(["sh", "-c"]).arg(
        "trap 'exit 7' TERM; sh -c 'sleep 0.2 & sleep 0.2 &'; echo ready; \
         while :; do sleep 0.05; done",
    );
    let mut running = running.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let first = first_process(&running).unwrap();
    eventually("only the command is left", || children(first).len() == 1);

    kill(first, Signal::SIGTERM).unwrap();

    assert_eq!(running.wait().unwrap().code(), Some(7));
}

/// A root directory with the system's programs and ours, and a simulated Nexudus outside.
struct Container {
    simulator: Simulator,
    root: tempfile::TempDir,
}

impl Container {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make test`");
        let simulator = Simulator::builder()
            .account(nexudus_simulator::Account::new(DEMO_EMAIL, DEMO_PASSWORD))
            .start()
            .unwrap();
        let root = tempfile::tempdir().unwrap();
        for directory in ["usr", "proc", "dev", "state", "etc"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.path().join(name)).unwrap();
        }
        for name in ["nexudus-proxy", "dev/null"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        simulator.write_ca(&root.path().join("ca.pem")).unwrap();
        // Other users go through it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(root.path(), mode).unwrap();
        Self { simulator, root }
    }

    /// Returns the program as process 1 of a container, as a user that the system does not know.
    fn command(&self, line: &str, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT, "sh"]);
        command.arg(self.root.path()).arg(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split_whitespace());
        command.env_clear().env("PATH", PATH).stdin(Stdio::null());
        let port = self.simulator.address().port();
        command.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", format!("https://localhost:{port}"));
        // There is no hosts file.
        command.env("NEXUDUS_PROXY_UPSTREAM_ADDRESS", "127.0.0.1");
        command.env("NEXUDUS_PROXY_UPSTREAM_CA_FILE", "/ca.pem");
        command.env("NEXUDUS_EMAIL", DEMO_EMAIL).env("NEXUDUS_PASSWORD", DEMO_PASSWORD);
        command.envs(environment.iter().copied());
        command
    }

    fn start(&self, line: &str, environment: &[(&str, &str)]) -> Serving {
        let mut command = self.command(line, environment);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Serving { child, log }
    }

    /// Runs a command that ends, and returns its transcript.
    fn run(&self, line: &str, environment: &[(&str, &str)]) -> String {
        transcript(self.command(line, environment))
    }
}

fn transcript(mut command: Command) -> String {
    let told = command.output().unwrap();
    let code = told.status.code().unwrap();
    format!("{}{}=> {code}\n", text(&told.stdout), text(&told.stderr))
}

/// A daemon in a container.
struct Serving {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Serving {
    fn log_until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no {wanted} in: {seen}");
            if line.contains(wanted) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn port(&mut self) -> u16 {
        let line = self.log_until("\"address\":\"127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        port.split('"').next().unwrap().parse().unwrap()
    }

    fn first_process(&self) -> Pid {
        first_process(&self.child).unwrap()
    }

    fn get(&self, port: u16, target: &str) -> String {
        let url = format!("http://127.0.0.1:{port}{target}");
        let told =
            self.inside(&format!("/usr/bin/curl -s -o /dev/null -w %{{http_code}} {url}"), &[]);
        told.trim_end_matches("=> 0\n").to_owned()
    }

    /// Runs another program in the same container, as the same user.
    fn inside(&self, line: &str, environment: &[(&str, &str)]) -> String {
        let mut command = Command::new("nsenter");
        let first = self.first_process().to_string();
        command.args(["--target", &first, "--mount", "--pid", "--root", "--setuid", USER]);
        command.args(["--setgid", USER]).args(line.split_whitespace());
        command.env_clear().envs(environment.iter().copied());
        transcript(command)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The kernel forgets `--kill-child` where the user changes.
        if let Some(first) = first_process(&self.child) {
            let _ = kill(first, Signal::SIGKILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut rest = String::new();
            let _ = self.log.read_to_string(&mut rest);
            let _ = std::io::stderr().write_all(rest.as_bytes());
        }
    }
}

/// Returns the process that `unshare` has started.
fn first_process(unshare: &Child) -> Option<Pid> {
    children(Pid::from_raw(unshare.id().try_into().unwrap())).first().copied()
}

/// Returns the children of a process, zombies included.
fn children(parent: Pid) -> Vec<Pid> {
    let of = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse::<i32>().ok()
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse::<i32>().ok()?;
        let status =
            std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
        (of(&status.ok()?)? == parent.as_raw()).then_some(Pid::from_raw(pid))
    });
    processes.collect()
}

/// The number of a user without an entry anywhere.
const USER: &str = "54321";

/// Mounts what a container has, makes its root read-only and starts the program in it.
const SCRIPT: &str = "set -e; root=$1 program=$2; shift 2
mount --make-rprivate /
mount --bind \"$root\" \"$root\"
mount --bind /usr \"$root/usr\"
mount --bind /dev/null \"$root/dev/null\"
mount --bind \"$program\" \"$root/nexudus-proxy\"
mount -t proc none \"$root/proc\"
mount -t tmpfs -o mode=1777 none \"$root/state\"
mount -o remount,ro,bind \"$root\"
exec chroot --userspec=54321:54321 \"$root\" /nexudus-proxy \"$@\"";
