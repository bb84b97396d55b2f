//! How this program came onto the machine, as the files around it show.
//!
//! A package and an archive hold the same binary, so nothing that is compiled in can tell. No package
//! manager is asked: `rpm -qf` and `dpkg -S` take longer than everything else that the program does.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// How the program was installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Installation {
    /// By dpkg.
    Deb,
    /// By rpm.
    Rpm,
    /// By Homebrew.
    Homebrew,
    /// By `cargo install`.
    Cargo,
    /// By the install script.
    Script,
    /// As the program of the container image.
    Image,
    /// Unpacked from a release's archive, and run where it lies.
    Archive,
    /// In another way: copied by hand, or just built.
    Unknown,
}

impl Installation {
    /// Looks around the running program.
    pub(super) fn detect() -> Self {
        let program = std::env::current_exe().and_then(fs::canonicalize);
        program.map_or(Self::Unknown, |program| Self::of(&program, Path::new("/")))
    }

    /// Looks around `program`, on a machine whose files are below `root`.
    fn of(program: &Path, root: &Path) -> Self {
        let Some(directory) = program.parent() else { return Self::Unknown };
        // `bin` of a prefix, as in `/usr/bin`.
        let prefix = directory.parent().unwrap_or(directory);
        let below_root = program.strip_prefix(root).unwrap_or(program);
        let is_listed = |list: &Path, entry: &str| {
            fs::read_to_string(list).is_ok_and(|list| list.lines().any(|line| line == entry))
        };
        if is_listed(&root.join(DPKG_LIST), &format!("/{}", below_root.display())) {
            Self::Deb
        } else if is_packages_program(below_root, root) && has_rpm_database(root) {
            Self::Rpm
        } else if prefix.join("INSTALL_RECEIPT.json").is_file() {
            Self::Homebrew
        } else if is_cargos(prefix) {
            Self::Cargo
        } else if is_listed(&prefix.join(SCRIPT_LIST), "bin/nexudus-proxy") {
            Self::Script
        } else if below_root == Path::new("nexudus-proxy") {
            Self::Image
        } else if directory.join("completions").is_dir() && directory.join("LICENSE").is_file() {
            Self::Archive
        } else {
            Self::Unknown
        }
    }
}

/// Says whether the unit that only a package puts into `/usr/lib` runs this program.
fn is_packages_program(program: &Path, root: &Path) -> bool {
    let start = format!("ExecStart=/{} serve", program.display());
    fs::read_to_string(root.join(PACKAGED_UNIT))
        .is_ok_and(|unit| unit.lines().any(|line| line == start))
}

fn has_rpm_database(root: &Path) -> bool {
    RPM_DATABASES.iter().any(|place| root.join(place).is_dir())
}

/// Says whether cargo's record of what it has installed below `prefix` names us.
fn is_cargos(prefix: &Path) -> bool {
    fs::read_to_string(prefix.join(".crates.toml"))
        .is_ok_and(|record| record.lines().any(|line| line.starts_with("\"nexudus-proxy ")))
}

/// The files of the installed package, which dpkg writes.
const DPKG_LIST: &str = "var/lib/dpkg/info/nexudus-proxy.list";

/// The list that `install.sh` writes: one file a line, below the prefix.
const SCRIPT_LIST: &str = "share/nexudus-proxy/installed-files";

const PACKAGED_UNIT: &str = "usr/lib/systemd/system/nexudus-proxy.service";

/// Fedora's and openSUSE's place, and the older one.
const RPM_DATABASES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_around_the_program_tell_how_it_was_installed() {
        for (program, evidence, expected) in CASES {
            let root = tempfile::tempdir().unwrap();
            for (file, content) in *evidence {
                let file = root.path().join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, content).unwrap();
            }
            let program = root.path().join(program).join("nexudus-proxy");

            assert_eq!(
                Installation::of(&program, root.path()),
                *expected,
                "{program:?} {evidence:?}"
            );
        }
    }

    const UNIT: &str = "[Service]\nExecStart=/usr/bin/nexudus-proxy serve\n";

    /// The program's directory, files with their content, and what they tell.
    type Case = (&'static str, &'static [(&'static str, &'static str)], Installation);
    const CASES: &[Case] = &[
        ("usr/bin", &[(DPKG_LIST, "/.\n/usr/bin/nexudus-proxy\n")], Installation::Deb),
        // Another package's program is not ours, and a copy of ours is not the package's.
        ("usr/bin", &[(DPKG_LIST, "/usr/bin/nexudus-proxy2\n")], Installation::Unknown),
        ("usr/local/bin", &[(DPKG_LIST, "/usr/bin/nexudus-proxy\n")], Installation::Unknown),
        ("usr/bin", &[(PACKAGED_UNIT, UNIT), ("var/lib/rpm/rpmdb.sqlite", "")], Installation::Rpm),
        ("usr/local/bin", &[(PACKAGED_UNIT, UNIT), ("var/lib/rpm/x", "")], Installation::Unknown),
        ("usr/bin", &[(PACKAGED_UNIT, UNIT)], Installation::Unknown),
        (
            "opt/homebrew/Cellar/nexudus-proxy/0.1.0/bin",
            &[("opt/homebrew/Cellar/nexudus-proxy/0.1.0/INSTALL_RECEIPT.json", "{}")],
            Installation::Homebrew,
        ),
        (
            "home/ada/.cargo/bin",
            &[("home/ada/.cargo/.crates.toml", "[v1]\n\"nexudus-proxy 0.1.0 (x)\" = []\n")],
            Installation::Cargo,
        ),
        (
            "home/ada/.cargo/bin",
            &[("home/ada/.cargo/.crates.toml", "[v1]\n")],
            Installation::Unknown,
        ),
        (
            "home/ada/.local/bin",
            &[("home/ada/.local/share/nexudus-proxy/installed-files", "bin/nexudus-proxy\n")],
            Installation::Script,
        ),
        ("", &[], Installation::Image),
        ("opt/np", &[("opt/np/completions/x", ""), ("opt/np/LICENSE", "")], Installation::Archive),
        ("opt/np/target/debug", &[], Installation::Unknown),
    ];
}
