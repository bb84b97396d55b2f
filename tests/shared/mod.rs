//! Helpers that the tests of the commands and those on a real system share.

#[cfg_attr(
    not(feature = "demo"),
    allow(dead_code, reason = "the tests of the commands that cure take the demo")
)]
pub(crate) mod cures;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Waits for a condition of which no event tells.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command with this text on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails before it reads closes its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Says whether this kernel can restrict TCP connections by port (Landlock, Linux 6.7), asked without
/// the daemon.
#[cfg(target_os = "linux")]
pub(crate) fn kernel_restricts_ports() -> bool {
    use landlock::{AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessNet::ConnectTcp).and_then(|it| it.create()).is_ok()
}
