//! A home for `run`, a simulated Nexudus, and a daemon that ends with the test.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nexudus_simulator::{Account, Simulator};

use crate::support::{Home, home};

/// Asks once for each line that it reads.
pub(crate) const TALK: &str = "while read -r _; do \
    curl -s -o /dev/null -w '%{http_code} ' $NEXUDUS_BASE_URL/api/auth/me; \
    curl -s -o /dev/null -w '%{http_code}\\n' -H 'Content-Type: application/json' \
    -d '{\"FullName\":\"x\",\"Email\":\"x@example.test\"}' $NEXUDUS_BASE_URL/api/spaces/coworkers; done";

/// Asks once for each line that it reads, and leaves the answer where the test finds it.
pub(crate) const WHY: &str = "while read -r _; do \
    curl -s -o answer.json -w '%{http_code}\\n' $NEXUDUS_BASE_URL/api/auth/me; done";

pub(crate) fn problem(home: &Home) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(home.path("answer.json")).unwrap()).unwrap()
}

/// A `run` that is told when to ask.
pub(crate) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    pub(crate) fn begin(mut run: Command) -> Self {
        let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ask(&mut self) -> String {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.lines.next().unwrap().unwrap()
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }
}

pub(crate) const READ_AND_WRITE: &str = "curl -s -o /dev/null -w '%{http_code} ' $NEXUDUS_BASE_URL/api/auth/me; \
    curl -s -o /dev/null -w '%{http_code}\\n' -d '{}' $NEXUDUS_BASE_URL/api/spaces/coworkers";

pub(crate) fn stage() -> (Simulator, Home) {
    let account = Account::new("ada@example.test", "marker-password-7f3a");
    let upstream = Simulator::builder().account(account).start().unwrap();
    let home = home();
    upstream.write_ca(&home.path("ca.pem")).unwrap();
    home.configure(configuration(&upstream, &home, "none"));
    (upstream, home)
}

/// Clients without a key may do as much as `anonymous` says.
pub(crate) fn configuration(upstream: &Simulator, home: &Home, anonymous: &str) -> String {
    format!(
        "[upstream]\norigin = 'https://localhost:{}'\nca_file = '{}'\n[session]\nstore = 'memory'\n\
         [listen]\ntcp = ['localhost:0']\n[policy]\nanonymous = '{anonymous}'\n",
        upstream.address().port(),
        home.path("ca.pem").display(),
    )
}

pub(crate) fn script(home: &Home, line: &str, text: &str) -> Command {
    let mut command = with_login(home, line);
    command.args(["--", "/bin/bash", "-c", text]);
    command
}

pub(crate) fn with_login(home: &Home, line: &str) -> Command {
    let mut command = home.command(line);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("NEXUDUS_EMAIL", "ada@example.test");
    command.env("NEXUDUS_PASSWORD", "marker-password-7f3a");
    command
}

pub(crate) fn clients(home: &Home) -> String {
    let listed = home.run("client list --json -q");
    listed.strip_suffix("\n=> 0\n").unwrap().to_owned()
}

/// A daemon that ends with the test.
pub(crate) struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn serving(home: &Home, line: &str) -> Serving {
    // The socket is the last to be told.
    serving_at(home, line, ".sock")
}

pub(crate) fn serving_at(home: &Home, line: &str, said: &str) -> Serving {
    let mut child = with_login(home, line).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(said)));
    std::thread::spawn(move || lines.for_each(drop));
    Serving(child)
}
