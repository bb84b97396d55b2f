//! The list of hosts that need no proxy, as programs read it from `NO_PROXY`.

use std::ffi::{OsStr, OsString};

use crate::config::Origin;

/// Adds the loopback to a list.
pub(super) fn with_loopback(list: &OsStr) -> OsString {
    let mut list = list.to_owned();
    if !list.is_empty() {
        list.push(",");
    }
    list.push(LOOPBACK.join(","));
    list
}

/// Joins the lists, without the entries that stand for one of the origins, and adds the loopback.
///
/// An entry for a whole domain goes too, if an origin is in it. What is lost is small: its other hosts
/// go through our proxy, which connects to them as the list before says.
pub(super) fn without(lists: &[OsString], origins: &[Origin]) -> String {
    let is_ours = |entry: &str| origins.iter().any(|origin| stands_for(entry, origin.host()));
    let entries = lists.iter().filter_map(|list| list.to_str());
    let entries = entries.flat_map(|list| list.split([',', ' '])).map(str::trim);
    let mut kept: Vec<&str> = vec![];
    for entry in entries.filter(|entry| !entry.is_empty()).chain(LOOPBACK) {
        if !is_ours(entry) && !kept.contains(&entry) {
            kept.push(entry);
        }
    }
    kept.join(",")
}

/// Says whether some program takes the entry for the host: alone, with its port, as a domain, with a
/// dot or an asterisk before it.
fn stands_for(entry: &str, host: &str) -> bool {
    let entry = entry.to_ascii_lowercase();
    if entry == "*" {
        return true;
    }
    let without_port = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
        Some(_) | None => entry.trim_start_matches('[').trim_end_matches(']'),
    };
    let name = without_port.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    !name.is_empty()
        && (host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

/// Where our listener is.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

#[cfg(test)]
mod tests {
    use super::*;

    fn without_nexudus(lists: &[&str]) -> String {
        let lists: Vec<OsString> = lists.iter().map(OsString::from).collect();
        without(&lists, &[Origin::nexudus()])
    }

    #[test]
    fn an_entry_for_a_configured_host_is_taken_out_however_it_is_written() {
        for entry in [
            "spaces.nexudus.com",
            "SPACES.Nexudus.Com",
            "spaces.nexudus.com:443",
            "nexudus.com",
            ".nexudus.com",
            "*.nexudus.com",
            "spaces.nexudus.com.",
            "com",
            "*",
        ] {
            assert_eq!(without_nexudus(&[entry]), "127.0.0.1,localhost,::1", "{entry}");
        }
    }

    #[test]
    fn other_entries_stay_and_the_loopback_is_added_once() {
        let told = without_nexudus(&["internal.example, 10.0.0.0/8,nexudus.com", "localhost"]);
        assert_eq!(told, "internal.example,10.0.0.0/8,localhost,127.0.0.1,::1");
        for entry in ["xspaces.nexudus.com", "dus.com", "reports.nexudus.com", "[::1]:80"] {
            assert!(without_nexudus(&[entry]).contains(entry), "{entry}");
        }
    }

    #[test]
    fn an_origin_that_is_an_address_is_taken_out_too() {
        let origins = [Origin::new("10.1.2.3", 443), Origin::new("fd00::1", 443)];
        let lists = ["10.1.2.3:443,[fd00::1],10.1.2.4".into()];
        assert_eq!(without(&lists, &origins), "10.1.2.4,127.0.0.1,localhost,::1");
    }

    #[test]
    fn without_interception_the_list_only_grows() {
        assert_eq!(with_loopback(OsStr::new("")), "127.0.0.1,localhost,::1");
        assert_eq!(with_loopback(OsStr::new("*")), "*,127.0.0.1,localhost,::1");
    }
}
