//! Checks across keys: values that contradict each other or the machine.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Diagnostic;
use super::fleet;
use super::keys::KEYS;
use super::source::ValueSource;
use super::{Config, KeyStore, LoginSource, Rule, UnixSocket, UpstreamAuth};

/// Finds the errors of the configuration as a whole.
pub(super) fn validate(config: &Config, places: &[ValueSource], problems: &mut Vec<Diagnostic>) {
    let place = |key: &str| {
        let row = KEYS.iter().position(|entry| entry.path() == key);
        row.and_then(|row| places.get(row)).cloned().unwrap_or(ValueSource::Default)
    };
    check_addresses(config, place, problems);
    if config.listen.tcp.is_empty() && (config.listen.unix == UnixSocket::Off || !cfg!(unix)) {
        problems.push(Diagnostic::NoListener { place: place("listen.tcp") });
    }
    if let Some((key, address)) = duplicate_address(config) {
        problems.push(Diagnostic::DuplicateAddress {
            place: place(key),
            key: key.to_owned(),
            address,
        });
    }
    if config.upstream.auth == UpstreamAuth::Basic && !config.hosts.is_empty() {
        let key = "upstream.auth";
        problems.push(Diagnostic::PasswordToHosts { place: place(key), key: key.to_owned() });
    }
    check_commands(config, place, problems);
    fleet::check(config, place, problems);
    for (key, file) in
        [("upstream.ca_file", &config.upstream.ca_file), ("fleet.ca_file", &config.fleet.ca_file)]
    {
        if let Some(path) = file
            && let Err(source) = check_ca_file(path)
        {
            let (place, path) = (place(key), path.clone());
            problems.push(Diagnostic::CaFile { place, path, source });
        }
    }
}

/// Finds addresses that are not of this machine alone, where nothing allows them.
fn check_addresses(
    config: &Config,
    place: impl Fn(&str) -> ValueSource,
    problems: &mut Vec<Diagnostic>,
) {
    for (key, addresses) in config.tcp_addresses() {
        if key == "admin.health_listen" {
            continue;
        }
        // The admin surface has no client keys, so that it can never be exposed.
        let is_exposed = config.listen.expose && key != "admin.listen";
        for address in addresses {
            if !is_exposed && !address.ip().to_canonical().is_loopback() {
                problems.push(Diagnostic::Exposed {
                    place: place(key),
                    key: key.to_owned(),
                    address,
                });
            }
        }
    }
}

/// Finds sources that are a command where none is given.
fn check_commands(
    config: &Config,
    place: impl Fn(&str) -> ValueSource,
    problems: &mut Vec<Diagnostic>,
) {
    for (key, is_command, command, needs) in [
        (
            "credentials.source",
            config.credentials.source == LoginSource::Command,
            &config.credentials.command,
            "credentials.command",
        ),
        (
            "session.key",
            config.session.key == KeyStore::Command,
            &config.session.key_command,
            "session.key_command",
        ),
    ] {
        if is_command && command.is_empty() {
            problems.push(Diagnostic::MissingCommand {
                place: place(key),
                key: key.to_owned(),
                needs,
            });
        }
    }
}

fn duplicate_address(config: &Config) -> Option<(&'static str, SocketAddr)> {
    let mut seen = config.listen.tcp.clone();
    let all = config.tcp_addresses().into_iter().filter(|(key, _)| *key != "listen.tcp");
    let mut all = all.flat_map(|(key, addresses)| addresses.into_iter().map(move |it| (key, it)));
    all.find(|(_, address)| {
        let twice = address.port() != 0 && seen.contains(address);
        seen.push(*address);
        twice
    })
}

/// Checks that the file holds at least one certificate, and nothing that cannot be an anchor.
fn check_ca_file(path: &Path) -> Result<(), io::Error> {
    let bytes = fs::read(path)?;
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_| wrong("it is not valid PEM"))?;
        store.add(certificate).map_err(|_| wrong("it holds a certificate that is malformed"))?;
    }
    if store.is_empty() { Err(wrong("it holds no PEM certificate")) } else { Ok(()) }
}

