//! The journal's own protocol: a line with its fields as fields, one datagram each.
//!
//! `journalctl CODE=guard.user UID=1001` then finds what a person looks for. tracing-journald 0.3
//! speaks the same protocol, on the thread that logs: it waits there while the journal's queue is
//! full, puts long lines into memory files, which the unit's sandbox forbids, and has a message
//! without our fields. Here the thread of the log sends (`nonblocking.rs`), and its queue is bounded.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use super::log_line::{LogLine, text};
use super::nonblocking::LogSink;

/// Says whether standard error leads to the journal, as `systemd.exec(5)` says under
/// `$JOURNAL_STREAM`: a program that has redirected it has inherited the variable all the same.
pub(super) fn is_stderr_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let found = file.and_then(|file| file.metadata());
    found.is_ok_and(|found| named == format!("{}:{}", found.dev(), found.ino()))
}

/// Sends the rest of the log by the stream of standard error, without fields. The journal finds the
/// unit of a datagram by the process that sent it, and loses the unit if that has ended.
pub fn set_log_ending() {
    IS_ENDING.store(true, Ordering::Relaxed);
}

static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Returns a line in the journal's protocol. No value has a line feed in it.
pub(super) fn format_entry(priority: u8, message: &str, line: &LogLine) -> String {
    let mut entry = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=nexudus-proxy\n");
    for (name, value) in &line.fields {
        let name = name.trim_start_matches('_').to_ascii_uppercase();
        let is_name = |name: &str| {
            let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.len() <= MAX_NAME_BYTES
                && name.chars().all(is_part)
        };
        // The others are fields that the journal itself gives a meaning.
        if is_name(&name) && !RESERVED.contains(&name.as_str()) {
            // Writing to a String cannot fail.
            let _ = writeln!(entry, "{name}={}", text(value));
        }
    }
    // Last, so that the text for `JournalSink::write_stream` is found without parsing the rest.
    let _ = writeln!(entry, "{MESSAGE}{message}");
    entry
}

/// Sends to the journal; to standard error what it does not take.
#[derive(Debug)]
pub(super) struct JournalSink(UnixDatagram);

impl JournalSink {
    pub(super) fn new() -> io::Result<Self> {
        UnixDatagram::unbound().map(Self)
    }

    /// Writes the message of an entry by the stream.
    fn write_stream(entry: &[u8]) {
        let entry = String::from_utf8_lossy(entry);
        let priority = entry.strip_prefix("PRIORITY=").and_then(|rest| rest.get(..1));
        let message = entry.rsplit_once(&format!("\n{MESSAGE}")).map(|(_, message)| message);
        if let (Some(priority), Some(message)) = (priority, message) {
            // If standard error is closed, the failure cannot be reported.
            let _ = write!(io::stderr(), "<{priority}>{message}");
        }
    }
}

impl LogSink for JournalSink {
    fn write_lines(&mut self, lines: &[Vec<u8>]) {
        for entry in lines {
            let sent = !IS_ENDING.load(Ordering::Relaxed) && self.0.send_to(entry, SOCKET).is_ok();
            if !sent {
                Self::write_stream(entry);
            }
        }
    }
}

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The name of the text, at the beginning of its line.
const MESSAGE: &str = "MESSAGE=";

/// Longest name of a field.
const MAX_NAME_BYTES: usize = 64;

/// Names with a meaning of their own (`systemd.journal-fields(7)`).
const RESERVED: [&str; 6] =
    ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "UNIT", "USER_UNIT", "OBJECT_PID"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_a_field_and_no_value_makes_another_one() {
        let line = LogLine {
            message: String::new(),
            fields: vec![
                ("code", "guard.user".into()),
                ("uid", 1001.into()),
                ("path", "/a\nPRIORITY=0\nFORGED=1".into()),
                ("unit", "forged.service".into()),
                ("_uid", 0.into()),
                ("7up", "x".into()),
            ],
        };

        assert_eq!(
            format_entry(6, "rejected a request  uid=1001", &line),
            "PRIORITY=6\nSYSLOG_IDENTIFIER=nexudus-proxy\nCODE=guard.user\nUID=1001\n\
             PATH=/a\\nPRIORITY=0\\nFORGED=1\nUID=0\nMESSAGE=rejected a request  uid=1001\n"
        );
    }
}
