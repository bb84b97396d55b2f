//! The names of this machine's own users, for hints.
//!
//! Read from `/etc/passwd` once, before connections are accepted: a look-up at the time of a
//! rejection could wait for a user database on the network, and any local user can cause a
//! rejection. A user of such a database is shown by number, which the configuration takes too.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Returns a user's name, or the number where the name is not known.
pub fn local_user_name(uid: u32) -> String {
    let known = NAMES.get().and_then(|names| names.get(&uid));
    known.cloned().unwrap_or_else(|| uid.to_string())
}

/// Reads the names, the first time.
pub(super) fn load() {
    NAMES.get_or_init(|| {
        let read = std::fs::read_to_string("/etc/passwd");
        read.map_or_else(|_| BTreeMap::new(), |text| parse(&text))
    });
}

/// The first line of a user counts, as for the system.
fn parse(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        if let (Some(name), Some(uid)) = (name.filter(|name| is_plain(name)), uid) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// Says whether a name can stand in a hint and in the configuration without quoting.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

static NAMES: OnceLock<BTreeMap<u32, String>> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_odd_lines_do_not() {
        let names = parse(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nana:x:1000:1000:A,,:/h:/bin/sh\n\
             a\"b:x:7:7::/:\n\n#comment\n+::::::\n",
        );

        let expected = [(0, "root".to_owned()), (1000, "ana".to_owned())];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }
}
