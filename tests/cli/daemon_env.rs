//! A daemon on a server: its login and key from systemd, and whom it calls when it is stuck.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::shared::{eventually, kernel_restricts_ports};
use crate::support::{Home, home};

/// A daemon that ends with the test.
pub(crate) struct Serving(pub(crate) Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn serve(home: &Home, environment: &[(&str, String)]) -> Serving {
    let log = fs::File::create(home.path("serve.log")).unwrap();
    let mut command = home.command("serve");
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    Serving(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
}

pub(crate) fn upstream(home: &Home, more: &str) -> Simulator {
    let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
    let simulator = Simulator::builder().account(account).start().unwrap();
    simulator.write_ca(&home.path("ca.pem")).unwrap();
    home.configure(format!(
        "[upstream]\norigin = \"{}\"\nca_file = \"{}\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\n\
         [log]\nlevel = \"trace\"\n{more}",
        simulator.origin(),
        home.path("ca.pem").display(),
    ));
    simulator
}

#[test]
fn a_server_without_a_keychain_resumes_from_systemd_credentials() {
    let home = home();
    let simulator = upstream(&home, "");
    let key = "marker-sixteen-bytes-or-more";
    home.write("credentials/nexudus-email", DEMO_EMAIL);
    home.write("credentials/nexudus-password", DEMO_PASSWORD);
    home.write("credentials/nexudus-key", key);
    let handed = [("CREDENTIALS_DIRECTORY", home.path("credentials").display().to_string())];

    for _restart in 0..2 {
        let _daemon = serve(&home, &handed);
        eventually("the daemon serves", || home.run("whoami").ends_with("=> 0\n"));
    }

    assert_eq!(simulator.token_calls().len(), 1, "the second one resumes");
    let mut secrets = vec![DEMO_PASSWORD.to_owned(), key.to_owned()];
    for call in simulator.token_calls() {
        secrets.extend(call.issued.into_iter().chain(call.issued_refresh));
    }
    for path in files(home.path(".local")).into_iter().chain([home.path("serve.log")]) {
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{} holds a secret", path.display());
        }
    }
}

/// Landlock restricts a thread, and needs `no_new_privs`, which `/proc` shows for each thread.
#[cfg(target_os = "linux")]
#[test]
fn every_thread_of_the_daemon_is_confined_to_the_configured_ports() {
    let home = home();
    let _simulator = upstream(&home, "");
    let daemon = serve(&home, &[]);
    // Without a login `wait` ends as soon as the daemon runs.
    assert!(home.run("wait").ends_with("=> 3\n"));

    let can_confine = kernel_restricts_ports();
    let expected = if can_confine { "connections are confined" } else { "this kernel cannot" };
    let log = || fs::read_to_string(home.path("serve.log")).unwrap();
    eventually(expected, || log().contains(expected));
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.0.id())).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap();
    let tasks: Vec<_> = tasks.map(|task| status(task.unwrap())).collect();
    assert!(tasks.iter().any(|status| status.contains("Name:\tlog\n")), "{tasks:?}");
    let is_confined = |status: &&String| status.contains("NoNewPrivs:\t1\n");
    let confined = if can_confine { tasks.len() } else { 0 };
    assert_eq!(tasks.iter().filter(is_confined).count(), confined, "{tasks:#?}");
}

#[test]
fn two_profiles_serve_side_by_side_each_its_own_account() {
    let home = home();
    let simulator = upstream(
        &home,
        &format!(
            "[credentials]\nemail = \"{DEMO_EMAIL}\"\ncommand = [\"echo\", \"{DEMO_PASSWORD}\"]\n\
             [profile.work.credentials]\nemail = \"grace@example.test\"\n\
             command = [\"echo\", \"of-grace\"]\n"
        ),
    );
    simulator.add_account(Account::new("grace@example.test", "of-grace"));
    let run = |line: &str| {
        let mut command = home.command(line);
        home.transcript(command.env("PATH", std::env::var("PATH").unwrap()))
    };
    let serve = |line: &str, log: &str| {
        let log = fs::File::create(home.path(log)).unwrap();
        let mut command = home.command(line);
        command.env("PATH", std::env::var("PATH").unwrap());
        Serving(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    };

    let _usual = serve("serve", "usual.log");
    let work = serve("serve --profile work", "work.log");

    for (profile, name, email) in
        [("default", "", DEMO_EMAIL), ("work", "--profile work", "grace@example.test")]
    {
        eventually("it serves", || run(&format!("wait {name}")) == "=> 0\n");
        let whoami = run(&format!("whoami {name}"));
        assert!(whoami.contains(email) && whoami.contains(&format!("Profile     {profile}\n")));
        let status = run(&format!("status {name}"));
        assert!(status.contains(&format!("  profile {profile}, up ")), "{status}");
        assert!(
            status.contains(&format!("\n  account    {email}, login from command")),
            "{status}"
        );
    }
    drop(work);
    assert!(run("status --profile work").ends_with("=> 6\n"));
    assert!(run("wait").ends_with("=> 0\n"));
    assert_eq!(simulator.token_calls().len(), 2);
}

/// A credential command may work the next time, as when its vault is open: the daemon waits for it.
#[test]
fn whoever_waits_in_vain_is_told_the_last_known_cause_and_a_way_out() {
    let home = home();
    let _simulator = upstream(
        &home,
        "[credentials]\nemail = \"ada@example.test\"\ncommand = [\"/nonexistent/op\"]\n",
    );
    let _daemon = serve(&home, &[]);
    eventually("it has tried", || home.run("status").contains("credentials.unavailable"));

    assert_eq!(
        home.run("wait --timeout 100ms"),
        "! error: the daemon is not ready after 100ms: could not use the stored credentials\n\
         !   caused by: credentials.command gave no password, and no other source is tried: could not \
         start `/nonexistent/op`\n\
         ! hint: Run `nexudus-proxy doctor`.\n\
         => 1\n"
    );
}

#[test]
fn a_person_is_called_once_per_cause_and_gets_no_secret() {
    let home = home();
    let called = home.path("called");
    let simulator = upstream(
        &home,
        &format!("[notify]\ncommand = [\"sh\", \"-c\", \"env >> {}\"]\n", called.display()),
    );
    let wrong = [
        ("NEXUDUS_EMAIL", DEMO_EMAIL.to_owned()),
        ("NEXUDUS_PASSWORD", "marker-wrong-password".to_owned()),
        ("PATH", std::env::var("PATH").unwrap()),
    ];

    let _daemon = serve(&home, &wrong);
    eventually("the notify command runs", || called.exists());
    eventually("the daemon says so", || home.run("whoami").ends_with("=> 4\n"));

    let said = fs::read_to_string(&called).unwrap();
    assert_eq!(said.matches("NEXUDUS_NOTIFY_CAUSE=session.refused").count(), 1, "{said}");
    assert!(said.contains("NEXUDUS_NOTIFY_PROFILE=default"), "{said}");
    assert!(said.contains("NEXUDUS_NOTIFY_MESSAGE=unauthorized: "), "{said}");
    assert!(!said.contains("marker-wrong-password"));
    assert_eq!(simulator.token_calls().len(), 1, "a refused password is tried once");
}

pub(crate) fn files(directory: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
