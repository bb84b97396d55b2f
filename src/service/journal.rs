//! The last error of a failed service, from the journal.

use serde_json::Value as Json;

/// Returns the last error among lines of `journalctl --output=json`.
///
/// The program prints an error that ends it as `error: …`; its log has priorities. systemd's own
/// lines say only that something failed: they count if there is nothing else.
pub(super) fn last_error(printed: &str) -> Option<String> {
    let lines: Vec<_> = printed.lines().filter_map(LogLine::parse).collect();
    let found = lines.iter().rev().find(|line| line.is_error() && !line.is_managers);
    let found = found.or_else(|| lines.iter().rev().find(|line| line.is_error()));
    found.map(|line| {
        let text = line.message.strip_prefix(PREFIX).unwrap_or(&line.message);
        text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
    })
}

struct LogLine {
    message: String,
    priority: u8,
    is_managers: bool,
}

impl LogLine {
    fn parse(line: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(line).ok()?;
        let text = |name: &str| json[name].as_str();
        Some(Self {
            // Bytes that are no text come as an array, and are nothing that we print.
            message: text("MESSAGE")?.to_owned(),
            priority: text("PRIORITY").and_then(|number| number.parse().ok()).unwrap_or(6),
            is_managers: text("SYSLOG_IDENTIFIER") == Some("systemd"),
        })
    }

    fn is_error(&self) -> bool {
        self.message.starts_with(PREFIX) || self.priority <= ERROR
    }
}

/// How the program begins an error on standard error.
const PREFIX: &str = "error: ";

/// The priority of an error, as in syslog.
const ERROR: u8 = 3;

/// Most characters of the error that are shown.
const MAX_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_last_error_counts_before_the_managers_lines() {
        let line = |identifier: &str, priority: u8, message: &str| {
            let line = serde_json::json!({
                "SYSLOG_IDENTIFIER": identifier, "PRIORITY": priority.to_string(), "MESSAGE": message,
            });
            format!("{line}\n")
        };
        let started = line("systemd", 6, "Starting it...");
        let failed = line("systemd", 3, "Failed to start it.");
        let exec = line("(us-proxy)", 3, "Failed at step EXEC: Permission denied");
        let logged = line("nexudus-proxy", 3, "the disk is full  error=x");
        let ended = line("nexudus-proxy", 6, "error: unknown key `a`")
            + &line("nexudus-proxy", 6, "hint: b");

        assert_eq!(last_error(&started), None);
        assert_eq!(last_error(&(started.clone() + &failed)).unwrap(), "Failed to start it.");
        assert_eq!(
            last_error(&(exec + &failed)).unwrap(),
            "Failed at step EXEC: Permission denied"
        );
        assert_eq!(last_error(&(logged.clone() + &ended + &failed)).unwrap(), "unknown key `a`");
        assert_eq!(last_error(&logged).unwrap(), "the disk is full  error=x");
        assert_eq!(last_error("no JSON\n[1]\n"), None);
    }
}
