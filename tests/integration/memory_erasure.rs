//! Once a person wants the token gone it is nowhere in the daemon's memory.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use nexudus_simulator::Simulator;

use crate::support::{
    DaemonProcess, EVENT_TIMEOUT, PASSWORD, ProcessSetup, grant_types, needs_root, upstream,
};

#[tokio::test]
async fn while_locked_the_token_is_nowhere_in_memory() {
    let mut daemon = stage().await;

    daemon.place.run("lock").await;
    daemon.forgets().await;
    assert_eq!(daemon.program.status("/api/spaces/coworkers").await, 423);

    // The sealed file still has it.
    daemon.place.run("unlock").await;
    daemon.program.wait_for_log(|line| line["message"] == "session resumed").await;
    assert_eq!(daemon.program.status("/api/spaces/coworkers").await, 200);
    assert_eq!(grant_types(&daemon.upstream), ["password"]);
}

#[tokio::test]
async fn after_a_logout_neither_token_nor_password_is_in_memory() {
    let daemon = stage().await;

    daemon.place.run("logout").await;

    daemon.forgets().await;
}

/// A daemon that has used its token in every way.
struct Used {
    upstream: Simulator,
    place: ProcessSetup,
    program: DaemonProcess,
    secrets: [String; 3],
}

async fn stage() -> Used {
    needs_root();
    let upstream = upstream().start().unwrap();
    // From a command: what is in the environment stays there.
    let place = ProcessSetup::new(&upstream).password_from_a_command();
    let program = place.start().await;
    let reads: Vec<_> = (0..20).map(|_| program.get("/api/spaces/coworkers?size=100")).collect();
    for read in reads {
        read.await.unwrap().unwrap().bytes().await.unwrap();
    }
    let (access, refresh) = tokens(&upstream);
    for secret in [&access, &refresh] {
        assert!(copies(program.pid(), secret) > 0, "there is nothing to be forgotten");
    }
    Used { upstream, place, program, secrets: [access, refresh, PASSWORD.to_owned()] }
}

impl Used {
    /// Waits until no secret is in memory any more.
    async fn forgets(&self) {
        let pid = self.program.pid();
        let left = || self.secrets.each_ref().map(|secret| copies(pid, secret));
        let wait = async {
            while left() != [0; 3] {
                // There is no event for memory that was given back.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(EVENT_TIMEOUT / 4, wait).await;
        assert!(gone.is_ok(), "copies of access token, refresh token, password: {:?}", left());
    }
}

/// Returns what the simulator issued last.
fn tokens(upstream: &Simulator) -> (String, String) {
    let last = upstream.token_calls().pop().unwrap();
    (last.issued.unwrap(), last.issued_refresh.unwrap())
}

/// Counts how often a text is in the memory of a process.
fn copies(pid: u32, text: &str) -> usize {
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines() {
        let line = line.unwrap();
        let (range, rest) = line.split_once(' ').unwrap();
        // What cannot be written to is the program itself.
        if !rest.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (number(from), number(to));
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A mapping may be gone by now.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += memchr::memmem::find_iter(&bytes, text).count();
        }
    }
    found
}
