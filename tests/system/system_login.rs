//! `login --system`: root logs the system service in, and systemd keeps the login.

use std::os::unix::fs::MetadataExt as _;

use crate::machine::{ALICE, BOB, EMAIL, Machine, PASSWORD, Said, machine};

#[test]
fn root_logs_the_system_service_in_by_one_command() {
    let machine = machine();
    let _nexudus = machine.nexudus("");
    let installed = machine.run("nexudus-proxy service install --system");
    assert!(installed.contains("next     `nexudus-proxy login --system`\n"), "{installed}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503");
    let secret = "printf 'GEZDGNBVGY3TQOJQ' | systemd-creds encrypt --name=nexudus-totp-secret - \
                  /etc/credstore.encrypted/nexudus-totp-secret";
    machine.run(&format!("{secret} 2>&1"));

    let refused = log_in(&machine, "", "wrong");
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(!machine.path("/etc/credstore.encrypted/nexudus-email").exists());
    let logged_in = log_in(&machine, "", PASSWORD);

    assert_eq!(logged_in.code, 0, "{logged_in:?}");
    assert!(logged_in.out.contains("logged in as Ada Example"), "{logged_in:?}");
    let kept = "kept the login in systemd's credentials; the running daemon uses it from now on";
    assert!(logged_in.err.contains(kept), "{logged_in:?}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    let store =
        machine.run("cd /etc/credstore.encrypted; find . -type f -printf '%u %p\\n' | sort");
    assert_eq!(
        store, "root ./nexudus-email\nroot ./nexudus-key\nroot ./nexudus-password\n",
        "the 2FA secret of another login is gone"
    );
    let files = machine.path("/var/lib/private/nexudus-proxy");
    let owner = std::fs::metadata(&files).unwrap().uid();
    for entry in std::fs::read_dir(&files).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().uid(), owner, "{:?}", entry.path());
    }
    assert_eq!(
        machine
            .run("find /tmp -name 'nexudus-proxy-login*'; ls -d /root/.local 2>/dev/null || true"),
        ""
    );
    let said = format!("{logged_in:?}{refused:?}{}", machine.journal("debug"));
    assert!(!said.contains(PASSWORD), "{said}");

    let person = machine.tried_as(BOB, "nexudus-proxy login --system --email x --password-stdin");
    assert!(person.err.contains("hint: Run `nexudus-proxy --system login` as root."), "{person:?}");
    assert_eq!(person.code, 2);
}

/// A login that was refused and works again is proved by the command that the hint names.
#[test]
fn a_login_that_was_refused_is_proved_for_the_system_service() {
    let machine = machine();
    machine.store_credentials();
    let nexudus = machine.nexudus("");
    machine.run("nexudus-proxy service install --system");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
    assert!(nexudus.change_password(EMAIL, "another"));
    nexudus.revoke_refresh_tokens();
    nexudus.revoke_access_tokens();
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503");
    assert!(nexudus.change_password(EMAIL, PASSWORD));
    let status = machine.tried("nexudus-proxy --system status");
    let hint = "`nexudus-proxy --system login --session-only`";
    assert!(status.out.contains(hint), "{status:?}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "503", "it is not tried again");

    let proved = log_in(&machine, "--session-only", PASSWORD);

    assert_eq!(proved.code, 0, "{proved:?}");
    assert!(proved.err.contains("kept the proof; the running daemon uses it"), "{proved:?}");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "200");
}

fn log_in(machine: &Machine, flags: &str, password: &str) -> Said {
    machine.tried(&format!(
        "printf %s {password} | nexudus-proxy --system login {flags} --email {EMAIL} --password-stdin"
    ))
}