/// Warns of rules that no request can match, and of those that another one makes superfluous.
pub(super) fn warn_useless_rules(key: &str, rules: &[Rule]) -> Vec<String> {
    let warn = |(at, rule): (usize, &Rule)| {
        if let Some(why) = rule.why_unmatchable() {
            return Some(format!("{key}: `{rule}` can never match: {why}"));
        }
        // Of two equal rules, the second is superfluous.
        let wider = rules.iter().enumerate().find(|(other, wider)| {
            wider.covers(rule) && *other != at && (*other < at || !rule.covers(wider))
        });
        wider
            .map(|(_, wider)| format!("{key}: `{rule}` can never match first: `{wider}` covers it"))
    };
    rules.iter().enumerate().filter_map(warn).collect()
}

/// Warns of a password that every user can read in the list of processes.
pub(super) fn warn_password_flag(config: &Config, places: &[ValueSource]) -> Option<String> {
    let row = KEYS.iter().position(|entry| entry.path() == "upstream.proxy")?;
    let Some(ValueSource::Flag(flag)) = places.get(row) else { return None };
    let has_password = config.upstream.proxy.redacted() != config.upstream.proxy.as_str();
    has_password.then(|| {
        let entry = &KEYS[row];
        format!(
            "{flag}: every user can read this login in the list of processes: put it into the file \
             ({}) or the environment ({})",
            entry.path(),
            entry.env_variable()
        )
    })
}

/// Warns of a file that others can write: it names programs that we run.
#[cfg(unix)]
pub(super) fn warn_world_writable(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let others = found.permissions().mode() & 0o002 != 0;
    others.then(|| format!("{} can be written by every user: chmod o-w it", path.display()))
}

/// Windows has no such bits.
#[cfg(not(unix))]
pub(super) fn warn_world_writable(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use crate::config::tests::sources;
    use crate::config::{Diagnostic, Error, UpstreamAuth};

    #[test]
    fn a_password_goes_to_no_other_host() {
        let host = "[[host]]\norigin = 'https://a.example'\nlisten = ['127.0.0.1:6399']\n";
        let basic = "[upstream]\nauth = 'basic'\n";
        let (_both, with_host) = sources(&format!("{basic}{host}"));
        let (_one, without) = sources(basic);

        let Error(problems) = with_host.load().unwrap_err();
        assert!(matches!(problems[..], [Diagnostic::PasswordToHosts { .. }]), "{problems:?}");
        assert_eq!(without.load().unwrap().config.upstream.auth, UpstreamAuth::Basic);
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let (directory, sources) = sources("[upstream]\nca_file = 'ca.pem'\n");
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

        for content in [None, Some(""), Some("hello"), Some(garbage)] {
            if let Some(content) = content {
                std::fs::write(directory.path().join("ca.pem"), content).unwrap();
            }
            let Error(problems) = sources.load().unwrap_err();
            assert!(
                matches!(problems[..], [Diagnostic::CaFile { .. }]),
                "{content:?}: {problems:?}"
            );
        }
    }

    #[test]
    fn a_ca_file_with_a_certificate_is_taken() {
        let (directory, sources) = sources("[upstream]\nca_file = 'ca.pem'\n");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, format!("a comment\n{CERTIFICATE}")).unwrap();

        assert_eq!(sources.load().unwrap().config.upstream.ca_file, Some(file));
    }

    /// Self-signed, its key thrown away.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUJNDFFzOvez13/CGc/fqWNCVUV7YwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjMwNDEyMTlaGA8yMTI2MTAzMDA0MTIx
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGfs
cez4b2v2YeTzE67RRnWLgGpFKNenW6J1MMSP3guy3xVmwWtEuLVgQdTIE2beemYJ
NQVeWARKYWVXEqIC9oajUzBRMB0GA1UdDgQWBBTTTOInHmWxTKiEBxJ9/HwrVzVU
bDAfBgNVHSMEGDAWgBTTTOInHmWxTKiEBxJ9/HwrVzVUbDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQDGg/jsx7RYcNioiUNiGuUPWT4ehPokEzZv
wsQkZWyO5gIhAPM7TEPN2+8jTJ0KpOZ776z9o90ZKjkyeI0w0IlDkx7d
-----END CERTIFICATE-----
";
}
