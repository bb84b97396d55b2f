//! The packages, installed, used, upgraded and removed. `make check-packages` builds and tests them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use nexudus_simulator::Simulator;

use crate::machine::{ALICE, BOB, Machine, PASSWORD, Said, machine};
use crate::restarts::Client;
use crate::service_page::{beside_nexudus, commands, in_terminal, source};
use crate::shared::eventually;

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn the_deb_is_installed_used_upgraded_under_load_and_purged_without_a_trace() {
    let machine = machine();
    machine.run("umount /usr/local/bin/nexudus-proxy; rm /usr/local/bin/nexudus-proxy");
    let before = files(&machine);
    let package = artefact("_amd64.deb");
    let name = package.file_name().unwrap().to_str().unwrap();
    machine.write(&format!("/srv/{name}"), std::fs::read(&package).unwrap());
    machine.write("/srv/previous.deb", std::fs::read(previous(&package).path).unwrap());

    machine.run("apt-get install --yes --quiet /srv/previous.deb 2>&1");
    let state = "systemctl is-active nexudus-proxy.service nexudus-proxy.socket; \
                 systemctl is-enabled nexudus-proxy.service nexudus-proxy.socket; \
                 find /etc/systemd -name '*nexudus*'";
    let nothing = "inactive\ninactive\ndisabled\ndisabled\n";
    assert_eq!(machine.tried(state).out, nothing, "it neither starts nor enables anything");
    machine.run("nexudus-proxy config check --config /etc/nexudus-proxy/config.toml");

    let nexudus = beside_nexudus(&machine);
    let [commands, call] = commands();
    let (copies, commands) = commands.split_once('\n').unwrap();
    assert!(copies.starts_with("install -m 755 nexudus-proxy "), "the package does that: {copies}");
    let shown = in_terminal(&machine, &format!("set -e\n{commands}"));
    assert!(shown.contains("unchanged /usr/lib/systemd/system/nexudus-proxy.service"), "{shown}");
    assert!(!shown.contains("wrote /etc/systemd") && !shown.contains(PASSWORD), "{shown}");
    let curl = format!("{} -s -o /dev/null -w '%{{http_code}}'", call.trim());
    assert_eq!(machine.run_as(ALICE, &curl), "200");
    assert_eq!(machine.run_as(BOB, &curl), "403");

    upgrade_under_load(&machine, &nexudus);
    let configuration = machine.run("cat /etc/nexudus-proxy/config.toml");
    assert!(configuration.contains("alice"), "the upgrade keeps what was written");

    machine.run("apt-get remove --yes --quiet nexudus-proxy 2>&1");
    assert_eq!(machine.get(ALICE, "/api/auth/me"), "000");
    assert_eq!(machine.run("cat /etc/nexudus-proxy/config.toml"), configuration);
    let purged = "DEBIAN_FRONTEND=noninteractive apt-get purge --yes --quiet nexudus-proxy 2>&1";
    machine.run(purged);
    // The authority of the simulated Nexudus.
    machine.run("rm /etc/ca.pem");

    let after = files(&machine);
    let left: Vec<_> = after.difference(&before).map(String::as_str).collect();
    let unexpected: Vec<_> = left.iter().filter(|path| !OF_SYSTEMD.contains(path)).collect();
    assert!(unexpected.is_empty(), "the purge leaves {unexpected:?}");
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.is_empty(), "the purge takes what is not ours: {gone:?}");
}

fn upgrade_under_load(machine: &Machine, nexudus: &Simulator) {
    let clients = [Client::requests_session(), Client::node_agent(), Client::curl()];
    eventually("they are at work", || nexudus.requests().len() > 30);
    let first = machine.service("MainPID");
    // As the pages have it: nothing is to be answered, and root needs no sudo.
    let line = install_line("apt");
    machine.run(&format!("cd /srv; {line} </dev/null 2>&1"));
    assert_ne!(machine.service("MainPID"), first, "the upgrade restarts what runs");
    let seen = nexudus.requests().len();
    eventually("they go on", || nexudus.requests().len() > seen + 30);
    for report in clients.map(Client::end) {
        assert!(report.failed.is_empty(), "{}: {:?}", report.name, report.failed);
        assert!(report.done > 10, "{} was at work: {}", report.name, report.done);
    }
    assert_eq!(nexudus.token_calls().len(), 1, "the new version resumes the session");
}

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn lintian_and_rpmlint_find_no_error() {
    let lintian = say("lintian", &["--tag-display-limit", "0"], &artefact("_amd64.deb"));
    assert_eq!((lintian.code, lintian.out.contains("E: ")), (0, false), "{lintian:?}");

    let filters = source("packaging/rpm/rpmlint.toml");
    let words = ["--config", filters.to_str().unwrap()];
    let rpmlint = say("rpmlint", &words, &artefact(".x86_64.rpm"));
    assert!(rpmlint.out.contains(" 0 errors, "), "{rpmlint:?}");
}

