//! `install.sh` of a release, run with a release that a test makes: what is installed, what is removed,
//! and that a download that is not the release's changes nothing.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, home};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn it_installs_says_each_file_and_removes_exactly_those() {
    let place = Place::new();
    let other = place.home.write(".local/bin/other", "x");

    let said = place.run("");

    let sum = place.sum();
    let expected = [
        &format!(
            "downloading file://~/release/SHA256SUMS\ndownloading file://~/release/{}\n",
            archive()
        ),
        &format!("the checksum is right: {sum}\n"),
        "installed ~/.local/share/bash-completion/completions/nexudus-proxy\n",
        "installed ~/.local/share/man/man1/nexudus-proxy.1\n",
        "installed ~/.local/share/doc/nexudus-proxy/LICENSE\n",
        "installed ~/.local/bin/nexudus-proxy\n",
        "next: ~/.local/bin/nexudus-proxy login (that directory is not in your PATH)\n",
        "=> 0\n",
    ];
    assert_eq!(said, expected.concat());
    let program = place.home.path(".local/bin/nexudus-proxy");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        fs::read_to_string(place.home.path(".local/share/nexudus-proxy/installed-files")).unwrap(),
        "share/bash-completion/completions/nexudus-proxy\n\
         share/man/man1/nexudus-proxy.1\n\
         share/doc/nexudus-proxy/LICENSE\n\
         bin/nexudus-proxy\n"
    );

    let said = place.run("--uninstall");

    assert!(said.starts_with("removed ~/.local/share/bash-completion/"), "{said}");
    assert!(said.ends_with("how those are removed)\n=> 0\n"), "{said}");
    assert_eq!(files(&place.home.path(".local")).into_keys().collect::<Vec<_>>(), [other]);
    assert_eq!(
        place.run("--uninstall"),
        "! error: this script has installed nothing below ~/.local\n\
         ! hint: Name the directory with --prefix.\n\
         => 1\n"
    );
}

#[test]
fn an_update_takes_away_what_the_new_version_does_not_have() {
    let place = Place::new();
    place.run("");
    fs::remove_file(place.home.path(format!("release/{}/nexudus-proxy.1", name()).as_str()))
        .unwrap();
    place.pack();

    let said = place.run("");

    assert!(said.contains("\nremoved ~/.local/share/man/man1/nexudus-proxy.1\n"), "{said}");
    assert!(!place.home.path(".local/share/man/man1/nexudus-proxy.1").exists());
    assert!(place.run("--uninstall").ends_with("=> 0\n"));
    assert!(files(&place.home.path(".local")).is_empty());
}

/// With an earlier version in place, and with none.
#[test]
fn a_download_that_is_not_the_release_changes_nothing() {
    for is_update in [false, true] {
        for by in ["file", "curl", "wget"] {
            let place = Place::new();
            place.add_downloader(by);
            if is_update {
                assert!(place.run("").ends_with("=> 0\n"), "{by}");
            }
            let before = files(&place.home.path(".local"));
            for (what, spoil, told) in SPOILS {
                place.pack();
                spoil(&place);

                let said = place.run("");

                assert!(said.ends_with("=> 1\n") && said.contains(told), "{what} by {by}: {said}");
                assert_eq!(files(&place.home.path(".local")), before, "{what} by {by}: {said}");
                let left = fs::read_dir(place.home.path("tmp")).unwrap().count();
                assert_eq!(left, 0, "{what} by {by}");
            }
        }
    }
}

/// What is wrong with a release, and what is said of that.
type Spoil = (&'static str, fn(&Place), &'static str);
const SPOILS: [Spoil; 8] = [
    ("a wrong checksum", |it| it.put(SUMS, wrong_sum()), WRONG),
    ("half of the archive", Place::truncate, WRONG),
    ("a page instead of the archive", |it| it.put(&archive(), HTML), WRONG),
    ("a page instead of the checksums", |it| it.put(SUMS, HTML), "SHA256SUMS has no checksum of "),
    ("no checksums", |it| it.remove(SUMS), "could not download "),
    ("no archive", |it| it.remove(&archive()), "could not download "),
    ("another version", |it| it.pack_version("9.9.9"), "the program does not run on this machine"),
    ("a page with its checksum", Place::publish_page, "cannot be unpacked"),
];
const WRONG: &str = "has a wrong checksum; nothing was installed";
const SUMS: &str = "SHA256SUMS";
const HTML: &str = "<!DOCTYPE html><html><body>Sign in to the network</body></html>\n";

