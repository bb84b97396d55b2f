//! How durable a write is said to be.

use std::time::Duration;

use shared_session::call::{Call, Place, Reply};
use shared_session::engine::Engine;
use shared_session::fence::Fence;
use shared_session::register::Stored;

use super::server::{Program, Server, free_port};

fn put(number: u64) -> Call {
    let fence = Fence::new(number).unwrap();
    let stored = Stored { fence, is_tombstone: false, sealed: b"x".to_vec() };
    Call::Put { place: Place::Registers, name: "lock".to_owned(), stored, unopened: None }
}

#[tokio::test]
async fn without_replicas_and_file_nothing_is_waited_for_and_that_is_known() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        assert_eq!(engine.call(&put(1)).await, Ok(Reply::Done { is_durable: true }));
        assert!(engine.reached().is_none(), "{program:?}: {:?}", engine.reached());
    }
}

#[tokio::test]
async fn the_append_only_file_is_waited_for_where_the_engine_can() {
    for program in Program::ALL {
        let server = Server::start_with(program, |_, _| {
            ["--appendonly", "yes", "--appendfsync", "everysec"].map(str::to_owned).to_vec()
        })
        .await;
        let mut engine = server.engine();
        assert_eq!(engine.call(&put(1)).await, Ok(Reply::Done { is_durable: true }));
        // Redis 7.0 has a file and cannot be asked about it.
        let expected = (program == Program::Valkey).then_some(true);
        assert_eq!(engine.reached().file, expected, "{program:?}");
    }
}

/// A primary, and a replica behind a port that a test can cut.
pub(super) async fn with_replica(program: Program) -> (Server, Server) {
    let primary = Server::start(program).await;
    let port = primary.port.to_string();
    let replica = Server::start_with(program, |_, _| {
        let words = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-load", "swapdb"];
        words.map(str::to_owned).to_vec()
    })
    .await;
    primary.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;
    wait_for_replica(&primary).await;
    (primary, replica)
}

async fn wait_for_replica(primary: &Server) {
    loop {
        let redis::Value::BulkString(info) = primary.command(&["INFO", "replication"]).await else {
            continue;
        };
        if String::from_utf8_lossy(&info).contains("state=online") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn engine(server: &Server, timeout: Duration) -> Engine {
    let mut options = server.options();
    options.timeout = timeout;
    Engine::new(options)
}

#[tokio::test]
async fn every_replica_is_waited_for() {
    for program in Program::ALL {
        let (primary, _replica) = with_replica(program).await;
        let mut engine = engine(&primary, Duration::from_secs(5));
        assert_eq!(engine.call(&put(1)).await, Ok(Reply::Done { is_durable: true }));
        let reached = engine.reached();
        assert_eq!((reached.replicas, reached.expected), (1, 1), "{program:?}");
    }
}

#[tokio::test]
async fn a_write_that_the_replica_does_not_have_is_not_durable() {
    for program in Program::ALL {
        let (primary, mut replica) = with_replica(program).await;
        let mut engine = engine(&primary, Duration::from_secs(3));
        assert_eq!(engine.call(&put(1)).await, Ok(Reply::Done { is_durable: true }));

        replica.kill();
        let answer = engine.call(&put(2)).await;

        // The primary may already have noticed: the replica is owed all the same.
        assert_eq!(answer, Ok(Reply::Done { is_durable: false }), "{program:?}");
        assert_eq!(engine.reached().expected, 1);
    }
}

/// What a wait on another connection would say: all is well, for a write that no replica has.
#[tokio::test]
async fn a_wait_on_another_connection_says_nothing_of_this_write() {
    for program in Program::ALL {
        let (primary, replica) = with_replica(program).await;
        let mut writer = engine(&primary, Duration::from_secs(3));
        writer.call(&put(1)).await.unwrap();
        // Its replica is alive and reads nothing.
        replica.command(&["CONFIG", "SET", "repl-timeout", "600"]).await;
        let stopped = Stopped::new(replica.pid());

        let on_its_own = writer.call(&put(2)).await;
        let on_another = primary.command(&["WAIT", "1", "3000"]).await;

        assert_eq!(on_its_own, Ok(Reply::Done { is_durable: false }), "{program:?}");
        assert_eq!(on_another, redis::Value::Int(1), "{program:?}");
        drop(stopped);
    }
}

/// A process that is stopped for as long as this lives.
struct Stopped(String);

impl Stopped {
    fn new(pid: u32) -> Self {
        let stopped = Self(pid.to_string());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([signal, &self.0]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

#[tokio::test]
async fn sentinels_name_the_primary_and_the_next_one_after_a_failover() {
    let (mut primary, replica) = with_replica(Program::Redis).await;
    let sentinel = sentinel(primary.port).await;
    let url =
        format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/shared", free_port(), sentinel.port);
    let mut options = super::server::options(&url);
    options.timing = options.timing.scaled(100);
    options.timeout = Duration::from_secs(2);
    let mut engine = Engine::new(options);
    assert!(matches!(engine.call(&put(1)).await, Ok(Reply::Done { .. })));

    primary.kill();
    loop {
        if let Ok(Reply::Done { .. }) = engine.call(&put(2)).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let server = engine.server().cloned();
    let expected = shared_session::engine::Server::Tcp {
        host: "127.0.0.1".to_owned(),
        port: replica.port,
        tls: false,
    };
    assert_eq!(server, Some(expected));
}

pub(super) async fn sentinel(primary: u16) -> Server {
    Server::start_with(Program::Redis, |folder, port| {
        let path = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor shared 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds shared 500\n\
             sentinel failover-timeout shared 2000\n",
            folder.display()
        );
        std::fs::write(&path, text).unwrap();
        vec![path.display().to_string(), "--sentinel".to_owned()]
    })
    .await
}
