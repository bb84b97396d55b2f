//! Situations of public bug reports about other command-line programs and daemons;
//! `tests/reports.md` is the log of all of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{DEMO_EMAIL, DEMO_PASSWORD};

use crate::daemon_env::{Serving, upstream};
use crate::shared::eventually;
use crate::support::{Home, home};

// https://github.com/router-for-me/CLIProxyAPI/issues/4672: files with tokens took their mode from
// the umask.
#[test]
fn no_file_of_a_daemon_is_open_to_others_whatever_the_umask() {
    let home = home();
    let _simulator = upstream(&home, "[session]\nkey = \"systemd\"\n");
    home.write("credentials/nexudus-email", DEMO_EMAIL);
    home.write("credentials/nexudus-password", DEMO_PASSWORD);
    home.write("credentials/nexudus-key", "sixteen bytes or more");

    let _daemon = serve(&home, "umask 000");
    eventually("the session is saved", || home.run("whoami").ends_with("=> 0\n"));
    home.run("client add bot");
    home.run("lock");

    let state = home.path(".local/state/nexudus-proxy");
    let files = files_below(&state);
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let mode = fs::symlink_metadata(&file).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", file.display());
    }
}

// https://github.com/nolabs-ai/nono/pull/1300: a credential helper read the terminal of its parent.
// https://github.com/houmain/keymapper/pull/388: what a daemon had started kept its socket open.
#[test]
fn a_credential_command_gets_no_input_and_no_descriptor_of_the_daemon() {
    let home = home();
    let _simulator = upstream(
        &home,
        &format!(
            "[credentials]\nemail = \"{DEMO_EMAIL}\"\ncommand = [\"sh\", \"-c\", \"\
             cat >$HOME/input; ls -l /proc/$$/fd >$HOME/open; echo {DEMO_PASSWORD}\"]\n"
        ),
    );
    fs::write(home.path("typed"), "typed by the person\n").unwrap();

    let _daemon = serve(&home, "exec <typed 9>&- 10>&-");
    eventually("the daemon has logged in", || home.run("whoami").ends_with("=> 0\n"));

    assert_eq!(fs::read_to_string(home.path("input")).unwrap(), "");
    let open = fs::read_to_string(home.path("open")).unwrap();
    assert!(!open.contains("socket:") && !open.contains("nexudus-proxy/"), "{open}");
}

// https://github.com/element-hq/matrix-authentication-service/issues/2424,
// https://github.com/kenn-io/kata/pull/22: the file of a socket outlived its killed owner.
#[test]
fn the_sockets_of_a_killed_daemon_do_not_keep_the_next_one_from_starting() {
    let home = home();
    let _simulator = upstream(&home, "");
    let sockets = home.path(".local/state/nexudus-proxy/run");
    let mut killed = serve(&home, ":");
    eventually("the daemon listens", || home.run("status").ends_with("=> 0\n"));
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let is_socket = |name: &str| {
        fs::symlink_metadata(sockets.join(name)).is_ok_and(|file| file.file_type().is_socket())
    };
    assert!(is_socket("admin.sock") && is_socket("proxy.sock"));

    let _next = serve(&home, ":");

    eventually("the next one listens", || home.run("status").ends_with("=> 0\n"));
}

// https://github.com/SSLMate/certspotter/issues/101,
// https://github.com/tailscale/tailscale/issues/20515: files of the state were empty after a loss of
// power, and the daemon did not start.
#[test]
fn empty_files_of_the_state_keep_no_daemon_from_starting_and_let_nothing_in() {
    let home = home();
    let simulator = upstream(&home, "[session]\nkey = \"systemd\"\n");
    home.write("credentials/nexudus-email", DEMO_EMAIL);
    home.write("credentials/nexudus-password", DEMO_PASSWORD);
    home.write("credentials/nexudus-key", "sixteen bytes or more");
    let mut first = serve(&home, ":");
    eventually("the session is saved", || home.run("whoami").ends_with("=> 0\n"));
    let added = home.run("client add bot --read-only");
    let key = added.lines().find(|line| line.starts_with("nxp_")).expect(&added).to_owned();
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let state = home.path(".local/state/nexudus-proxy");
    let files = files_below(&state).into_iter().filter(|path| path.is_file());
    let emptied: Vec<_> = files.inspect(|path| fs::write(path, "").unwrap()).collect();
    assert!(emptied.len() >= 4, "{emptied:?}");

    let _next = serve(&home, ":");

    eventually("the next one listens", || home.run("status").ends_with("=> 0\n"));
    // The record of refused logins may have held one, and a lock.
    let said = home.run("whoami");
    assert!(said.contains("the session is locked") && said.ends_with("=> 1\n"), "{said}");
    assert!(home.run("unlock").ends_with("=> 0\n"));
    eventually("it is logged in", || home.run("whoami").ends_with("=> 0\n"));
    let asked = home.command("api /api/auth/me").env("NEXUDUS_PROXY_KEY", &key).output().unwrap();
    let asked = home.format_output(asked);
    assert!(asked.contains("the file is left as it is") && asked.ends_with("=> 1\n"), "{asked}");
    let listed = home.run("client list");
    assert!(listed.contains("clients.json are damaged"), "{listed}");
    assert_eq!(simulator.failed_logins(DEMO_EMAIL), 0);
}

/// Starts the daemon from a shell that runs this first.
fn serve(home: &Home, first: &str) -> Serving {
    let log = fs::File::create(home.path("serve.log")).unwrap();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_nexudus-proxy");
    command.args(["-c", &format!("{first}; exec {program} serve")]).env_clear();
    command.env("HOME", home.root()).env("PATH", "/usr/bin:/bin").current_dir(home.root());
    command.env("CREDENTIALS_DIRECTORY", home.path("credentials"));
    let child: Child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
    Serving(child)
}

/// Returns the files below a directory, and the directories.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(vec![directory.to_owned()], |mut all, path| {
        if path.is_dir() {
            all.extend(files_below(&path));
        } else {
            all.push(path);
        }
        all
    })
}