fn wrong_sum() -> String {
    format!("{}  {}\n", "0".repeat(64), archive())
}

#[test]
fn half_of_the_script_does_nothing_and_unsafe_sources_are_refused() {
    let place = Place::new();
    let script = fs::read_to_string(place.home.path("install.sh")).unwrap();
    let without_the_end = script.strip_suffix("main \"$@\"\n").unwrap();
    place.home.write("install.sh", without_the_end);
    assert_eq!(place.run(""), "=> 0\n");
    assert!(!place.home.path(".local").exists());

    place.home.write("install.sh", &script);
    for (arguments, told) in [
        ("--from http://127.0.0.1:1", "--from must begin with https:// or file:///"),
        ("--from release", "--from must begin with https:// or file:///"),
        ("--prefix relative", "--prefix must be an absolute path: relative"),
        ("--from", "--from needs a value"),
        ("--yes", "unknown argument: --yes"),
    ] {
        let said = place.run(arguments);
        assert!(said.contains(told) && said.ends_with("=> 1\n"), "{arguments}: {said}");
    }
    // A list that leads out of the prefix.
    let outside = place.home.write("precious", "x");
    place.home.write(".local/share/nexudus-proxy/installed-files", "../precious\n");
    let said = place.run("--uninstall");
    assert!(said.contains("names a file that is not below ~/.local: ../precious"), "{said}");
    assert!(outside.exists());
}

#[test]
fn the_lines_of_the_documents_install() {
    for document in ["README.md", "docs/install.md"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let page = fs::read_to_string(page).unwrap();
        let block = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(block.lines().count(), 2, "{block}");
        let place = Place::new();
        place.add_downloader("curl");
        fs::rename(place.home.path("install.sh"), place.home.path("release/install.sh")).unwrap();
        let mut command = Command::new(found("dash"));
        command.args(["-euc", block]).env_clear().current_dir(place.home.root());
        command.env("HOME", place.home.root()).env("PATH", place.home.path("bin"));

        let said = place.home.transcript(command.env("TMPDIR", place.home.path("tmp")));

        assert!(said.ends_with("=> 0\n"), "{document}: {said}");
        assert!(place.home.path(".local/bin/nexudus-proxy").exists(), "{document}: {said}");
    }
}

/// In a root that has busybox and nothing else, by its shell; `tests/system` has the real package.
#[test]
fn the_script_is_portable_shell() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/install.sh.in");
    for checker in ["shellcheck --shell=sh", "dash -n", "busybox sh -n"] {
        let mut words = checker.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).arg(&script).output();
        let output = output.unwrap_or_else(|error| panic!("{checker}: {error}"));
        assert!(output.status.success(), "{checker}: {}", String::from_utf8_lossy(&output.stdout));
    }
    for shell in ["dash", "busybox sh", "bash"] {
        let place = Place { shell, ..Place::new() };

        assert!(place.run("").ends_with("=> 0\n"), "{shell}");
        assert!(place.run("--uninstall").ends_with("=> 0\n"), "{shell}");
        assert!(files(&place.home.path(".local")).is_empty(), "{shell}");
    }
}

/// A home with a release in it, and a `PATH` of only what the script may use.
struct Place {
    home: Home,
    shell: &'static str,
}

impl Place {
    fn new() -> Self {
        let home = home();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/install.sh.in");
        let script = fs::read_to_string(script).unwrap().replace("@VERSION@", VERSION);
        home.write("install.sh", script);
        fs::create_dir_all(home.path("tmp")).unwrap();
        fs::create_dir_all(home.path("bin")).unwrap();
        for tool in TOOLS.split(' ') {
            symlink(found(tool), home.path("bin").join(tool)).unwrap();
        }
        let place = Self { home, shell: "dash" };
        place.pack();
        place
    }

    /// Makes the archive and its checksum.
    fn pack(&self) {
        self.pack_version(VERSION);
    }

