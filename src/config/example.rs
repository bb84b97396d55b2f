//! The file with every key, commented out at its default: `config init` writes it, and
//! `config/example.toml` is a copy that a test keeps equal.
//!
//! Commented out, because a default that stands in a file is no default any more: a later version's
//! better one would not arrive.

use std::fmt::Write as _;

use super::key::Key;
use super::keys::{KEYS, SECTIONS};

/// Returns the text of the example file.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for (section, doc) in SECTIONS {
        let keys = KEYS.iter().filter(|entry| entry.section == *section);
        let lines: Vec<_> = keys.map(|entry| (line(entry), comment(entry))).collect();
        let widths =
            lines.iter().map(|(line, _)| line.len()).filter(|width| *width <= MAX_ALIGNED_WIDTH);
        let width = widths.max().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n# {doc}\n[{section}]");
        for (line, comment) in lines {
            let _ = writeln!(text, "{line:width$}  # {comment}");
        }
        if *section == "upstream" {
            text.push_str(HOST);
        }
    }
    text.push_str(TAIL);
    text
}

const HEAD: &str = "\
# nexudus-proxy: every key, commented out at its default. Uncomment what you change: the
# defaults of a later version then reach the rest.
#
# A key is also a flag of `serve` (--throttle-reads) and an environment variable
# (NEXUDUS_PROXY_THROTTLE_READS; lists as TOML arrays; an empty variable is unset);
# a flag comes before the environment, the environment before this file. Durations are written 30s, 100ms,
# 15d; sizes 64KiB, 1MiB or a number of bytes. Relative paths start at this file.
# `nexudus-proxy config check` validates, `config show` says where each value came from.
";

const HOST: &str = r#"
# Another host that takes the same bearer, on a port of its own; as many as needed.
# [[host]]
# origin = "https://reports.nexudus.com"
# listen = ["127.0.0.1:6399", "[::1]:6399"]
"#;

const TAIL: &str = r#"
# A profile has its own credentials, state and sockets, and overrides any key:
# [profile.work.listen]
# tcp = ["localhost:6498"]
"#;

/// Longer lines do not push the comments of their section to the right.
const MAX_ALIGNED_WIDTH: usize = 46;

fn line(entry: &Key) -> String {
    format!("# {} = {}", entry.name, entry.default())
}

fn comment(entry: &Key) -> String {
    let unit = match entry.value_type.range() {
        Some((min, max)) if min == "0" => format!("; at most {max}"),
        Some((min, max)) => format!("; {min} to {max}"),
        None => String::new(),
    };
    format!("{}{unit}", entry.doc)
}
