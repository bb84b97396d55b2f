//! Login and logout while a daemon runs, and their effect on it and on the next start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::support::{Home, home};

/// Once `login` has returned, no request is sent as the account of before.
#[test]
fn the_first_request_after_a_login_is_the_new_accounts() {
    let place = place("key_command = ['printf', 'sixteen bytes ok']");
    place.log_in(BOB);
    let daemon = place.serve(&[]);

    for account in [DEMO_EMAIL, BOB, DEMO_EMAIL, BOB] {
        let said = place.log_in(account);
        assert!(
            said.contains("kept the session; the running daemon uses it from now on"),
            "{said}"
        );
        let me: serde_json::Value = serde_json::from_str(&daemon.me().1).unwrap();
        assert_eq!(me["Email"], account);
    }
}

/// Neither is a credential: a start with a login from elsewhere must find both.
#[test]
fn a_lock_and_a_refused_password_outlive_a_logout() {
    let place = place("store = 'memory'");
    let daemon = place.serve(&LOGIN);
    assert!(place.home.run("lock").ends_with("=> 0\n"));
    assert!(place.home.run("logout").ends_with("=> 0\n"));
    drop(daemon);
    let daemon = place.serve(&LOGIN);
    assert_eq!(daemon.me().0, 423);
    assert!(place.home.run("unlock").ends_with("=> 0\n"));
    drop(daemon);

    let before = place.simulator.token_calls().len();
    let wrong = [LOGIN[0], ("NEXUDUS_PASSWORD", "wrong")];
    for _ in 0..2 {
        let daemon = place.serve(&wrong);
        let (status, body) = daemon.me();
        assert!(status == 503 && body.contains("session.refused"), "{body}");
        assert!(place.home.run("logout").ends_with("=> 0\n"));
    }
    assert_eq!(place.simulator.token_calls().len() - before, 1, "offered once");
}

#[test]
fn a_client_id_is_the_accounts_wherever_the_session_is_kept() {
    let place = place("store = 'memory'");
    for login in [LOGIN, [("NEXUDUS_EMAIL", BOB), LOGIN[1]], LOGIN] {
        let daemon = place.serve(&login);
        assert_eq!(daemon.me().0, 200);
        drop(daemon);
        place.home.run("logout");
    }
    let ids: Vec<_> =
        place.simulator.token_calls().into_iter().map(|call| call.client_id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] == ids[2] && ids[0] != ids[1], "{ids:?}");
}

/// The shell in which `logout` is typed has none of these.
#[test]
fn what_the_daemon_alone_sees_of_the_sources_is_told() {
    let place = place("key_command = ['printf', 'sixteen bytes ok']");
    place.home.write("handed/nexudus-email", BOB);
    let handed = place.home.path("handed").display().to_string();
    let environment = [LOGIN[0], LOGIN[1], ("CREDENTIALS_DIRECTORY", &handed)];
    let half = "the systemd credentials have nexudus-email but not nexudus-password";

    let daemon = place.serve(&environment);
    assert_eq!(daemon.me().0, 200, "half a login hides no whole one");
    let status = place.home.run("status");
    assert!(status.contains("ada@example.test, login from environment\n"), "{status}");
    assert!(status.contains(half), "{status}");
    drop(daemon);

    let daemon = place.serve(&environment);
    assert_eq!(daemon.me().0, 200);
    let status = place.home.run("status");
    assert!(
        status.contains("session resumed; a login would be read from environment\n"),
        "{status}"
    );
    let logout = place.home.run("logout");
    assert!(
        logout
            .contains("! warning: the environment still holds a login: a restart uses it again\n"),
        "{logout}"
    );
    drop(daemon);
}

struct Place {
    simulator: Simulator,
    home: Home,
}

fn place(session: &str) -> Place {
    let simulator = Simulator::builder()
        .account(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
        .account(Account::new(BOB, DEMO_PASSWORD))
        .start()
        .unwrap();
    let home = home();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    home.configure(format!(
        "[upstream]\norigin = '{}'\nca_file = '{}'\n[listen]\ntcp = ['127.0.0.1:0']\n\
         [session]\n{session}\n",
        simulator.origin(),
        home.path("ca.pem").display(),
    ));
    Place { simulator, home }
}

impl Place {
    /// Starts a daemon with these variables in its environment.
    fn serve(&self, environment: &[(&str, &str)]) -> Serving {
        let mut serve = self.home.command("serve --log-format human");
        let mut child =
            serve.envs(environment.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.find(|line| line.contains("address=")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let address = told.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        Serving { child, address: address.to_owned() }
    }

    fn log_in(&self, account: &str) -> String {
        let line = format!("login --session-only --password-stdin --email {account}");
        let mut command = self.home.command(&line);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(DEMO_PASSWORD.as_bytes()).unwrap();
        self.home.format_output(child.wait_with_output().unwrap())
    }
}

/// A daemon that ends with the test.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    /// Asks who is logged in; returns the status too.
    fn me(&self) -> (u16, String) {
        let url = format!("http://{}/api/auth/me", self.address);
        let output =
            Command::new("curl").args(["-s", "-w", "\n%{http_code}", &url]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

const LOGIN: [(&str, &str); 2] =
    [("NEXUDUS_EMAIL", DEMO_EMAIL), ("NEXUDUS_PASSWORD", DEMO_PASSWORD)];

const BOB: &str = "bob@example.test";
