//! What six verifiers say about certificates that were signed with the kept key.
//!
//! Each is given the root as its only anchor, and asked about each certificate and each purpose
//! that it can check. Only the good certificate, as a server's, is accepted.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod forgery;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use self::forgery::Stolen;

/// Has one verifier judge all cases for so many purposes.
fn judge(purposes: usize, verifier: impl FnOnce(&Path) -> String) {
    judge_but(purposes, &[], verifier);
}

/// As [`judge`], with the purposes that one verifier does not look for above the certificate.
fn judge_but(purposes: usize, unchecked: &[[&str; 3]], verifier: impl FnOnce(&Path) -> String) {
    let folder = tempfile::tempdir().unwrap();
    Stolen::new().write(folder.path());

    let printed = verifier(folder.path());

    let verdicts: Vec<Vec<&str>> =
        printed.lines().map(|line| line.splitn(4, ' ').collect()).collect();
    let judged: BTreeSet<_> = verdicts.iter().map(|verdict| (verdict[0], verdict[1])).collect();
    assert_eq!(judged.len(), CASES * purposes, "{printed}");
    let accepted: Vec<_> = verdicts.iter().filter(|it| it[2] != "refused").collect();
    let expected: Vec<_> = [["good", "server", "accepted"]].iter().chain(unchecked).collect();
    assert_eq!(accepted, expected, "{printed}");
}

/// How many certificates there are.
const CASES: usize = 15;

#[test]
fn openssl_refuses_all_but_the_names() {
    let openssl = program("openssl").to_str().unwrap().to_owned();
    judge(4, |folder| script(folder, "openssl.sh", &[&openssl]));
}

#[test]
fn nss_refuses_all_but_the_names() {
    let certutil = program("certutil").to_str().unwrap().to_owned();
    judge(5, |folder| script(folder, "nss.sh", &[&certutil]));
}

#[test]
fn node_refuses_all_but_the_names() {
    judge(1, |folder| run(Command::new(program("node")).arg(here("verify.js")).arg(folder)));
}

#[test]
fn java_refuses_all_but_the_names() {
    // Java looks for the purpose in the certificate itself alone. The name is still the authority's.
    let unchecked = [["client", "client", "accepted"]];
    judge_but(2, &unchecked, |folder| {
        run(Command::new(program("java")).arg(here("Verify.java")).arg(folder))
    });
}

#[test]
fn go_refuses_all_but_the_names() {
    judge(4, |folder| {
        let mut go = Command::new(program("go"));
        // What has been compiled once stays.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        run(go.env("GOCACHE", cache).arg("run").arg(here("verify.go")).arg(folder))
    });
}

#[test]
fn rustls_refuses_all_but_the_names() {
    judge(2, |folder| {
        let cases = std::fs::read_to_string(folder.join("cases")).unwrap();
        let cases = cases.lines().map(|line| line.split_once(' ').unwrap());
        cases
            .flat_map(|(file, name)| {
                [("server", KeyUsage::server_auth()), ("client", KeyUsage::client_auth())].map(
                    |(purpose, usage)| {
                        let verdict = match webpki_accepts(folder, file, name, usage) {
                            Ok(()) => "accepted".to_owned(),
                            Err(error) => format!("refused {error}"),
                        };
                        format!("{file} {purpose} {verdict}\n")
                    },
                )
            })
            .collect()
    });
}

fn webpki_accepts(
    folder: &Path,
    file: &str,
    name: &str,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let read = |name: String| CertificateDer::from_pem_file(folder.join(name)).unwrap();
    let root = read("root.pem".to_owned());
    let leaf = read(format!("{file}.pem"));
    let above = CertificateDer::pem_file_iter(folder.join(format!("{file}.above.pem"))).unwrap();
    let above: Vec<_> = above.map(Result::unwrap).collect();
    let anchors = [anchor_from_trusted_cert(&root)?];
    let leaf = EndEntityCert::try_from(&leaf)?;
    let now = UnixTime::now();
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &above, now, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
}

fn script(folder: &Path, name: &str, arguments: &[&str]) -> String {
    run(Command::new("sh").arg(here(name)).args(arguments).current_dir(folder))
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifiers").join(name)
}

/// Returns the path of a program that `scripts/prepare.sh` installs.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: `make prepare` installs it"))
}
