//! The variables of a service manager are believed only where they are about this process: a
//! child inherits those of its service.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{EVENT_TIMEOUT, ProcessSetup, upstream};

#[tokio::test]
async fn sockets_for_another_process_are_left_alone() {
    let upstream = upstream().start().unwrap();
    let handed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = handed.local_addr().unwrap();

    for (variables, is_ours) in [
        ("LISTEN_FDS=1 LISTEN_PID=$$", true),
        ("LISTEN_FDS=1", false),
        ("LISTEN_FDS=1 LISTEN_PID=", false),
        ("LISTEN_FDS=1 LISTEN_PID=1", false),
    ] {
        let setup = ProcessSetup::new(&upstream);
        let program = setup.start_with_descriptor(&handed, variables).await;

        assert_eq!(program.address() == address, is_ours, "{variables}");
        assert_eq!(program.status("/api/auth/me").await, 200);
    }
}

#[tokio::test]
async fn only_the_main_process_of_a_service_speaks_to_the_service_manager() {
    let upstream = upstream().start().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();

    for (variables, speaks, feeds) in [
        ("", true, true),
        ("SYSTEMD_EXEC_PID=$$ WATCHDOG_PID=$$", true, true),
        ("SYSTEMD_EXEC_PID=$$ WATCHDOG_PID=1", true, false),
        ("SYSTEMD_EXEC_PID=1 WATCHDOG_PID=$$", false, false),
        ("SYSTEMD_EXEC_PID=1", false, false),
    ] {
        let setup = ProcessSetup::new(&upstream).set("WATCHDOG_USEC", "300000");
        let socket = setup.home().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(EVENT_TIMEOUT)).unwrap();
        let setup = setup.set("NOTIFY_SOCKET", socket.to_str().unwrap());
        let program = setup.start_with_descriptor(&unused, variables).await;
        assert_eq!(program.status("/api/auth/me").await, 200);

        let mut said = BTreeSet::new();
        let mut hear = |wanted: &str| {
            while !said.contains(wanted) {
                said.extend(message(&manager));
            }
        };
        if speaks {
            hear("READY=1");
        }
        if feeds {
            hear("WATCHDOG=1");
        }
        assert!(program.stop().await.success());

        manager.set_nonblocking(true).unwrap();
        while let Some(line) = try_message(&manager) {
            said.extend(line);
        }
        assert_eq!(said.contains("WATCHDOG=1"), feeds, "{variables}: {said:?}");
        assert_eq!(said.contains("STOPPING=1"), speaks, "{variables}: {said:?}");
        assert!(speaks || said.is_empty(), "{variables}: {said:?}");
    }
}

#[tokio::test]
async fn the_log_is_the_journals_only_where_standard_error_goes_there() {
    let upstream = upstream().start().unwrap();
    // The pipe of the test is not the stream that is named: the lines stay JSON, which `start` reads.
    for other in ["8:12345", "", "journal"] {
        let setup = ProcessSetup::new(&upstream).set("JOURNAL_STREAM", other);
        assert_eq!(setup.start().await.status("/api/auth/me").await, 200);
    }

    let setup = ProcessSetup::new(&upstream);
    let path = setup.home().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let found = log.metadata().unwrap();
    let mut command = setup.serve();
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino())).stderr(log);
    let mut child = command.spawn().unwrap();
    let listening = async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("listening") {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(EVENT_TIMEOUT, listening).await;
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let text = text.unwrap();
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
}

#[tokio::test]
async fn a_credentials_directory_that_is_no_path_of_systemds_is_no_source() {
    let upstream = upstream().start().unwrap();
    for directory in ["", ".", "handed"] {
        let setup = ProcessSetup::new(&upstream).set("CREDENTIALS_DIRECTORY", directory);
        // Anybody may have written these into the working directory.
        for below in ["", "handed"] {
            let below = setup.home().join(below);
            std::fs::write(below.join("nexudus-email"), "eve@example.test").unwrap();
            std::fs::write(below.join("nexudus-password"), "not the password").unwrap();
        }

        assert_eq!(setup.start().await.status("/api/auth/me").await, 200, "{directory:?}");
    }
}

#[tokio::test]
async fn a_command_inherits_nothing_that_is_said_to_the_daemon_alone() {
    let upstream = upstream().start().unwrap();
    let private = [
        ("FDSTORE", "16"),
        ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
        ("JOURNAL_STREAM", "8:12345"),
        ("LISTEN_FDNAMES", "data"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_PID", "1"),
        ("LISTEN_PIDFDID", "1"),
        ("NOTIFY_SOCKET", "/nonexistent/notify"),
        ("WATCHDOG_PID", "1"),
        ("WATCHDOG_USEC", "300000"),
    ];
    let mut setup = ProcessSetup::new(&upstream)
        .password_from_a_command()
        .set("NEXUDUS_PROXY_CREDENTIALS_COMMAND", r#"["sh", "-c", "env > seen; cat password"]"#);
    for (name, value) in private {
        setup = setup.set(name, value);
    }

    assert_eq!(setup.start().await.status("/api/auth/me").await, 200);

    let seen = std::fs::read_to_string(setup.home().join("seen")).unwrap();
    let names: Vec<_> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    for (name, _) in private {
        assert!(!names.contains(&name), "{name} in {names:?}");
    }
    // A command may be there to read a credential of its own.
    assert!(names.contains(&"CREDENTIALS_DIRECTORY"), "{names:?}");
}

fn message(manager: &UnixDatagram) -> Vec<String> {
    try_message(manager).expect("no more is said")
}

fn try_message(manager: &UnixDatagram) -> Option<Vec<String>> {
    let mut bytes = [0; 4 << 10];
    let length = manager.recv(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect())
}
