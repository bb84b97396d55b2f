//! `run` in a terminal: Ctrl-Z and `fg` in a shell with job control, Ctrl-C, how it ends.

use std::process::Command;

use crate::support::Home;
use crate::support::run::{stage, with_login};

const WAYS: [&str; 3] = ["run -q", "run -q --no-intercept", "run -q --isolate"];

/// Reads lines.
const TALKS: &str = r#"bash -c 'echo rea""dy; while read -r it; do echo "got <$it>"; done'"#;

#[test]
fn ctrl_z_stops_the_command_gives_the_terminal_back_and_fg_goes_on() {
    for way in WAYS {
        let (_upstream, home) = stage();
        assert_typed(
            &home,
            &[
                &format!("type=$PROGRAM {way} -- {TALKS}"),
                "see=ready",
                "type=one",
                "see=got <one>",
                "key=z",
                "see=Stopped",
                "see=a line> ",
                "stopped=bash -c",
                "type=echo the shell has $((6 * 7))",
                "see=the shell has 42",
                "type=fg",
                "running=bash -c",
                "type=two",
                "see=got <two>",
                // Once more: the first time has left nothing behind.
                "key=z",
                "see=Stopped",
                "see=a line> ",
                "stopped=bash -c",
                "type=fg",
                "running=bash -c",
                "type=three",
                "see=got <three>",
                "key=c",
                "see=a line> ",
                "type=echo ended with $?",
                "see=ended with 130",
            ],
        );
    }
}

/// Node's prompt, editors and others read keys by themselves, and stop themselves alone.
#[test]
fn a_command_that_stops_itself_gives_the_terminal_back_too() {
    let stops = "python3 -c 'import os; print(\"rea\" + \"dy\", flush=True); os.kill(os.getpid(), 20); \
                 print(\"went \" + \"on\", flush=True); input(); os._exit(5)'";
    for way in WAYS {
        let (_upstream, home) = stage();
        assert_typed(
            &home,
            &[
                &format!("type=$PROGRAM {way} -- {stops}"),
                "see=ready",
                "see=Stopped",
                "see=a line> ",
                "type=echo the shell has $((6 * 7))",
                "see=the shell has 42",
                "type=fg",
                "see=went on",
                "type=",
                "see=a line> ",
                "type=echo ended with $?",
                "see=ended with 5",
            ],
        );
    }
}

/// The terminal signals both of us, also where standard input is a file.
#[test]
fn ctrl_c_reaches_the_command_once() {
    let counts = "python3 -uc 'import signal as s, time; n = []\n\
                  s.signal(2, lambda *_: (n.append(1), print(\"int\", len(n))))\n\
                  s.signal(10, lambda *_: (print(\"after\", len(n), \"of them\"), exit(3)))\n\
                  print(\"rea\" + \"dy\")\n\
                  while True: time.sleep(0.01)'";
    for way in WAYS {
        for input in ["", "</dev/null"] {
            let (_upstream, home) = stage();
            assert_typed(
                &home,
                &[
                    &format!("type=$PROGRAM {way} -- {counts} {input}"),
                    "see=ready",
                    "key=c",
                    "see=int 1",
                    // Forwarded behind a second one, if that were under way.
                    &format!("signal=USR1 {way} --"),
                    "see=after 1 of them",
                    "see=a line> ",
                    "type=echo ended with $?",
                    "see=ended with 3",
                ],
            );
        }
    }
}

#[test]
fn a_command_that_a_signal_ends_is_reported_as_by_a_shell() {
    let (_upstream, home) = stage();
    for way in WAYS {
        for (signal, code) in [("TERM", 143), ("KILL", 137), ("INT", 130), ("SEGV", 139)] {
            let mut run = with_login(&home, way);
            run.args(["--", "sh", "-c", &format!("kill -{signal} $$")]);
            assert_eq!(run.output().unwrap().status.code(), Some(code), "{way}: {signal}");
        }
    }
}

#[test]
fn a_shell_inside_has_job_control_of_its_own() {
    for way in WAYS {
        let (_upstream, home) = stage();
        assert_typed(
            &home,
            &[
                &format!("type=$PROGRAM {way} -- bash --norc --noprofile -i"),
                "type=echo inside $((6 * 7))",
                "see=inside 42",
                &format!("type={TALKS}"),
                "see=ready",
                "key=z",
                "see=Stopped",
                "see=a line> ",
                "type=fg",
                "running=bash -c",
                "type=one",
                "see=got <one>",
                "key=c",
                "see=a line> ",
                "type=exit 9",
                "see=a line> ",
                "type=echo ended with $?",
                "see=ended with 9",
            ],
        );
    }
}

fn assert_typed(home: &Home, actions: &[&str]) {
    let inner = with_login(home, "");
    let mut person = Command::new("/usr/bin/python3");
    person.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/support/job_control.py"));
    person.args(actions).args(["--", "bash", "--norc", "--noprofile", "-i"]);
    person.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    person.env("PS1", "a line> ");
    person.env("PROGRAM", env!("CARGO_BIN_EXE_nexudus-proxy")).current_dir(home.root());
    let told = person.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{out}{err}");
}
