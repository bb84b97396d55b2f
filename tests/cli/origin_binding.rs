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
        self.configure_with(upstream, "");
    }

    fn configure_with(&self, upstream: &Simulator, more: &str) {
        self.home.configure(format!(
            "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
             [session]\nkey_command = [\"printf\", \"sixteen bytes ok\"]\n{more}",
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
        self.home.format_output(child.wait_with_output().unwrap())
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
    for seen in other.requests() {
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
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    // It asks B whether it is there, and shows it nothing.
    let told = place.run("doctor");
    let (a, b) = (place.a.origin(), place.b.origin());
    let login = told.lines().find(|line| line.contains("  login  "));
    let said = format!("the stored login is for {a}, not for {b}");
    assert!(login.is_some_and(|line| line.ends_with(&said)), "{told}");
    assert_untouched(&place.b, &place.a);

    place.configure(&place.a);
    let _daemon = place.serve("serve");
    assert_eq!(place.ask().0, 200, "the session of A is found again");
    assert_eq!(place.a.token_calls().len(), 1);
}

/// However the other origin is named: a flag, a variable, a profile's part of the file.
#[test]
fn another_origin_gets_nothing_however_it_is_named() {
    let place = place();
    place.log_in();
    let b = place.b.origin();
    let ask_b = |mut command: Command| {
        let serving = Serving(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let told = place.run("wait --timeout 30s");
        assert!(told.ends_with("=> 3\n"), "{told}");
        let (status, answer) = place.ask();
        assert!(status == 503 && answer.contains("session.not-logged-in"), "{answer}");
        drop(serving);
    };

    ask_b(place.command(&format!("serve --upstream {b}")));
    let mut by_variable = place.command("serve");
    by_variable.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", &b);
    ask_b(by_variable);
    place.configure_with(&place.a, &format!("[profile.default.upstream]\norigin = \"{b}\"\n"));
    ask_b(place.command("serve"));

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_eq!(place.a.token_calls().len(), 1);
}

/// `upstream.origin` takes a restart: until then the daemon goes on as it was, and says so.
#[test]
fn a_reload_changes_no_origin() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    place.configure(&place.b);

    let told = place.run("reload");

    assert!(told.contains("these keys take a restart: upstream.origin"), "{told}");
    assert_eq!(place.ask().0, 200);
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
}

#[test]
fn a_login_for_another_upstream_than_the_daemons_is_refused_before_it_is_offered() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    let (a, b) = (place.a.origin(), place.b.origin());
    let kept = kept(&place);

    for line in [
        format!("{SESSION_ONLY} --upstream {b}"),
        format!("login --import-stdin --upstream {b}"),
        format!("login --email ada@example.test --password-stdin --upstream {b}"),
    ] {
        let told = place.given(&line, DEMO_PASSWORD);
        assert!(
            told.starts_with(&format!(
                "! error: the running daemon serves {a}, and this login would be for {b}\n! hint: "
            )),
            "{told}"
        );
        assert!(told.ends_with("=> 2\n"), "{told}");
    }
    place.configure(&place.b);
    let told = place.run("doctor");
    let serves = format!("the running daemon serves {a}");
    assert!(
        told.contains(&format!("{serves}, and {b} is configured here (profile default); what it")),
        "{told}"
    );
    assert!(
        told.contains(
            "→ Restart the daemon, so that it serves the upstream.origin that is configured now.\n"
        ),
        "{told}"
    );
    let told = place.given(SESSION_ONLY, DEMO_PASSWORD);
    assert!(told.contains(&a) && told.contains(&b) && told.ends_with("=> 2\n"), "{told}");

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_eq!(place.a.token_calls().len(), 1);
    assert_eq!(self::kept(&place), kept, "nothing is stored");
    let told = place.given(&format!("{SESSION_ONLY} --upstream {a}"), DEMO_PASSWORD);
    assert!(told.contains("; the running daemon uses it from now on"), "{told}");
}

/// The daemon compares too: it may have been started again between two questions of a command.
#[test]
fn a_daemon_refuses_to_hear_of_a_login_for_another_origin() {
    let place = place();
    place.log_in();
    let _daemon = place.serve("serve");
    let (a, b) = (place.a.origin(), place.b.origin());
    let tell = |query: &str| {
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "-X", "POST", "--unix-socket"])
            .arg(place.home.path(".local/state/nexudus-proxy/run/admin.sock"))
            .arg(format!("http://localhost/v1/login{query}"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let told = tell(&format!("?upstream={b}"));
    assert!(told.ends_with("\n409") && told.contains("session.origin"), "{told}");
    assert!(told.contains(&format!("this daemon serves {a}, and the login is for {b}")), "{told}");
    // An earlier command does not say for which.
    for query in ["", &format!("?upstream={a}")] {
        assert!(tell(query).ends_with("\n200"));
    }
}

/// The login in this shell's environment is meant for the upstream that is configured here.
#[test]
fn whoami_says_which_upstream_answers_and_gives_it_no_login_meant_for_another() {
    let place = place();
    place.configure_with(&place.a, "[policy]\nanonymous = \"none\"\n");
    place.log_in();
    let (a, b) = (place.a.origin(), place.b.origin());
    let calls = place.a.token_calls().len();
    {
        let _daemon = place.serve("serve");
        place.configure(&place.b);
        let mut whoami = place.command("whoami");
        whoami.env("NEXUDUS_EMAIL", "grace@example.test").env("NEXUDUS_PASSWORD", "for-b-only");
        let told = place.home.transcript(&mut whoami);
        let said = format!("! error: the running daemon serves {a}, and {b} is configured here\n");
        assert!(told.starts_with(&said) && told.ends_with("=> 2\n"), "{told}");
        let mut doctor = place.command("doctor");
        doctor.env("NEXUDUS_EMAIL", "grace@example.test").env("NEXUDUS_PASSWORD", "for-b-only");
        let told = place.home.transcript(&mut doctor);
        let login = told.lines().find(|line| line.contains("  login  ")).unwrap();
        assert!(login.starts_with("warn"), "{told}");
        let said = format!("; it is for {b}, and the running daemon serves {a}");
        assert!(login.ends_with(&said), "{told}");
    }
    assert_eq!(place.a.token_calls().len(), calls);

    place.configure(&place.a);
    let _daemon = place.serve("serve");
    place.configure(&place.b);
    let told = place.run("whoami");
    assert!(told.contains(&format!("Upstream    {a}\n")), "{told}");
    let said = format!("! warning: the running daemon serves {a}; {b} is configured here\n");
    assert!(told.contains(&said), "{told}");
    assert!(place.run("whoami --json").contains(&format!("\"upstream\": \"{a}\"")));
}

#[test]
fn a_run_for_another_upstream_goes_through_no_daemon_and_no_run() {
    let place = place();
    place.log_in();
    let (a, b) = (place.a.origin(), place.b.origin());
    let run = |line: &str, upstream: &str, script: &str| {
        let mut command = place.command(line);
        command.env("NEXUDUS_PROXY_UPSTREAM_ORIGIN", upstream);
        command.args(["--", "/bin/bash", "-c", script]);
        command
    };
    let ask =
        "curl -s -o /dev/null -w '%{http_code}' $NEXUDUS_BASE_URL/api/spaces/coworkers?size=1";
    let refused = format!(
        "! error: the daemon that serves the profile `default` has the upstream {a}, but {b} is \
         configured here\n\
         ! hint: Restart the daemon, so that it serves the upstream.origin that is configured now; or \
         set NEXUDUS_PROXY_UPSTREAM_ORIGIN to the one that it serves; or choose another --profile.\n"
    );

    {
        let _daemon = place.serve("serve");
        let told = place.home.transcript(&mut run("run", &b, ask));
        assert!(told.starts_with(&refused) && told.ends_with("=> 125\n"), "{told}");
        assert_eq!(place.home.transcript(&mut run("run", &a, ask)), "200=> 0\n");
    }
    // Beside another `run`, whose socket it would know.
    let within = format!(
        "{ask}; NEXUDUS_PROXY_UPSTREAM_ORIGIN={b} NEXUDUS_PASSWORD= NEXUDUS_EMAIL= \
         NEXUDUS_USERNAME= {0} run -- bash -c '{1}'; echo \" $?\"; \
         NEXUDUS_PROXY_UPSTREAM_ORIGIN={b} {0} login --session-only --password-stdin </dev/null",
        env!("CARGO_BIN_EXE_nexudus-proxy"),
        ask.replace('\'', ""),
    );
    let told = place.home.transcript(&mut run("run", &a, &within));
    assert!(told.starts_with("200 125\n"), "{told}");
    let (_, pid) = told.split_once("the `run` (pid ").unwrap();
    let pid: u32 = pid.split_once(')').unwrap().0.parse().unwrap();
    for said in [
        format!(
            "! error: the `run` (pid {pid}) that serves the profile `default` has the upstream {a}, but {b} is \
             configured here\n\
             ! hint: Wait until it has ended, end what it serves with `nexudus-proxy stop`, or choose \
             another --profile.\n"
        ),
        format!(
            "! error: a `run` (pid {pid}) serves {a}, and this login would be for {b}\n\
             ! hint: Wait until it has ended, or end what it serves with `nexudus-proxy stop`.\n"
        ),
    ] {
        assert!(told.contains(&said), "{told}");
    }

    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
    assert_untouched(&place.b, &place.a);
}

/// A daemon takes a `run`'s place; what the command of that `run` asks for is not sent elsewhere.
#[test]
fn a_run_is_not_served_by_a_daemon_of_another_upstream_that_takes_its_place() {
    let place = place();
    place.log_in();
    let a = place.a.origin();
    let go = place.home.path("go");
    let script = format!(
        "ask() {{ curl -s -o $HOME/said -w '%{{http_code}} ' \
         $NEXUDUS_BASE_URL/api/spaces/coworkers?size=1; }}; \
         ask; touch $HOME/asked; until [ -e {} ]; do sleep 0.05; done; ask",
        go.display()
    );
    let mut command = place.command("run");
    command.args(["--", "/bin/bash", "-c", &script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let running = command.spawn().unwrap();
    eventually("it has asked", || place.home.path("asked").exists());

    place.configure(&place.b);
    let _daemon = place.serve("serve");
    eventually("the daemon serves", || place.run("status").contains(&place.b.origin()));
    std::fs::write(&go, "").unwrap();

    let told = place.home.format_output(running.wait_with_output().unwrap());
    assert!(told.starts_with("200 503 "), "{told}");
    let said = std::fs::read_to_string(place.home.path("said")).unwrap();
    assert!(said.contains(&format!("but {a} is configured here")), "{said}");
    let hint = "Stop that daemon, or start this `run` again with another --profile.";
    assert!(said.contains(hint), "{said}");
    assert!(place.b.requests().is_empty(), "{:?}", place.b.requests());
}

#[test]
fn each_origin_has_its_session_and_a_logout_ends_them_all() {
    let place = place();
    place.log_in();
    place.configure(&place.b);
    place.log_in();
    assert_untouched(&place.b, &place.a);
    assert_untouched(&place.a, &place.b);
    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        assert!(place.run("whoami").ends_with("=> 0\n"));
        assert_eq!(upstream.token_calls().len(), 1, "each is resumed");
    }
    let backups: Vec<_> =
        kept(&place).into_iter().filter(|(name, _)| name.starts_with("session.sealed")).collect();
    assert_eq!(backups.len(), 2);

    let told = place.run("logout");
    let mut origins = [place.a.origin(), place.b.origin()];
    origins.sort();
    let said = format!("! note: cleared the logins at {}\n", origins.join(" and "));
    assert!(told.contains(&said) && told.ends_with("=> 0\n"), "{told}");

    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        assert!(place.run("whoami").ends_with("=> 3\n"));
    }
    // Nor does a backup bring one back.
    for (name, bytes) in backups {
        let path = place.home.write(&format!(".local/state/nexudus-proxy/{name}"), bytes);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        let told = place.run("whoami");
        assert!(told.contains("is from before the last login or logout"), "{told}");
        assert!(told.ends_with("=> 3\n"), "{told}");
        assert_eq!(upstream.token_calls().len(), 1);
    }
}

/// As on a machine with one `nexudus-key` for all.
#[test]
fn two_profiles_with_one_key_cannot_exchange_their_sessions() {
    let place = place();
    place.log_in();
    let told = place.given(&format!("{SESSION_ONLY} --profile work"), DEMO_PASSWORD);
    assert!(told.ends_with("=> 0\n"), "{told}");
    let state = place.home.path(".local/state/nexudus-proxy");
    let name = kept(&place).into_keys().find(|name| name.starts_with("session.sealed")).unwrap();
    let (own, other) = (state.join(&name), state.join("profiles/work").join(&name));

    let [of_own, of_other] = [&own, &other].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&own, of_other).unwrap();
    std::fs::write(&other, of_own).unwrap();

    for (line, whose) in [("whoami", "work"), ("whoami --profile work", "default")] {
        let told = place.run(line);
        let said = format!("was made in the profile \"{whose}\" and is used in no other");
        assert!(told.contains(&said) && told.ends_with("=> 3\n"), "{told}");
    }
    assert_eq!(place.a.token_calls().len(), 2, "no token of either was spent");
}

/// A file of version 1 has no origin: it counts as Nexudus's, and no simulator gets anything of it.
#[test]
fn a_session_of_an_earlier_version_is_set_aside_under_another_origin_and_that_is_said() {
    let place = place();
    let old = include_bytes!("../../src/session/store/sealed_file/version-1.sealed");
    let path = place.home.write(".local/state/nexudus-proxy/session.sealed", old);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said =
        format!("the stored login is for https://spaces.nexudus.com, not for {}", place.a.origin());

    let daemon = place.serve("serve");
    let (status, answer) = place.ask();
    assert!(status == 503 && answer.contains("session.not-logged-in"), "{answer}");
    assert!(place.run("status").contains(&said));
    assert!(place.run("doctor").contains(&said));
    drop(daemon);
    let log = std::fs::read_to_string(place.home.path("serve.log")).unwrap();
    assert!(log.contains("a session of another origin is left alone"), "{log}");
    assert!(log.contains("https://spaces.nexudus.com"), "{log}");
    assert!(
        place.a.requests().iter().all(|seen| seen.bearer.is_none()),
        "{:?}",
        place.a.requests()
    );
    assert!(place.a.token_calls().is_empty());

    place.log_in();
    let aside = kept(&place).into_values().any(|bytes| bytes == old);
    assert!(aside, "it stays for the origin that issued it");
}

/// Returns what the state directory holds, by name.
fn kept(place: &Place) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place.home.path(".local/state/nexudus-proxy")).unwrap();
    let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    let named = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        (name, bytes)
    };
    files.map(named).collect()
}
