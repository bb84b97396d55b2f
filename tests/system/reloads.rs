//! Reloads under a real systemd: users are let in and out while connections are open.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::machine::{ALICE, BOB, Machine, START, configuration, machine, serving};

#[test]
fn a_reload_lets_users_in_and_out_and_ends_no_connection_of_others() {
    let (machine, nexudus) = serving("");
    let allow = |users: &str| {
        let users = configuration(&nexudus).replace("[\"alice\"]", users);
        machine.write("/etc/nexudus-proxy/config.toml", users);
        machine.run("nexudus-proxy reload")
    };
    // This thread is root, in the machine's network.
    let (status, body) = ask(&mut connect());
    assert_eq!(status, "403");
    for part in
        ["`users = [\\\"root\\\"]` below `[listen]`", "/etc/nexudus-proxy/config.toml", "reload`"]
    {
        assert!(body.contains(part), "{part} is missing: {body}");
    }

    assert_eq!(allow("[\"alice\", \"root\"]"), "reloaded: listen.users\n");
    let mut kept = connect();
    assert_eq!(ask(&mut kept).0, "200");
    assert_eq!(allow("[\"bob\", \"root\"]"), "reloaded: listen.users\n");
    assert_eq!(ask(&mut kept).0, "200", "the same connection");
    assert_eq!(
        (machine.get(ALICE, "/api/auth/me"), machine.get(BOB, "/api/auth/me")),
        two("403", "200")
    );
    assert_eq!(allow("[\"bob\"]"), "reloaded: listen.users\n");

    assert_eq!(ask(&mut kept).0, "403", "the same connection, of a user who was let out");
    let found = "journalctl --sync; journalctl --no-pager --quiet --output=cat -u nexudus-proxy \
                 CODE=guard.user UID=0 | sort -u";
    assert!(machine.run(found).starts_with("rejected a request  code=guard.user uid=0"));
}

#[test]
fn what_takes_a_restart_or_a_line_in_a_socket_unit_is_said_and_the_hints_work() {
    let (machine, nexudus) = serving("");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    machine.configure(&nexudus, "[session]\nwait = \"3s\"\n");

    let said = machine.tried("nexudus-proxy reload");

    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.starts_with("error: NOT applied until restart: session.wait\n"), "{said:?}");
    machine.run(between(&said.err, "hint: Run `", "`"));
    assert_eq!(machine.run("nexudus-proxy reload"), "reloaded: nothing has changed\n");

    machine.run("groupadd --system nexudus; usermod --append --groups nexudus bob");
    machine.configure(&nexudus, "groups = [\"nexudus\"]\n[session]\nwait = \"3s\"\n");
    let said = machine.tried("nexudus-proxy reload");
    assert_eq!((said.code, said.out.as_str()), (0, "reloaded: listen.groups\n"), "{said:?}");
    let socket = "--unix-socket /run/nexudus-proxy/proxy.sock http://localhost/api/auth/me";
    assert_eq!(machine.get(BOB, "/api/auth/me"), "200", "over TCP at once");
    assert_eq!(machine.curl(BOB, socket), "000");
    let line = between(&said.err, "write `[Socket]` and `", "`");
    machine.edit("nexudus-proxy.socket", &format!("[Socket]\n{line}\n"));
    machine.run(between(&said.err, "then `", "`"));
    assert_eq!(machine.curl(BOB, socket), "200");
    assert_eq!(machine.tried("nexudus-proxy reload").err, "");
}

/// The sandbox runs nothing but the daemon; the error, and the warning before it, name the lines.
#[test]
fn a_password_command_that_the_sandbox_refuses_is_explained_and_the_line_works() {
    let machine = machine();
    machine.install();
    machine.write("/usr/local/bin/password", "#!/bin/sh\necho marker-password-7f3a\n");
    machine.run("chmod 755 /usr/local/bin/password");
    let _nexudus =
        machine.nexudus("[credentials]\nemail = \"ada@example.test\"\ncommand = [\"password\"]\n");

    let warned =
        machine.tried("nexudus-proxy config check --config /etc/nexudus-proxy/config.toml");
    machine.run(START);
    let waited = machine.tried("nexudus-proxy wait --timeout 20s");

    assert!(
        warned.err.contains("warning: credentials.command: the service's sandbox"),
        "{warned:?}"
    );
    let line = between(&warned.err, "`[Service]` and `", "`").to_owned();
    assert!(line.starts_with("ExecPaths=/usr/local/bin/password /usr/bin/"), "{line}");
    assert_ne!(waited.code, 0, "{waited:?}");
    let status = machine.run("nexudus-proxy status");
    assert!(status.contains(&line), "{status}");
    machine.edit("nexudus-proxy.service", &format!("[Service]\n{line}\n"));
    machine.run("systemctl restart nexudus-proxy.service; nexudus-proxy wait --timeout 30s");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    let warned =
        machine.tried("nexudus-proxy config check --config /etc/nexudus-proxy/config.toml");
    assert_eq!(warned.err, "");
}

#[test]
fn a_service_that_a_mistake_has_stopped_is_told_as_failed_with_its_error() {
    let (machine, nexudus) = serving("");
    machine.configure(&nexudus, "prot = 1\n");
    assert_ne!(machine.tried("systemctl restart nexudus-proxy.service").code, 0);

    let service = machine.tried("nexudus-proxy service --system status");
    let status = machine.tried("nexudus-proxy status");
    let start = machine.tried("nexudus-proxy service --system start");

    let error = "unknown key `listen.prot`";
    assert_eq!(service.code, 6, "{service:?}");
    assert!(service.out.starts_with("service  failed"), "{service:?}");
    assert!(service.out.contains("\nerror    ") && service.out.contains(error), "{service:?}");
    assert_eq!(status.code, 6, "{status:?}");
    assert!(status.err.starts_with("error: the service has failed: "), "{status:?}");
    assert!(status.err.contains(error), "{status:?}");
    assert_eq!(start.code, 1, "{start:?}");
    assert!(start.err.contains("error: the service does not start: ") && start.err.contains(error));
    machine.run("nexudus-proxy service --system stop; nexudus-proxy service --system logs");
    let removed = purged(&machine);
    assert!(removed.contains("removed /var/lib/private/nexudus-proxy\n"), "{removed}");
    let left = "find /etc /var/lib /run -xdev -path '*nexudus*' -not -path '*/system.slice/*'";
    assert_eq!(machine.run(left), "/run/nexudus-proxy\n");
}

fn purged(machine: &Machine) -> String {
    let left = machine.run("nexudus-proxy service --system uninstall");
    assert!(left.contains("left /etc/nexudus-proxy\n"), "{left}");
    assert!(left.contains("left /etc/credstore.encrypted/nexudus-password\n"), "{left}");
    machine.run("nexudus-proxy service --system uninstall --purge --yes")
}

fn connect() -> TcpStream {
    TcpStream::connect("127.0.0.1:6398").unwrap()
}

/// Returns status and body of the response on an open connection.
fn ask(connection: &mut TcpStream) -> (String, String) {
    connection.write_all(b"GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        let is_chunked = length.is_none();
        let length = length.map_or(0, |length| length.parse().unwrap());
        if count == 0
            || is_chunked && body.ends_with("0\r\n\r\n")
            || !is_chunked && body.len() >= length
        {
            return (head[9..12].to_owned(), body.to_owned());
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).unwrap().0
}

fn two(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}
