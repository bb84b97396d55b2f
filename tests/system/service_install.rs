//! `service` as a person and as root would use it, with a real systemd behind it.

use nexudus_simulator::{Account, Simulator};

use crate::machine::{ALICE, BOB, EMAIL, Machine, PASSWORD, configuration, machine};

#[test]
fn a_person_installs_the_service_uses_it_and_removes_it() {
    let machine = machine();
    let _nexudus = for_person(&machine, "alice");
    let said = machine.run_as(ALICE, "nexudus-proxy service install");

    assert!(
        said.ends_with(
            "nexudus-proxy-admin.socket nexudus-proxy.service\n\
             serves   http://localhost:6398\n\
             session  logged in as ada@example.test\n\
             callers  you, alice\n\
             next     `curl http://localhost:6398/api/auth/me`\n"
        ),
        "{said}"
    );
    machine.run_as(ALICE, "nexudus-proxy wait");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    let status = machine.run_as(ALICE, "nexudus-proxy service status");
    assert!(status.starts_with("service  active, process "), "{status}");
    assert!(
        status.contains(": token valid 6d 23h\nsockets  open\nstarts   by itself\n"),
        "{status}"
    );
    let logs = machine.run_as(ALICE, "nexudus-proxy service logs");
    assert!(logs.contains("logged in  generation=1"), "{logs}");
    let again = machine.run_as(ALICE, "nexudus-proxy service install");
    assert_eq!(again.matches("unchanged ").count(), 3, "{again}");
    assert_eq!(machine.tried_as(ALICE, "nexudus-proxy stop").code, 1, "a request would start it");

    machine.run_as(ALICE, "nexudus-proxy service stop");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");
    let stopped = machine.tried_as(ALICE, "nexudus-proxy service status");
    assert_eq!(stopped.code, 6, "{stopped:?}");
    assert!(stopped.out.starts_with("service  inactive\nsockets  closed\n"), "{stopped:?}");
    machine.run_as(ALICE, "nexudus-proxy service start");
    machine.run_as(ALICE, "nexudus-proxy wait");

    // Another address: the sockets move.
    machine.run("sed -i 's/^\\[listen\\]/[listen]\\ntcp = [\"127.0.0.1:7001\"]/' /home/alice/.config/nexudus-proxy/config.toml");
    machine.run_as(ALICE, "nexudus-proxy service install");
    assert_eq!(machine.curl(ALICE, "http://localhost:7001/api/auth/me"), "200");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");

    machine.run_as(ALICE, "nexudus-proxy service uninstall");
    assert_eq!(machine.curl(ALICE, "http://localhost:7001/api/auth/me"), "000");
    let left = "find /home/alice/.config/systemd -name '*nexudus*'; \
                systemctl --user list-units --all --no-legend 'nexudus*'";
    assert_eq!(machine.run_as(ALICE, left), "");
}

#[test]
fn root_installs_the_service_of_the_machine_and_whom_it_names_operates_it() {
    let machine = machine();
    machine.store_credentials();
    let _nexudus = machine.nexudus("[admin]\nusers = [\"alice\"]\n");

    let refused = machine.tried_as(BOB, "nexudus-proxy service --system install");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("hint: Run it as root for --system"), "{refused:?}");
    machine.run("nexudus-proxy service --system install");
    machine.run("nexudus-proxy wait");

    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    // Who opened the socket decides who may open it; who is let in is decided by the daemon.
    machine.edit("nexudus-proxy-admin.socket", "[Socket]\nSocketMode=0666\n");
    machine.run("nexudus-proxy service --system stop; nexudus-proxy service --system start");
    assert!(machine.run_as(ALICE, "nexudus-proxy status").contains("ready"));
    assert_eq!(machine.tried_as(BOB, "nexudus-proxy status").code, 1);
    let status = machine.run("nexudus-proxy service --system status");
    assert!(status.contains("\nstarts   by itself\n"), "{status}");
    assert!(machine.run("nexudus-proxy service --system logs").contains("logged in"));
    machine.run("nexudus-proxy service --system uninstall");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");
}

#[test]
fn a_program_below_a_home_is_copied_to_where_the_unit_sees_it() {
    let machine = machine();
    machine.store_credentials();
    let _nexudus = machine.nexudus("");
    let program = "/home/alice/.cargo/bin/nexudus-proxy";
    machine.run(&format!("install -D /usr/local/bin/nexudus-proxy {program}"));
    machine.run("umount /usr/local/bin/nexudus-proxy; rm -f /usr/local/bin/nexudus-proxy");

    let refused = machine.tried(&format!("{program} service install --system </dev/null"));
    let said = machine.run(&format!("{program} service install --system --yes"));

    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("hint: Run it again with --yes"), "{refused:?}");
    assert!(said.starts_with("wrote /usr/local/bin/nexudus-proxy\n"), "{said}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
}

/// Writes what a person's daemon reads, its login printed by a command.
pub(crate) fn for_person(machine: &Machine, name: &str) -> Simulator {
    let nexudus = Simulator::builder().account(Account::new(EMAIL, PASSWORD)).start().unwrap();
    let directory = format!("/home/{name}/.config/nexudus-proxy");
    machine.write(&format!("{directory}/ca.pem"), nexudus.ca_pem());
    let login = format!(
        "[credentials]\nemail = \"{EMAIL}\"\ncommand = [\"password\"]\n[session]\nstore = \"memory\"\n"
    );
    machine.write(&format!("{directory}/config.toml"), configuration(&nexudus) + &login);
    machine.run(&format!("chown -R {name}:{name} /home/{name}"));
    machine.write("/usr/local/bin/password", "#!/bin/sh\necho marker-password-7f3a\n");
    machine.run("chmod 755 /usr/local/bin/password");
    nexudus
}
