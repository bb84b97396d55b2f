//! The session at rest where the disk is full, read-only or damaged: said clearly, nothing lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use crate::daemon_env::{Serving, upstream};
use crate::shared::eventually;
use crate::support::disk::{SmallDisk, disk};
use crate::support::{Home, home};

/// A home whose state is on a disk of its own; the login and the key come from systemd.
struct Place {
    simulator: Simulator,
    home: Home,
    disk: SmallDisk,
}

fn place(more: &str) -> Place {
    let home = home();
    let simulator = upstream(&home, more);
    home.write("handed/nexudus-key", KEY);
    let disk = disk(&home.path(".local/state/nexudus-proxy"));
    Place { simulator, home, disk }
}

impl Place {
    fn command(&self, line: &str) -> Command {
        let mut command = self.home.command(line);
        command.env("CREDENTIALS_DIRECTORY", self.home.path("handed"));
        command.env("PATH", std::env::var_os("PATH").unwrap());
        self.disk.inside(&command)
    }

    fn run(&self, line: &str) -> String {
        self.home.transcript(&mut self.command(line))
    }

    /// Logs in, so that the session is all there is.
    fn log_in(&self) -> String {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("echo {DEMO_PASSWORD} | exec \"$@\"")]).arg("sh");
        let command = self.command(SESSION_ONLY);
        shell.arg(command.get_program()).args(command.get_args()).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.home.transcript(&mut shell)
    }

    fn serve(&self) -> Serving {
        let log = fs::File::create(self.home.path("serve.log")).unwrap();
        Serving(self.command("serve").stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn session(&self) -> serde_json::Value {
        let Output { stdout, .. } = self.command("status --json").output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&stdout).unwrap_or_default();
        status["session"].clone()
    }

    fn is_well(&self) -> bool {
        self.session().get("degraded").is_some_and(serde_json::Value::is_null)
    }

    fn calls(&self, cause: &str) -> usize {
        let called = fs::read_to_string(self.home.path("called")).unwrap_or_default();
        called.lines().filter(|line| *line == cause).count()
    }
}

#[test]
fn a_daemon_on_a_full_disk_serves_calls_a_person_once_and_saves_when_there_is_room() {
    let place =
        place("[notify]\ncommand = [\"sh\", \"-c\", \"echo $NEXUDUS_NOTIFY_CAUSE >> ~/called\"]\n");
    place.home.write("handed/nexudus-email", DEMO_EMAIL);
    place.home.write("handed/nexudus-password", DEMO_PASSWORD);
    place.disk.fill();
    let daemon = place.serve();

    // `whoami` would log in by itself while there is no daemon.
    eventually("it serves", || place.run("wait").ends_with("=> 0\n"));
    eventually("the notify command runs", || place.calls("session.degraded") == 1);
    let degraded = place.session()["degraded"].as_str().unwrap().to_owned();
    assert!(degraded.contains("No space left on device"), "{degraded}");
    assert!(place.run("status").contains("\n  degraded   the session could not be saved"));
    let again = |times| {
        let log = fs::read_to_string(place.home.path("serve.log")).unwrap();
        log.matches("could not save the session").count() > times
    };
    eventually("it tries again", || again(2));
    assert_eq!(place.calls("session.degraded"), 1, "once per cause");

    place.disk.free();
    eventually("it is saved", || place.is_well());

    // Well in between: the same cause is told again.
    place.disk.fill();
    assert!(place.run("refresh").starts_with("renewed; "));
    eventually("the notify command runs again", || place.calls("session.degraded") == 2);
    place.disk.free();
    eventually("it is saved", || place.is_well());
    drop(daemon);
    let _next = place.serve();
    eventually("the next one serves", || place.run("wait").ends_with("=> 0\n"));
    assert_eq!(place.simulator.token_calls().len(), 2, "a login and a renewal: it resumes");
}

#[test]
fn a_login_that_cannot_be_written_says_so() {
    let place = place("");

    place.disk.fill();
    let full = place.log_in();
    place.disk.free();
    let roomy = place.log_in();

    let hint = "! hint: Make room, or make the directory writable for this user, and log in \
                again; what was there is still there.\n";
    assert_eq!(
        full,
        format!(
            "! error: could not keep the session\n\
             !   caused by: ~/.local/state/nexudus-proxy/epoch.json: No space left on device \
             (os error 28)\n\
             {hint}\
             => 8\n"
        )
    );
    assert!(roomy.ends_with("=> 0\n"), "{roomy}");
}

