//! Two upstreams that know the same account, and a home that serves one of them.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::eventually;
use crate::support::{Home, home};

/// The upstreams A and B, which both know the account and its password, and a home.
pub(crate) struct Place {
    pub(crate) a: Simulator,
    pub(crate) b: Simulator,
    pub(crate) home: Home,
}

pub(crate) fn place() -> Place {
    let upstream = || {
        let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
        Simulator::builder().account(account).start().unwrap()
    };
    let place = Place { a: upstream(), b: upstream(), home: home() };
    place.home.write("ca.pem", format!("{}{}", place.a.ca_pem(), place.b.ca_pem()));
    place.configure(&place.a);
    place
}

impl Place {
    pub(crate) fn configure(&self, upstream: &Simulator) {
        self.configure_with(upstream, "");
    }

    pub(crate) fn configure_with(&self, upstream: &Simulator, more: &str) {
        self.home.configure(format!(
            "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
             [session]\nkey_command = [\"printf\", \"sixteen bytes ok\"]\n{more}",
            upstream.origin(),
            self.home.path("ca.pem").display(),
        ));
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.home.command(line);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    pub(crate) fn run(&self, line: &str) -> String {
        self.home.transcript(&mut self.command(line))
    }

    pub(crate) fn given(&self, line: &str, input: &str) -> String {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that fails before it reads leaves no reader.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.home.format_output(child.wait_with_output().unwrap())
    }

    pub(crate) fn log_in(&self) {
        let said = self.given(SESSION_ONLY, DEMO_PASSWORD);
        assert!(said.ends_with("=> 0\n"), "{said}");
    }

    pub(crate) fn serve(&self, line: &str) -> Serving {
        let log = std::fs::File::create(self.home.path("serve.log")).unwrap();
        let serving = Serving(self.command(line).stdin(Stdio::null()).stderr(log).spawn().unwrap());
        let socket = self.home.path(".local/state/nexudus-proxy/run/admin.sock");
        eventually("the daemon listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        self.run("wait --timeout 5s");
        serving
    }

    /// Asks the daemon for something of Nexudus; returns the status and the answer.
    pub(crate) fn ask(&self) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "--unix-socket"])
            .arg(self.home.path(".local/state/nexudus-proxy/run/proxy.sock"))
            .arg("http://localhost/api/spaces/coworkers?size=1")
            .output()
            .expect("the test needs curl");
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

/// Says that nothing that `secret` has issued, and no client id of it, has ever reached `other`.
pub(crate) fn assert_untouched(other: &Simulator, secret: &Simulator) {
    let mut secrets = vec![];
    for call in secret.token_calls() {
        secrets.extend([call.issued, call.issued_refresh, call.client_id].into_iter().flatten());
    }
    assert!(secrets.len() >= 3, "{secrets:?}");
    for seen in other.requests() {
        let whole = format!("{seen:?} {}", seen.text());
        for secret in &secrets {
            assert!(!whole.contains(secret.as_str()), "{secret} reached another origin: {whole}");
        }
    }
}

pub(crate) struct Serving(pub(crate) Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

pub(crate) const SESSION_ONLY: &str =
    "login --session-only --password-stdin --email ada@example.test";

/// Returns what the state directory holds, by name.
pub(crate) fn kept(place: &Place) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place.home.path(".local/state/nexudus-proxy")).unwrap();
    let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    let named = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        (name, bytes)
    };
    files.map(named).collect()
}
