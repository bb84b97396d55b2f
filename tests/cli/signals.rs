//! Signals to a daemon that runs on a terminal, or that waits for a program.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Served;
use crate::support::home;

/// A person closes the window of a `serve`: it ends. With `nohup` it stays.
#[cfg(target_os = "linux")]
#[test]
fn a_daemon_ends_with_its_terminal_unless_nohup_started_it() {
    for (starter, ends) in [("env", true), ("nohup", false)] {
        let home = home();
        let script = home.write("terminal.py", CLOSING_TERMINAL);
        let mut command = Command::new("python3");
        command.arg(script).args([starter, env!("CARGO_BIN_EXE_nexudus-proxy")]);
        command.args(["serve", "--listen", "127.0.0.1:0", "--credentials", "env"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home.root()).current_dir(home.root());
        let mut terminal = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(terminal.stdout.take().unwrap()).lines();
        // Without a login `wait` ends as soon as the daemon runs.
        assert!(home.run("wait").ends_with("=> 3\n"));

        drop(terminal.stdin.take());

        assert_eq!(told.next().unwrap().unwrap(), "closed");
        if !ends {
            // By then the signal has come: it was sent when the terminal closed.
            assert_eq!(home.run("reload"), "reloaded: nothing has changed\n=> 0\n");
            assert_eq!(home.run("stop"), "stopped\n=> 0\n");
        }
        assert_eq!(told.next().unwrap().unwrap(), "0", "{starter}");
        terminal.wait().unwrap();
    }
}

/// Runs a command in a terminal, closes the terminal once standard input has ended, and prints the
/// exit code of the command.
const CLOSING_TERMINAL: &str = "import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
sys.stdin.read()
os.close(terminal)
print('closed', flush=True)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
";

#[test]
fn a_password_command_that_hangs_does_not_hold_up_the_end() {
    let home = home();
    home.configure("[credentials]\nemail = \"ada@example.test\"\ncommand = [\"sleep\", \"300\"]\n");
    let mut command = home.detached("serve --listen 127.0.0.1:0 --store memory");
    command.env("PATH", "/usr/bin:/bin").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = Served::start(command);
    daemon.log_until("tail` shows requests");

    let begun = Instant::now();
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));

    // A session that waits for its attempt would take ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// As after `su` or in a cron job. Each command finds the daemon where the warning says.
#[test]
fn a_runtime_directory_that_is_gone_is_warned_of_and_another_is_used() {
    let home = home();
    let gone = home.path("gone");
    let within = |mut command: Command| {
        command.env("XDG_RUNTIME_DIR", &gone).stderr(Stdio::piped());
        command
    };
    let serve = "serve --listen 127.0.0.1:0 --store memory --credentials env";
    let mut daemon = Served::start(within(home.detached(serve)));

    let warned = daemon.log_until("warning: ");

    let directory = home.path(".local/state/nexudus-proxy/run");
    assert!(warned.contains("which does not exist"), "{warned}");
    assert!(warned.contains(&format!("the sockets are in {}", directory.display())), "{warned}");
    let waited = home.transcript(&mut within(home.command("wait")));
    assert!(waited.ends_with("=> 3\n"), "not logged in, but there: {waited}");
    assert!(directory.join("proxy.sock").exists() && !gone.exists());
    assert_eq!(home.transcript(&mut within(home.command("stop"))), "stopped\n=> 0\n");
    assert_eq!(daemon.ended(), Some(0));
}
