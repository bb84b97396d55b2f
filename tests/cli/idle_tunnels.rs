//! 5,000 idle tunnels through one process, a `run` or a daemon: `make check-tunnels`.
//!
//! Each tunnel takes two files in the proxy, and one in each of the processes at its ends. Those are
//! processes of their own, because a process may have only so many files (often 20,000).

use std::io::{BufRead as _, BufReader, Write as _, stderr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::shared::eventually;
use crate::support::daemon::{Nexudus, get};
use crate::support::run::{configuration, stage, with_login};
use crate::support::{Home, home};

const TUNNELS: usize = 5_000;

/// Most memory of one idle tunnel, in KiB, of a build with debug assertions.
const MOST_KIB: u64 = 16;

#[test]
#[ignore = "5,000 tunnels and 20,000 files: make check-tunnels"]
fn a_run_holds_five_thousand_idle_tunnels() {
    let (upstream, home) = stage();
    let echo = Ends::start(&["echo"], None);
    let target = format!("127.0.0.1:{}", echo.first_line);
    let text = configuration(&upstream, &home, "none");
    home.configure(format!(
        "{text}[forward_proxy]\nallow = ['{target}']\n[limits]\nconnections = {}\n",
        4 * TUNNELS
    ));
    let count = TUNNELS.to_string();
    let mut run = with_login(&home, "run -q -- /usr/bin/python3");
    run.args([SCRIPT, "hold", &count, &target]);

    // The memory of before is that of a `run` with one tunnel.
    let mut one = with_login(&home, "run -q -- /usr/bin/python3");
    one.args([SCRIPT, "hold", "1", &target]);
    let one = Ends::of(one);
    let before = memory_kib(one.child.id());
    one.end();
    let held = Ends::of(run);

    assert_eq!(held.first_line, format!("open {TUNNELS} refused 0"));
    look_at(held, TUNNELS, before, None);
}

#[test]
#[ignore = "5,000 tunnels and 20,000 files: make check-tunnels"]
fn a_daemon_serves_beside_as_many_idle_tunnels_as_it_has_files_for() {
    let nexudus = Nexudus::start();
    let home = home();
    let echo = Ends::start(&["echo"], None);
    let target = format!("127.0.0.1:{}", echo.first_line);
    let served = nexudus.serve(&home, |command| {
        command.args(["--forward-proxy-listen", "127.0.0.1:0"]);
        command.args(["--forward-proxy-other-hosts", "tunnel", "--forward-proxy-allow", &target]);
        command.args(["--limits-connections", &(4 * TUNNELS).to_string()]);
    });
    let proxy = forward_proxy(&home);
    let one = Ends::start(&["hold", "1", &target], Some(&proxy));
    let before = memory_kib(served.child.id());
    one.end();

    let held = Ends::start(&["hold", &TUNNELS.to_string(), &target], Some(&proxy));

    // Under a limit of 20,000 files, 9,648 connections are served, and a quarter of them are tunnels.
    let words: Vec<&str> = held.first_line.split(' ').collect();
    let ["open", open, "refused", refused] = words[..] else { panic!("{words:?}") };
    let (open, refused): (usize, usize) = (open.parse().unwrap(), refused.parse().unwrap());
    assert!(open + refused == TUNNELS && open >= 2_000, "{words:?}");
    assert_eq!(get(served.port(&home), "/api/auth/me"), "200", "beside them all");
    look_at(held, open, before, Some(served.child.id()));
}

/// Looks at `count` open tunnels, in the process of `pid` or in that of `held` itself.
fn look_at(mut held: Ends, count: usize, before: u64, pid: Option<u32>) {
    let memory = memory_kib(pid.unwrap_or(held.child.id())).saturating_sub(before);
    let each = memory as f64 / count as f64;
    let told = format!("{count} idle tunnels take {memory} KiB, each {each:.1}\n");
    stderr().write_all(told.as_bytes()).unwrap();
    held.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(held.next_line(), format!("alive {count}"));
    assert_eq!(held.next_line(), "HTTP/1.1 503 too many tunnels in nexudus-proxy");
    assert!(memory < MOST_KIB * count as u64, "{each:.1} KiB");
    held.end();
}

fn forward_proxy(home: &Home) -> String {
    let mut proxy = None;
    eventually("the daemon listens", || {
        let told = home.run("status --json");
        let status: Option<serde_json::Value> =
            told.strip_suffix("=> 0\n").and_then(|text| serde_json::from_str(text).ok());
        proxy = status
            .and_then(|it| Some(it["listening"]["forward_proxy"]["tcp"].as_str()?.to_owned()));
        proxy.is_some()
    });
    format!("http://{}", proxy.unwrap())
}

/// The process at one end of all tunnels. It ends with this value.
struct Ends {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    first_line: String,
}

impl Ends {
    fn start(words: &[&str], proxy: Option<&str>) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(SCRIPT).args(words).env_clear();
        command.envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut ends = Self { child, stdin, stdout, first_line: String::new() };
        ends.first_line = ends.next_line();
        ends
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends it with its input.
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the resident memory of a process.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/tunnels.py");
