//! The anchors that programs have trusted so far.

use std::ffi::OsString;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::run::variables;

/// Certificates, each once.
#[derive(Debug)]
pub(super) struct Anchors(Vec<CertificateDer<'static>>);

impl Anchors {
    /// Loads the system's, and those of the files that the variables of programs name: a company's
    /// authority often stands only there. `SSL_CERT_FILE` and `SSL_CERT_DIR` count as the system's.
    pub(super) fn load(environment: &impl Fn(&str) -> Option<OsString>) -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a trust anchor of the system was skipped");
        }
        let mut all = found.certs;
        if all.is_empty() {
            all.extend(bundled(environment));
        }
        let names = variables::BUNDLE_NAMES.iter().chain(&variables::ADDED_ANCHOR_NAMES);
        let named = names.filter_map(|name| environment(name));
        for file in named {
            all.extend(read(Path::new(&file)));
        }
        all.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        all.dedup();
        Self(all)
    }

    /// Returns the certificates.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }

    /// Returns all in PEM, and `root` with them.
    pub(super) fn bundle(&self, root: &str) -> Vec<u8> {
        self.0.iter().map(pem).chain([root.to_owned()]).collect::<String>().into_bytes()
    }

    /// Returns what is added to the anchors that Node and Deno have themselves.
    pub(super) fn additions(
        &self,
        root: &str,
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> Vec<u8> {
        let before = variables::ADDED_ANCHOR_NAMES.iter().filter_map(|name| environment(name));
        let before = before.flat_map(|file| read(Path::new(&file)));
        before.map(|it| pem(&it)).chain([root.to_owned()]).collect::<String>().into_bytes()
    }
}

/// Reads the certificates of a file. A program that is told a file without any trusts none, and says
/// so; here the others count.
fn read(file: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file);
    found.map(|found| found.filter_map(Result::ok).collect()).unwrap_or_default()
}

fn pem(certificate: &CertificateDer<'static>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// Returns Mozilla's, for a system without any whose owner has named none.
#[cfg(target_os = "linux")]
fn bundled(environment: &impl Fn(&str) -> Option<OsString>) -> Vec<CertificateDer<'static>> {
    let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
    let names = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    if names.into_iter().any(is_set) {
        vec![]
    } else {
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec()
    }
}

/// Returns none: macOS always has anchors.
#[cfg(not(target_os = "linux"))]
fn bundled(_: &impl Fn(&str) -> Option<OsString>) -> Vec<CertificateDer<'static>> {
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_added_stays_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let company = CertificateDer::from(vec![0x30, 0x03, 0x01, 0x01, 0x00]);
        let file = directory.path().join("company.pem");
        std::fs::write(&file, pem(&company)).unwrap();
        let environment = |name: &str| (name == "REQUESTS_CA_BUNDLE").then(|| file.clone().into());

        let anchors = Anchors::load(&environment);

        assert!(anchors.certificates().any(|it| *it == company));
        let bundle = String::from_utf8(anchors.bundle("ROOT\n")).unwrap();
        assert!(bundle.contains(&pem(&company)) && bundle.ends_with("ROOT\n"));
        assert_eq!(anchors.additions("ROOT\n", &environment), b"ROOT\n");
        let environment = |name: &str| (name == "NODE_EXTRA_CA_CERTS").then(|| file.clone().into());
        let additions = anchors.additions("ROOT\n", &environment);
        assert_eq!(additions, format!("{}ROOT\n", pem(&company)).into_bytes());
    }
}