#[test]
#[ignore = "takes the packages: make check-packages runs it"]
fn the_rpm_installs_the_files_of_the_deb() {
    let root = tempfile::tempdir().unwrap();
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        Said::by(command.arg("--root").arg(root.path()).args(words))
    };
    assert_eq!(rpm(&["--initdb"]).code, 0);
    // An empty root has no shell for the scripts and no library that another package would bring.
    let package = artefact(".x86_64.rpm");
    let words = ["--install", "--nodeps", "--noscripts", package.to_str().unwrap()];
    let installed = rpm(&words);
    assert_eq!(installed.code, 0, "{installed:?}");
    assert!(root.path().join("usr/bin/nexudus-proxy").exists());

    let files = rpm(&["--query", "--list", "nexudus-proxy"]);
    let of_rpm: BTreeSet<_> = files.out.lines().map(str::to_owned).collect();
    let listed = say("dpkg-deb", &["--contents"], &artefact("_amd64.deb"));
    let of_deb = listed.out.lines().filter(|line| !line.starts_with('d'));
    let of_deb = of_deb.map(|line| format!("/{}", line.split("./").nth(1).unwrap()));
    // The changelog of the packaging, which Debian wants beside the program's own.
    let of_deb = of_deb.filter(|path| !path.ends_with("/changelog.Debian.gz"));
    let of_deb: BTreeSet<_> = of_deb.map(|path| path_of_rpm(&path)).collect();
    assert_eq!(of_rpm, of_deb);
    let configured = rpm(&["--query", "--configfiles", "nexudus-proxy"]).out;
    assert_eq!(configured, "/etc/nexudus-proxy/config.toml\n");
}

/// Returns the line of the README by which a package manager installs the package; docs/install.md has
/// the same one.
fn install_line(manager: &str) -> String {
    let page = |name| std::fs::read_to_string(source(name)).unwrap();
    let beginning = format!("sudo {manager} install ");
    let page_line = page("README.md")
        .split('`')
        .find(|span| span.starts_with(&beginning))
        .unwrap_or_else(|| panic!("README.md has no `{beginning}…`"))
        .to_owned();
    let lines = page("docs/install.md");
    let line = lines.lines().find(|line| line.starts_with(&beginning));
    let line = line.map(|line| line.split('#').next().unwrap_or_default().trim());
    assert_eq!(line, Some(&*page_line), "the two pages differ");
    page_line.strip_prefix("sudo ").unwrap().to_owned()
}

/// The lines need no package to be compared.
#[test]
fn both_pages_install_a_package_by_the_same_line() {
    assert_eq!(install_line("apt"), "apt install ./nexudus-proxy_*_amd64.deb");
    assert_eq!(install_line("dnf"), "dnf install ./nexudus-proxy-*.x86_64.rpm");
}

/// Returns where an rpm has a file of the deb: the places differ by each family's policy.
fn path_of_rpm(path: &str) -> String {
    match path {
        "/usr/share/doc/nexudus-proxy/copyright" => "/usr/share/licenses/nexudus-proxy/LICENSE",
        "/usr/share/zsh/vendor-completions/_nexudus-proxy" => {
            "/usr/share/zsh/site-functions/_nexudus-proxy"
        }
        same => same,
    }
    .to_owned()
}

/// Returns the one file of `dist/` whose name ends like this.
pub(crate) fn artefact(end: &str) -> PathBuf {
    let entries = std::fs::read_dir(source("dist")).expect("build the packages first: make dist");
    let paths = entries.map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "one {end} in dist/: {found:?}");
    found.into_iter().next().unwrap()
}

/// A package that is older by its version alone.
struct Previous {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn previous(package: &Path) -> Previous {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("previous.deb");
    let script = "set -e; dpkg-deb --raw-extract \"$1\" tree
                  sed -i 's/^Version: .*/Version: 0.0.1-1/' tree/DEBIAN/control
                  dpkg-deb --build -Znone --root-owner-group tree \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(package).arg(&path).current_dir(directory.path());
    let said = Said::by(&mut command);
    assert_eq!(said.code, 0, "{said:?}");
    Previous { path, _directory: directory }
}

/// Returns every file of the machine that a package could leave behind.
fn files(machine: &Machine) -> BTreeSet<String> {
    let found = machine.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /srv \
         -o -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg \
         -o -path /var/tmp -o -path /var/lib/systemd/timers \\) -prune -o -print; \
         find /var/lib/dpkg /run /etc -name '*nexudus*'",
    );
    found.lines().map(str::to_owned).collect()
}

fn say(program: &str, words: &[&str], package: &Path) -> Said {
    Said::by(Command::new(program).args(words).arg(package))
}

/// What systemd itself keeps: the directory that the page makes for it, the key of this machine's
/// credentials, and the parent of the directories of dynamic users.
const OF_SYSTEMD: [&str; 3] =
    ["/etc/credstore.encrypted", "/var/lib/systemd/credential.secret", "/var/lib/private"];
