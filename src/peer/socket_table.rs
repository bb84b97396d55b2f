//! The kernel's tables of TCP sockets as text (`/proc/self/net/tcp`, `tcp6`): the source of the
//! same facts where there are no socket diagnostics.
//!
//! Reading a table takes milliseconds, more with each socket of the machine: never on the data
//! thread.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::sock_diag::SocketEntry;

/// The tables as they were read at one time.
#[derive(Debug, Default)]
pub(super) struct SocketTable(HashMap<(SocketAddr, SocketAddr), Vec<SocketEntry>>);

impl SocketTable {
    /// Reads the tables of both families; one that is missing is empty.
    pub(super) fn read() -> Self {
        let mut table = Self::default();
        for path in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            table.add(&std::fs::read_to_string(path).unwrap_or_default());
        }
        table
    }

    /// Returns the sockets at `local` that are connected to `remote`: a connection that has ended
    /// can stand beside the next one with its addresses.
    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr) -> &[SocketEntry] {
        self.0.get(&(canonical(local), canonical(remote))).map_or(&[], Vec::as_slice)
    }

    /// Returns every pair of a local and a remote address, and the sockets with it.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr, &[SocketEntry])> {
        self.0.iter().map(|((local, remote), entries)| (*local, *remote, entries.as_slice()))
    }

    /// Returns the socket that listens on `address`, or on every address of its family.
    pub(super) fn find_listener(&self, address: SocketAddr) -> Option<SocketEntry> {
        let is_same = |local: SocketAddr| {
            let is_same_ip = local.ip() == address.ip()
                || local.ip().is_unspecified() && local.is_ipv4() == address.is_ipv4();
            local.port() == address.port() && is_same_ip
        };
        let entries = self.pairs().filter(|(local, ..)| is_same(*local)).flat_map(|(.., it)| it);
        entries.copied().find(|entry| entry.state == LISTEN)
    }

    /// Reads the text of one table.
    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        table.add(text);
        table
    }

    fn add(&mut self, text: &str) {
        for line in text.lines().skip(1) {
            let Some((pair, entry)) = parse(line) else { continue };
            let entries = self.0.entry(pair).or_default();
            // The kernel hands the table out in parts, and repeats lines where sockets begin or end
            // between two of them: a number that comes again is the same socket, as it is now.
            let is_same = |other: &&mut SocketEntry| entry.inode != 0 && other.inode == entry.inode;
            match entries.iter_mut().find(is_same) {
                Some(same) => *same = entry,
                None => entries.push(entry),
            }
        }
    }
}

fn parse(line: &str) -> Option<((SocketAddr, SocketAddr), SocketEntry)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(columns.next()?)?, address(columns.next()?)?);
    let state = u8::from_str_radix(columns.next()?, 16).ok()?;
    let mut columns = columns.skip(3);
    let uid = columns.next()?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    Some(((local, remote), SocketEntry { uid, inode, state }))
}

/// Reads an address as the tables write it: `0100007F:18FE`, words in the machine's own order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = (0..ip.len() / 8)
        .map(|at| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let ip = match words.as_slice() {
        [word] => IpAddr::from(*word),
        [..] => IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?),
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

/// `TCP_LISTEN`
const LISTEN: u8 = 0x0A;

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_listening_socket_is_distinguished_from_a_connected_one() {
        let table = SocketTable::parse(
            "header\n\
             0: 0100007F:18FE 0100007F:9C40 01 0:0 0:0 0 1000 0 111 1\n\
             1: 0100007F:18FE 00000000:0000 0A 0:0 0:0 0 1000 0 222 1\n",
        );
        let listener = |address: &str| table.find_listener(address.parse().unwrap());

        assert_eq!(listener("127.0.0.1:6398").map(|entry| entry.inode), Some(222));
        assert_eq!(listener("127.0.0.1:6399"), None);
        assert_eq!(listener("127.0.0.2:6398"), None, "another address may be another user's");
        assert_eq!(listener("[::1]:6398"), None);
    }

    /// Taken for two, a socket would be refused as one of twins.
    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_that_is_listed_twice_is_one_socket() {
        let line = |state: &str, inode: u32| {
            format!("0: 0100007F:9C40 0100007F:18FE {state} 0:0 0:0 0 1000 0 {inode} 1\n")
        };
        let found = |lines: &[String]| {
            let table = SocketTable::parse(&format!("header\n{}", lines.concat()));
            let [client, daemon] = ["127.0.0.1:40000", "127.0.0.1:6398"];
            let sockets = table.find(client.parse().unwrap(), daemon.parse().unwrap());
            sockets.iter().map(|entry| (entry.inode, entry.state)).collect::<Vec<_>>()
        };

        assert_eq!(found(&[line("02", 111), line("01", 111), line("01", 111)]), [(111, 1)]);
        assert_eq!(found(&[line("01", 111), line("01", 222)]), [(111, 1), (222, 1)]);
        // A socket that no process holds has no number.
        assert_eq!(found(&[line("06", 0), line("06", 0)]), [(0, 6), (0, 6)]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_line_is_read_in_either_family() {
        let mut table = SocketTable::default();
        table.add(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:9C40 0100007F:18FE 01 00000000:00000000 00:00000000 00000000  1000 0 111 1 0 20 4\n\
             1: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:18FE 02 0:0 0:0 0 7 0 9 1\n\
             2: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:18FE 06 0:0 0:0 0 0 0 0 1\n\
             damaged\n",
        );
        let at = |address: &str| -> SocketAddr { address.parse().unwrap() };

        let both = table.find(at("127.0.0.1:40000"), at("127.0.0.1:6398"));
        let [one, other] = both else { panic!("{both:?}") };
        assert_eq!(*one, SocketEntry { uid: 1000, inode: 111, state: 1 });
        assert_eq!(*other, SocketEntry { uid: 7, inode: 9, state: 2 });
        let ended = table.find(at("[::1]:40000"), at("[::1]:6398"));
        assert_eq!(ended, [SocketEntry { uid: 0, inode: 0, state: 6 }]);
        assert!(table.find(at("127.0.0.1:6398"), at("127.0.0.1:40000")).is_empty());
    }
}