#[test]
fn on_a_read_only_disk_the_session_is_used_and_nothing_is_lost() {
    let place = place("");
    assert!(place.log_in().ends_with("=> 0\n"));

    place.disk.read_only(true);

    assert!(place.run("whoami").ends_with("=> 0\n"));
    assert_eq!(
        place.run("serve --log-level info"),
        "! error: could not use the state directory ~/.local/state/nexudus-proxy\n\
         !   caused by: Read-only file system (os error 30)\n\
         ! hint: Make it writable for this user, or set STATE_DIRECTORY to a directory that is; where \
         nothing can be written: `nexudus-proxy serve --store memory --socket off`.\n\
         => 1\n"
    );
    let unwritable = "~/.local/state/nexudus-proxy cannot be written: Read-only file system";
    assert!(place.run("logout").starts_with(&format!(
        "! error: could not remove the session: {unwritable} (os error 30)\n"
    )));
    let login = place.log_in();
    assert!(login.starts_with("! error: could not keep the session\n"), "{login}");
    assert!(login.contains(unwritable) && login.ends_with("=> 8\n"), "{login}");
    assert_eq!(place.simulator.token_calls().len(), 1, "what cannot be kept is not asked for");

    place.disk.read_only(false);
    assert!(place.run("whoami").ends_with("=> 0\n"));
    assert!(place.run("logout").ends_with("=> 0\n"));
}

#[test]
fn a_session_file_that_does_not_open_says_why_and_is_kept() {
    let home = home();
    let simulator = upstream(&home, "");
    home.write("handed/nexudus-key", KEY);
    let file = home.path(".local/state/nexudus-proxy/session.sealed");
    let whoami = || home.transcript(&mut with_handed_key(&home, "whoami"));
    log_in_with_handed_key(&home);
    let whole = fs::read(&file).unwrap();

    let closed = "~/.local/state/nexudus-proxy/session.sealed cannot be decrypted: the file is \
                  damaged, or the key is wrong";
    let unknown =
        "~/.local/state/nexudus-proxy/session.sealed is not a sealed file of a known version";
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (damage, why) in [
        (&whole[..40], closed),
        (&whole[..whole.len() - 1], closed),
        (&flipped[..], closed),
        (b"garbage", unknown),
        (b"", unknown),
    ] {
        fs::write(&file, damage).unwrap();
        assert_eq!(whoami(), not_logged_in(why));
        assert_eq!(fs::read(&file).unwrap(), damage, "it stays where it is");
    }
    fs::write(&file, &whole).unwrap();

    home.write("handed/nexudus-key", "another sixteen bytes");
    assert_eq!(whoami(), not_logged_in(closed));
    home.write("handed/nexudus-key", "short");
    assert_eq!(
        whoami(),
        "! error: could not use the stored credentials\n\
         !   caused by: no file: the key from the systemd credential `nexudus-key` is shorter than \
         16 bytes\n\
         ! hint: Run `nexudus-proxy doctor`.\n\
         => 8\n"
    );
    home.write("handed/nexudus-key", KEY);
    set_mode(&file, 0o644);
    let open = "~/.local/state/nexudus-proxy/session.sealed can be read by others (mode 644): \
                `chmod 600` it";
    assert_eq!(whoami(), not_logged_in(open));

    set_mode(&file, 0o600);
    assert!(whoami().ends_with("=> 0\n"));
    assert_eq!(simulator.token_calls().len(), 1, "nothing was lost");
}

fn with_handed_key(home: &Home, line: &str) -> Command {
    let mut command = home.command(line);
    command.env("CREDENTIALS_DIRECTORY", home.path("handed"));
    command
}

fn log_in_with_handed_key(home: &Home) {
    let mut login = Command::new("/bin/sh");
    login.args(["-c", &format!("echo {DEMO_PASSWORD} | exec \"$@\" {SESSION_ONLY}"), "sh"]);
    login.arg(home.command("").get_program()).env("HOME", home.root());
    login.env("CREDENTIALS_DIRECTORY", home.path("handed"));
    assert!(home.transcript(&mut login).ends_with("=> 0\n"));
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

fn not_logged_in(why: &str) -> String {
    format!(
        "! error: not logged in\n\
         !   caused by: {why}\n\
         ! hint: Repair that, or run `nexudus-proxy login`; nothing was removed.\n\
         => 3\n"
    )
}

const SESSION_ONLY: &str = "login --session-only --password-stdin --email ada@example.test";
const KEY: &str = "marker-sixteen-bytes-or-more";
