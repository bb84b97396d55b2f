//! Whether a hangup ends this daemon, or has it read its configuration again.
//!
//! The kernel and shells send SIGHUP when a terminal closes: a daemon that a person has started there
//! would otherwise go on without a window. A daemon without a terminal has nothing to lose: there
//! SIGHUP is the usual request to reload. See docs/decisions/44-hangup-and-runtime-directory.md.

/// Says whether a hangup ends this process. To be asked before signals are caught, which hides
/// whether `nohup` has told us to ignore this one.
#[cfg(unix)]
pub(super) fn ends_daemon() -> bool {
    // Opening it fails for a process without a controlling terminal (`tty(4)`).
    let has_terminal = std::fs::File::open("/dev/tty").is_ok();
    has_terminal && !is_ignored()
}

/// Says whether whoever started this process wants it to outlive the terminal.
#[cfg(target_os = "linux")]
fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_hangup(&status)
}

/// Other systems do not tell: `nohup` redirects the output, too.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_ignored() -> bool {
    use std::io::IsTerminal as _;
    !std::io::stderr().is_terminal()
}

/// Reads `/proc/PID/status`: the mask of ignored signals, in which SIGHUP is the lowest bit.
#[cfg(target_os = "linux")]
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup(""));
    }
}
