//! A session belongs to the origin that issued it: nothing of one upstream ever reaches another.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::eventually;
use crate::support::{Home, home};

/// The upstreams A and B, which both know the account and its password, and a home.
struct Place {
    a: Simulator,
    b: Simulator,
    home: Home,
}

fn place() -> Place {
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
    fn configure(&self, upstream: &Simulator) {
        self.home.configure(format!(
            "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
             [session]\nkey_command = [\"printf\", \"sixteen bytes ok\"]\n",
            upstream.origin(),
            self.home.path("ca.pem").display(),
        ));
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.home.command(line);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    fn run(&self, line: &str) -> String {
        self.home.transcript(&mut self.command(line))
    }

    fn given(&self, line: &str, input: &str) -> String {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that fails before it reads leaves no reader.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.home.told(child.wait_with_output().unwrap())
    }

    fn log_in(&self) {
        let said = self.given(SESSION_ONLY, DEMO_PASSWORD);
        assert!(said.ends_with("=> 0\n"), "{said}");
    }

    fn serve(&self, line: &str) -> Serving {
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
    fn ask(&self) -> (u16, String) {
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
fn assert_untouched(other: &Simulator, secret: &Simulator) {
    let mut secrets = vec![];
    for call in secret.token_calls() {
        secrets.extend([call.issued, call.issued_refresh, call.client_id].into_iter().flatten());
    }
    assert!(secrets.len() >= 3, "{secrets:?}");
    for seen in other.seen() {
        let whole = format!("{seen:?} {}", seen.text());
        for secret in &secrets {
            assert!(!whole.contains(secret.as_str()), "{secret} reached another origin: {whole}");
        }
    }
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

const SESSION_ONLY: &str = "login --session-only --password-stdin --email ada@example.test";

/// The attack: only `upstream.origin` has changed, and the daemon starts again.
#[test]
fn another_origin_gets_neither_token_of_a_session() {
    let place = place();
    place.log_in();
    {
        let _daemon = place.serve("serve");
        assert_eq!(place.ask().0, 200);
    }

    place.configure(&place.b);
    {
        let _daemon = place.serve("serve");
        let (status, answer) = place.ask();
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("session.not-logged-in"), "{answer}");
        let told = place.run("status");
        let (a, b) = (place.a.origin(), place.b.origin());
        assert!(told.contains(&format!("the stored login is for {a}, not for {b}")), "{told}");
        assert!(told.contains("`nexudus-proxy login`"), "{told}");
        let told = place.run("whoami");
        assert!(told.contains(&format!("the stored login is for {a}")), "{told}");
        assert!(told.ends_with("=> 3\n"), "{told}");
    }
    assert_untouched(&place.b, &place.a);
    assert!(place.b.seen().is_empty(), "{:?}", place.b.seen());

    place.configure(&place.a);
    let _daemon = place.serve("serve");
    assert_eq!(place.ask().0, 200, "the session of A is found again");
    assert_eq!(place.a.token_calls().len(), 1);
}
