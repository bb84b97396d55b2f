//! The engine's files of deploy/: an engine starts with them, and lacks nothing.

use std::path::Path;
use std::time::SystemTime;

use shared_session::engine::{Finding, Level, Transport, acl, examine};
use shared_session::script::Keyspace;
use shared_session::secret::Secret;

use super::server::{Program, Server, free_port, options};
use super::ways::{certificates, trusting};

fn deployed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fleet");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[tokio::test]
async fn an_engine_starts_with_the_deployed_files_and_a_member_finds_nothing_wrong() {
    for program in Program::ALL {
        let (port, (ca, files)) = (free_port(), certificates());
        let server = Server::start_with(program, |folder, _| {
            let place = folder.display().to_string();
            std::fs::create_dir(folder.join("tls")).unwrap();
            for ((_, text), name) in files.iter().zip(["ca.pem", "server.pem", "server.key"]) {
                std::fs::write(folder.join("tls").join(name), text).unwrap();
            }
            let users = deployed("users.acl").replace(&format!("#{}", "0".repeat(64)), ">marker");
            // Debian's Redis cannot wait for its file.
            let is_old = program == Program::Redis;
            let users = if is_old { users.replace(" +waitaof", "") } else { users };
            std::fs::write(folder.join("users.acl"), users).unwrap();
            let text = deployed("valkey.conf")
                .replace("/etc/valkey", &place)
                .replace("/var/lib/valkey", &place)
                .replace("tls-port 6380", &format!("tls-port {port}"));
            let text = if has_tls(program) { text } else { without_tls(&text, port) };
            std::fs::write(folder.join("valkey.conf"), text).unwrap();
            vec![folder.join("valkey.conf").display().to_string()]
        })
        .await;
        let scheme = if has_tls(program) { "rediss" } else { "redis" };
        let mut member = options(&format!("{scheme}://localhost:{port}"));
        member.tls = Some(trusting(Some(&ca)));
        member.keyspace = Keyspace::new("nexudus-proxy", "default");
        (member.username, member.password) =
            (Some("nexudus".to_owned()), Some(Secret::new("marker")));

        let wall = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_millis()).unwrap()
        };
        let found = examine(member, wall).await.unwrap();

        assert_eq!(found.transport == Transport::Tls, has_tls(program), "{program:?}");
        let worse: Vec<Finding> =
            found.findings().into_iter().filter(|one| one.level() != Level::Told).collect();
        assert_eq!(worse, [], "{program:?}: {found:?}");
        assert!(server.port != port);
    }
}

/// Debian's Redis has TLS; the Valkey of the tests may come from PyPI, without.
fn has_tls(program: Program) -> bool {
    program == Program::Redis
}

/// The same file for an engine that does not know the options of TLS.
fn without_tls(text: &str, port: u16) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("tls-"));
    let lines =
        lines.map(|line| if line == "port 0" { format!("port {port}") } else { line.into() });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_deployed_user_is_the_one_of_the_printed_line() {
    let users = deployed("users.acl");
    let line = acl("nexudus", &Keyspace::new("nexudus-proxy", "default"), 0, true);
    let line = line.replace("ACL SETUSER", "user");
    let placeholder = format!(" on #{}", "0".repeat(64));
    assert_eq!(users, format!("user default off\n{}\n", line.replace(" on", &placeholder)));
}
