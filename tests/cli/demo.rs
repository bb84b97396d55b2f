//! `demo` as a newcomer meets it: three lines to paste, and they work.

#![cfg(all(unix, feature = "demo"))]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Home, home};

#[test]
fn its_lines_work_when_pasted_and_still_after_the_token_has_rotated_twice() {
    let home = home();
    let mut demo = Demo::start(&home, "demo --token-life 2s");
    let lines = demo.read_until(|line| line.contains("Ctrl-C ends it"));
    let pasted = pasted_lines(&lines);
    assert_eq!(pasted.len(), 3, "{lines}");

    for line in &pasted {
        assert!(paste(line).contains("Id\":"), "{line}");
    }
    demo.log_until("token renewed  generation=3");
    let elsewhere = crate::support::home();
    let status = elsewhere.transcript(elsewhere.command("status").env("TMPDIR", home.path("tmp")));
    assert!(status.contains("  state      ready\n"), "{status}");
    assert!(status.contains("! note: this is the `demo` that runs (process "), "{status}");
    let taken = pasted[0].split("localhost:").nth(1).unwrap().split('/').next().unwrap();
    let mut doctor = elsewhere.command("doctor");
    doctor
        .env("TMPDIR", home.path("tmp"))
        .env("NEXUDUS_PROXY_LISTEN_TCP", format!("[\"127.0.0.1:{taken}\"]"));
    let doctor = elsewhere.transcript(&mut doctor);
    let port = doctor.lines().find(|line| line.contains("  port  ")).unwrap();
    assert!(port.starts_with("warn") && port.contains("the `demo` that runs has it"), "{doctor}");
    for line in &pasted {
        assert!(paste(line).contains("Id\":"), "{line}");
    }

    assert_eq!(demo.interrupt(), Some(0));
    assert_eq!(std::fs::read_dir(home.root()).unwrap().count(), 1, "only its own tmp");
    assert_eq!(std::fs::read_dir(home.path("tmp")).unwrap().count(), 0, "and that is empty");
}

#[test]
fn a_token_that_nobody_could_use_is_refused() {
    let least = "! error: invalid value '0s' for '--token-life <DURATION>': tokens live for whole \
                 seconds, and at least for 1s\n\
                 ! hint: --help lists what can be given.\n\
                 => 2\n";

    assert_eq!(home().run("demo --token-life 0s"), least);
    assert_eq!(home().run("demo --token-life 999ms"), least.replace("0s", "999ms"));
}

/// Runs a line as a shell would and returns what it prints.
fn paste(line: &str) -> String {
    let output = Command::new("sh").args(["-c", &line.replace("curl ", "curl -sSf ")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Finds the commands among what was printed; a backslash continues one.
fn pasted_lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let commands = joined.lines().filter_map(|line| line.strip_prefix("  curl "));
    commands.map(|rest| format!("curl {rest}")).collect()
}

/// A running demo.
struct Demo {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Demo {
    fn start(home: &Home, line: &str) -> Self {
        let temporary: PathBuf = home.path("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = home.command(line);
        command.env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    fn read_until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.stdout.read_line(&mut line).unwrap() > 0,
                "it ended: {text}{}",
                self.rest()
            );
            text.push_str(&line);
            if wanted(&line) {
                return text;
            }
        }
    }

    fn log_until(&mut self, wanted: &str) {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended");
            if line.contains(wanted) {
                return;
            }
        }
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).unwrap();
        text
    }

    fn interrupt(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
