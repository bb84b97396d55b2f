//! The units for one person, in a real user's manager with a real gnome-keyring: a keyring that is
//! locked at the start is waited for.

use crate::machine::{ALICE, Machine, PASSWORD, configuration, machine, source};
use crate::shared::eventually;

#[test]
fn a_start_with_a_locked_keyring_stays_up_and_goes_on_when_it_opens() {
    let machine = machine();
    let nexudus = nexudus_simulator::Simulator::builder()
        .account(nexudus_simulator::Account::new(crate::machine::EMAIL, PASSWORD))
        .start()
        .unwrap();
    install(&machine, &nexudus);
    keyring(&machine, "unlock");
    machine.run_as(
        ALICE,
        &format!(
            "printf {PASSWORD} | nexudus-proxy login --email ada@example.test --password-stdin"
        ),
    );
    keyring(&machine, "lock");

    machine.run_as(ALICE, "systemctl --user daemon-reload; systemd-analyze --user verify --man=no ~/.config/systemd/user/nexudus-proxy*");
    machine.run_as(
        ALICE,
        "systemctl --user enable --quiet --now nexudus-proxy.socket nexudus-proxy-admin.socket nexudus-proxy.service",
    );

    let show = "systemctl --user show --value nexudus-proxy.service -p";
    let words = || machine.run_as(ALICE, &format!("{show} StatusText"));
    eventually("it says so", || words() == "the credential store is locked\n");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503");
    let socket = "$XDG_RUNTIME_DIR/nexudus-proxy/admin.sock";
    let readyz = format!("curl -si --unix-socket {socket} http://localhost/readyz");
    let readyz = machine.run_as(ALICE, &readyz);
    assert!(
        readyz.starts_with("HTTP/1.1 503 ") && readyz.contains("credentials.locked"),
        "{readyz}"
    );
    assert_eq!(machine.run_as(ALICE, &format!("{show} ActiveState")), "active\n");
    assert_eq!(machine.run_as(ALICE, &format!("{show} NRestarts")), "0\n");

    keyring(&machine, "unlock");
    machine.run_as(ALICE, "nexudus-proxy wait --timeout 60s");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    assert_eq!(nexudus.token_calls().len(), 1, "it resumes what login saved");

    // A person's own restart and reload.
    machine.run_as(
        ALICE,
        "systemctl --user reload nexudus-proxy; systemctl --user restart nexudus-proxy",
    );
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    assert_eq!(machine.get(crate::machine::BOB, "/api/auth/me"), "403");
}

/// Writes the configuration and the units of Alice.
fn install(machine: &Machine, nexudus: &nexudus_simulator::Simulator) {
    let home = "/home/alice/.config";
    machine.write(&format!("{home}/nexudus-proxy/ca.pem"), nexudus.ca_pem());
    machine.write(&format!("{home}/nexudus-proxy/config.toml"), configuration(nexudus));
    for unit in crate::machine::UNITS {
        machine.write(&format!("{home}/systemd/user/{unit}"), source(&format!("user/{unit}")));
    }
    machine.run("chown -R alice:alice /home/alice");
}

/// Opens or locks alice's keyring, as her desktop does.
fn keyring(machine: &Machine, what: &str) {
    let call = "gdbus call --session --dest org.freedesktop.secrets --object-path";
    let collection = "/org/freedesktop/secrets/collection/login";
    let line = match what {
        "lock" => format!(
            "{call} /org/freedesktop/secrets --method org.freedesktop.Secret.Service.Lock \
             \"[objectpath '{collection}']\""
        ),
        _ => "systemctl --user stop gnome-keyring-daemon.socket gnome-keyring-daemon.service; \
              printf pw | gnome-keyring-daemon --replace --unlock --components=secrets --daemonize"
            .to_owned(),
    };
    let wanted = format!("(<{}>,)\n", what == "lock");
    let is = format!(
        "{call} {collection} --method org.freedesktop.DBus.Properties.Get \
         org.freedesktop.Secret.Collection Locked"
    );
    eventually(what, || {
        machine.tried_as(ALICE, &line);
        machine.tried_as(ALICE, &is).out == wanted
    });
}