    fn pack_version(&self, version: &str) {
        let root = format!("release/{}", name());
        let is_first = !self.home.path("release").exists();
        let program = format!("#!/bin/sh\necho 'nexudus-proxy {version} (0 0)'\n");
        let program = self.home.write(&format!("{root}/nexudus-proxy"), program);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let rest = ["nexudus-proxy.1", "completions/nexudus-proxy.bash", "LICENSE", "README.md"];
        for file in rest.iter().filter(|_| is_first) {
            self.home.write(&format!("{root}/{file}"), *file);
        }
        let packing = Command::new("tar")
            .args(["-czf", &archive(), &name()])
            .current_dir(self.home.path("release"))
            .status();
        assert!(packing.unwrap().success());
        self.write_sums();
    }

    /// Replaces a file of the release.
    fn put(&self, file: &str, content: impl AsRef<[u8]>) {
        self.home.write(&format!("release/{file}"), content);
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.home.path("release").join(file)).unwrap();
    }

    fn truncate(&self) {
        let whole = fs::read(self.home.path("release").join(archive())).unwrap();
        self.put(&archive(), &whole[..whole.len() / 2]);
    }

    fn publish_page(&self) {
        self.put(&archive(), HTML);
        self.write_sums();
    }

    fn write_sums(&self) {
        let sums = format!("{}  another\n{}  {}\n", "1".repeat(64), self.sum(), archive());
        self.home.write("release/SHA256SUMS", sums);
    }

    fn sum(&self) -> String {
        let output =
            Command::new("sha256sum").arg(self.home.path("release").join(archive())).output();
        String::from_utf8(output.unwrap().stdout).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Puts a downloader in place: it answers as the real one does where a file is missing.
    fn add_downloader(&self, name: &str) {
        let script = match name {
            "curl" => CURL,
            "wget" => WGET,
            _ => return,
        };
        let path = self.home.write(&format!("bin/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &str) -> String {
        let mut shell = self.shell.split(' ');
        let mut command = Command::new(found(shell.next().unwrap()));
        command.args(shell).arg(self.home.path("install.sh")).args(arguments.split_whitespace());
        let has_downloader =
            ["curl", "wget"].iter().any(|it| self.home.path("bin").join(it).exists());
        if !arguments.contains("--from") && !arguments.contains("--uninstall") && !has_downloader {
            command.arg("--from").arg(format!("file://{}", self.home.path("release").display()));
        }
        command.env_clear().env("HOME", self.home.root()).env("PATH", self.home.path("bin"));
        command.env("TMPDIR", self.home.path("tmp")).current_dir(self.home.root());
        self.home.transcript(&mut command)
    }
}

/// Loads what is in `~/release`, over https alone, and fails as the real one where a file is missing.
const CURL: &str = r#"#!/bin/sh
for url; do :; done
case $url in https://github.com/*) ;; *) exit 1 ;; esac
out=${url##*/}
while [ $# -gt 1 ]; do
  [ "$1" != -o ] || out=$2
  shift
done
cat "$HOME/release/${url##*/}" >"$out" 2>/dev/null || exit 22
"#;

/// The same.
const WGET: &str = r#"#!/bin/sh
for url; do :; done
case $url in https://github.com/*) ;; *) exit 4 ;; esac
while [ $# -gt 1 ]; do
  [ "$1" != -O ] || out=$2
  shift
done
cat "$HOME/release/${url##*/}" >"$out" 2>/dev/null || exit 8
"#;

/// What the script runs.
const TOOLS: &str =
    "awk cat chmod cp cut grep gzip mkdir mktemp mv rm rmdir sh sha256sum tar uname";

fn found(tool: &str) -> PathBuf {
    let places = ["/usr/bin", "/bin", "/usr/sbin"].map(|place| Path::new(place).join(tool));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{tool} is not here"))
}

fn name() -> String {
    format!("nexudus-proxy-{VERSION}-{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn archive() -> String {
    format!("{}.tar.gz", name())
}

/// Returns every file below a directory with its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(_) | Err(_) => BTreeMap::from([(entry.path(), fs::read(entry.path()).unwrap())]),
        })
        .collect()
}
