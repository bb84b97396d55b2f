//! The install script in a root that has busybox and nothing else: no bash, no coreutils, no user, no
//! network.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{PATH, text};

#[test]
fn busybox_is_enough_to_install_and_to_remove() {
    let root = root();

    let said = inside(&root, "/install.sh --from file:///release --prefix /usr");

    assert!(
        said.contains("\ninstalled /usr/bin/nexudus-proxy\nnext: nexudus-proxy login\n"),
        "{said}"
    );
    assert_eq!(inside(&root, "-c nexudus-proxy"), format!("{}\n", version()));
    let said = inside(&root, "/install.sh --uninstall --prefix /usr");
    assert!(said.contains("removed /usr/bin/nexudus-proxy\n"), "{said}");
    assert!(!root.path().join("usr/bin/nexudus-proxy").exists());
}

/// Makes a root with busybox under the names of its programs, the script and a release.
fn root() -> tempfile::TempDir {
    assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make test`");
    let root = tempfile::tempdir().unwrap();
    let place = |below: &str| root.path().join(below);
    for directory in ["bin", "tmp", "dev", "release"] {
        std::fs::create_dir(place(directory)).unwrap();
    }
    let busybox =
        ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|it| Path::new(it).exists());
    std::fs::copy(busybox.expect("scripts/prepare.sh installs busybox"), place("bin/busybox"))
        .unwrap();
    let programs = Command::new("busybox").arg("--list").output().unwrap();
    for program in text(&programs.stdout).lines().filter(|program| *program != "busybox") {
        symlink("busybox", place("bin").join(program)).unwrap();
    }
    // No device can be made everywhere: a file takes what the script throws away.
    std::fs::write(place("dev/null"), "").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/install.sh.in");
    let script = std::fs::read_to_string(script).unwrap();
    std::fs::write(place("install.sh"), script.replace("@VERSION@", env!("CARGO_PKG_VERSION")))
        .unwrap();
    release(&place("release"));
    root
}

fn release(directory: &Path) {
    let (version, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let name = format!("nexudus-proxy-{version}-{machine}-unknown-linux-musl");
    let program = directory.join(&name).join("nexudus-proxy");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\necho '{}'\n", self::version())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pack = format!("tar -czf {name}.tar.gz {name} && sha256sum {name}.tar.gz >SHA256SUMS");
    let packed = Command::new("sh").args(["-c", &pack]).current_dir(directory).status().unwrap();
    assert!(packed.success());
}

fn version() -> String {
    format!("nexudus-proxy {} (0 0)", env!("CARGO_PKG_VERSION"))
}

/// Runs busybox's shell in the root, without a network; returns what it prints.
fn inside(root: &tempfile::TempDir, arguments: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["--net", "--root"]).arg(root.path()).arg("/bin/sh");
    command.args(arguments.split(' ')).env_clear().env("PATH", format!("/usr/bin:/bin:{PATH}"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}
