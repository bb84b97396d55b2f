//! Where a program ends up that goes past the proxy: `spaces.nexudus.com` leads to a listener that only
//! counts. No program under test reaches the real Nexudus, and each that tries to is seen.
//!
//! The program runs in a mount namespace, whose `/etc/hosts` has the address. Our own connections have
//! `upstream.address`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The listener, and a file in place of `/etc/hosts`.
pub(crate) struct DirectPath {
    count: Arc<AtomicUsize>,
    address: Ipv4Addr,
    hosts: PathBuf,
}

impl DirectPath {
    /// Listens on port 443 of a loopback address of its own.
    pub(crate) fn new(folder: &std::path::Path) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make test`");
        let (address, listener) = (1..=254)
            .flat_map(|c| (1..=254).map(move |d| Ipv4Addr::new(127, 77, c, d)))
            .find_map(|address| Some((address, TcpListener::bind((address, 443)).ok()?)))
            .expect("an address of 127.77.0.0/16 is free");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        // Ends with the process: a test has one of its own.
        std::thread::spawn(move || {
            for _closed_at_once in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let hosts = folder.join("hosts");
        // Ruby asks no proxy for a name that leads to 127.0.0.0/8: the same address, written for IPv6.
        let text = format!("127.0.0.1 localhost\n::ffff:{address} spaces.nexudus.com\n");
        std::fs::write(&hosts, text).unwrap();
        Self { count, address, hosts }
    }

    /// Returns a command that starts another one where the name leads here.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"").arg(&self.hosts);
        command
    }

    /// Returns how many connections have come, after one of our own.
    pub(crate) fn connections(&self) -> usize {
        // Connections are accepted in their order.
        let before = self.count.load(Ordering::Relaxed);
        drop(std::net::TcpStream::connect((self.address, 443)).unwrap());
        while self.count.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        self.count.fetch_sub(1, Ordering::Relaxed) - 1
    }
}
