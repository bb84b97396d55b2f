//! docs/service.md, followed to the letter: from a bare Debian with the program to a system service
//! that answers a named user.

use std::path::Path;
use std::process::Command;

use nexudus_simulator::{Account, Simulator};

use crate::machine::{ALICE, BOB, EMAIL, Machine, PASSWORD, machine};

#[test]
fn six_commands_lead_to_a_service_that_answers_a_named_user() {
    let machine = machine();
    // The page has the program in the working directory, and nothing in /usr/local/bin.
    machine.run("cp /usr/local/bin/nexudus-proxy /root/ && umount /usr/local/bin/nexudus-proxy");
    machine.run("rm -f /usr/local/bin/nexudus-proxy");
    let _nexudus = beside_nexudus(&machine);
    let [commands, call] = commands();
    assert_eq!(commands.lines().count(), 6, "{commands}");

    let shown = in_terminal(&machine, &format!("cd /root; set -e\n{commands}"));

    // Coloured, because this is a terminal.
    let shown = shown.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    assert!(shown.ends_with("=> 0\n"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    for row in [
        "serves   http://localhost:6398\n",
        "session  logged in as ada@example.test\n",
        "callers  alice\n",
        "wrote /etc/credstore.encrypted/nexudus-key\n",
    ] {
        assert!(shown.contains(row), "{row} is missing: {shown}");
    }
    let curl = format!("{} -s -o /dev/null -w '%{{http_code}}'", call.trim());
    assert_eq!(machine.run_as(ALICE, &curl), "200");
    assert_eq!(machine.run_as(BOB, &curl), "403");
    machine.run("systemctl restart nexudus-proxy.service");
    assert_eq!(machine.run_as(ALICE, &curl), "200");
    let journal = machine.journal("debug");
    assert!(journal.contains("session resumed"), "the key that was made is used: {journal}");
    assert!(!journal.contains("nexudus-totp-secret"), "no word about what is optional: {journal}");
}

/// Returns the commands of the page that lead to a service, and the call of its user.
pub(crate) fn commands() -> [String; 2] {
    let page = std::fs::read_to_string(source("docs/service.md")).unwrap();
    let (_, section) = page.split_once("\n## A service for the whole machine\n").unwrap();
    let blocks: Vec<_> = section.split("\n```sh\n").skip(1).collect();
    [0, 1].map(|at| blocks[at].split_once("```").unwrap().0.to_owned())
}

/// Starts a simulated Nexudus, and points the service at it in place of the real one, which the page
/// means.
pub(crate) fn beside_nexudus(machine: &Machine) -> Simulator {
    let nexudus = Simulator::builder().account(Account::new(EMAIL, PASSWORD)).start().unwrap();
    machine.write("/etc/ca.pem", nexudus.ca_pem());
    let variables = format!(
        "[Service]\nEnvironment=NEXUDUS_PROXY_UPSTREAM_ORIGIN=https://localhost:{}\n\
         Environment=NEXUDUS_PROXY_UPSTREAM_CA_FILE=/etc/ca.pem\n",
        nexudus.address().port()
    );
    machine.edit("nexudus-proxy.service", &variables);
    nexudus
}

/// Runs a shell text as root in the machine, in a terminal that answers the prompts for the login.
pub(crate) fn in_terminal(machine: &Machine, text: &str) -> String {
    let answers = [format!("E-mail:={EMAIL}"), format!("Password:={PASSWORD}")];
    let inner = machine.command(text);
    let mut command = Command::new("python3");
    command.arg(source("tests/cli/support/terminal.py")).arg("--when-hidden");
    command.args(answers).arg("--");
    command.arg(inner.get_program()).args(inner.get_args());
    let output = command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

pub(crate) fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
