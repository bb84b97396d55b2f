//! Faults of real engines that the simulation does not have: each while members refresh.
//!
//! However an engine fails, no refresh token is spent twice, nothing takes a token away that works, and
//! in the end all members hold the pair that lives at the issuer.

use std::path::Path;
use std::time::Duration;

use shared_session::engine::{Finding, Options, examine};

use super::durability::{sentinel, with_replica};
use super::fleet::Fleet;
use super::server::{Program, Server};

/// Long enough that a fault of some seconds is over before a token ends.
const LIFETIME: Duration = Duration::from_secs(6);

async fn three(options: impl Fn(usize) -> Options) -> Fleet {
    Fleet::start(LIFETIME, (0..3).map(options)).await
}

/// Everything is as before the fault, without a second login and without a refused token.
async fn goes_on(mut fleet: Fleet, told: &str) {
    fleet.refreshes(2, told).await;
    let issued = fleet.issuer.issued();
    assert_eq!((issued.logins, issued.refused), (1, 0), "{told}");
    assert_eq!(fleet.lost(), 0, "{told}: a member had no token, or a dead one");
}

#[tokio::test]
async fn an_engine_that_answers_nothing_for_a_while() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut fleet = three(|_| server.options()).await;
        fleet.refreshes(1, "before").await;
        server.command(&["CLIENT", "PAUSE", "2000", "ALL"]).await;
        goes_on(fleet, &format!("{program:?}, paused")).await;
    }
}

#[tokio::test]
async fn an_engine_that_is_emptied() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut fleet = three(|_| server.options()).await;
        fleet.refreshes(1, "before").await;
        server.command(&["FLUSHALL"]).await;
        goes_on(fleet, &format!("{program:?}, emptied")).await;
    }
}

#[tokio::test]
#[ignore = "takes a minute: make check-fleet"]
async fn an_engine_that_comes_back_from_an_old_snapshot() {
    for program in Program::ALL {
        let mut server = Server::start(program).await;
        let mut fleet = three(|_| server.options()).await;
        fleet.refreshes(1, "before").await;
        server.command(&["SAVE"]).await;
        let dump = server.folder().join("dump.rdb");
        let old = std::fs::read(&dump).unwrap();
        fleet.refreshes(2, "after the snapshot").await;
        server.kill();
        std::fs::write(&dump, old).unwrap();
        server.start_again().await;
        goes_on(fleet, &format!("{program:?}, restored")).await;
    }
}

#[tokio::test]
#[ignore = "takes a minute: make check-fleet"]
async fn a_primary_that_is_killed_while_sentinel_watches() {
    for program in [Program::Redis] {
        let (mut primary, _replica) = with_replica(program).await;
        let sentinel = sentinel(primary.port).await;
        let url = format!("redis-sentinel://127.0.0.1:{}/shared", sentinel.port);
        let mut fleet = three(|_| super::server::options(&url)).await;
        fleet.refreshes(1, "before").await;
        primary.kill();
        goes_on(fleet, &format!("{program:?}, failed over")).await;
    }
}

/// The engine's folder is a file system of 1 MiB of its own, and full: a real one, not a limit.
#[tokio::test]
#[ignore = "takes a minute and mounts a file system: make check-fleet"]
async fn an_engine_whose_disk_is_full() {
    for program in Program::ALL {
        let server = Server::start_on_small_disk(program).await;
        let mut fleet = three(|_| server.options()).await;
        fleet.refreshes(1, "before").await;
        let inside = format!("/proc/{}/root{}", server.pid(), server.folder().display());
        let filler = Path::new(&inside).join("disk/filler");
        fill(&filler);
        // Some writes later the file cannot be appended to, and the engine says so.
        let found = loop {
            let found = examine(server.options(), || 0).await.unwrap();
            if found.refuses_writes.is_some() {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(found.findings().contains(&Finding::Unwritable("MISCONF".to_owned())));
        assert!(found.findings().contains(&Finding::Failing), "{program:?}: {found:?}");
        std::fs::remove_file(filler).unwrap();
        goes_on(fleet, &format!("{program:?}, full")).await;
    }
}

fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

/// An hour back and an hour forward: what expires in the engine, and what dates a pair. On Valkey alone:
/// the allocator of Debian's Redis and libfaketime keep each other from starting.
#[tokio::test]
#[ignore = "takes a minute and needs libfaketime: make check-fleet"]
async fn an_engine_whose_clock_is_set() {
    for program in [Program::Valkey] {
        let server = Server::start_with_clock(program).await;
        let mut fleet = three(|_| server.options()).await;
        fleet.refreshes(1, "before").await;
        for step in ["-1h", "+0", "+1h"] {
            server.set_clock(step);
            fleet.refreshes(2, step).await;
        }
        goes_on(fleet, &format!("{program:?}, clock")).await;
    }
}
