//! The comment in an installed unit or agent that says which version wrote it, and from which text.
//!
//! The text counts and not the version: most versions write the same units as the one before.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

/// Returns the comment for files that are made from these shipped texts.
pub(super) fn stamp(shipped: &[&str]) -> String {
    format!("{PREFIX}{} from {}", env!("CARGO_PKG_VERSION"), text_id(shipped))
}

/// Says which program wrote `file`, if this one would write another from the shipped texts of one of
/// `kinds`. A file without a stamp was written by a version before there were any, or by hand.
pub(super) fn older_writer(file: &Path, kinds: &[Vec<&str>]) -> Option<String> {
    let content = fs::read(file).ok()?;
    // The task of Windows is UTF-16.
    let content: Vec<_> = content.into_iter().filter(|byte| *byte != 0).collect();
    let content = String::from_utf8_lossy(&content);
    let Some((version, id)) = content.lines().find_map(parse) else {
        return Some("a version that left no mark".to_owned());
    };
    let is_known = kinds.iter().any(|shipped| text_id(shipped) == id);
    (!is_known).then(|| format!("version {version}"))
}

/// Reads a line's version and text.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (_, stamp) = line.split_once(PREFIX)?;
    let (version, rest) = stamp.split_once(" from ")?;
    Some((version, rest.get(..2 * ID_BYTES)?))
}

fn text_id(shipped: &[&str]) -> String {
    let digest = digest(&SHA256, shipped.concat().as_bytes());
    digest.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

const PREFIX: &str = "Written by nexudus-proxy ";

/// Enough for the few texts that there will ever be.
const ID_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_older_where_this_version_ships_another_text() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("unit");
        let older = |content: &str| {
            fs::write(&file, content).unwrap();
            older_writer(&file, &[vec!["agent"], vec!["service", "socket"]])
        };
        let stamped = |shipped: &[&str]| format!("# {}\n[Unit]\n", stamp(shipped));

        assert_eq!(older(&stamped(&["service", "socket"])), None);
        assert_eq!(older(&format!("<!-- {} -->", stamp(&["agent"]))), None);
        let other_version = stamped(&["agent"]).replace(env!("CARGO_PKG_VERSION"), "0.0.1");
        assert_eq!(older(&other_version), None, "the same text, by another version");
        let other_text = stamped(&["service", "old socket"]);
        let other_text = other_text.replace(env!("CARGO_PKG_VERSION"), "0.0.1");
        assert_eq!(older(&other_text), Some("version 0.0.1".to_owned()));
        assert_eq!(older("[Unit]\n"), Some("a version that left no mark".to_owned()));
        assert_eq!(
            older_writer(&home.path().join("none"), &[]),
            None,
            "nothing is said of no file"
        );
    }

    #[test]
    fn a_task_in_utf_16_is_read_too() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("task.xml");
        let text = format!("<Description>{}</Description>\r\n", stamp(&["task"]));
        let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(&file, [&[0xff, 0xfe][..], &text].concat()).unwrap();

        assert_eq!(
            older_writer(&file, &[vec!["other"]]),
            Some(format!("version {}", env!("CARGO_PKG_VERSION")))
        );
    }
}
