//! Certificates that a thief of the kept key would sign.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use constrained_ca::{Authority, Names};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// An authority for `localhost` and two addresses, and its key.
pub(crate) struct Stolen {
    pub(crate) authority: Authority,
    key: KeyPair,
    issuing: CertificateParams,
}

/// One certificate: its name as a file, the name that a client asks for, and what is in it.
struct Forgery {
    file: &'static str,
    asked_for: &'static str,
    names: Vec<SanType>,
    common_name: Option<&'static str>,
    purpose: ExtendedKeyUsagePurpose,
}

impl Stolen {
    pub(crate) fn new() -> Self {
        let ip = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let names = Names { dns: vec!["localhost".to_owned()], ip };
        let lifetime = Duration::from_secs(3600);
        let authority = Authority::create(names, "Test", SystemTime::now(), lifetime).unwrap();
        let stored = authority.to_secret_bytes();
        // The last field: PKCS #8 of a P-256 key, 138 bytes.
        let key = KeyPair::try_from(&stored[stored.len() - 138..]).unwrap();
        let mut issuing = CertificateParams::default();
        issuing.distinguished_name = DistinguishedName::new();
        issuing.distinguished_name.push(DnType::OrganizationName, "Test");
        let common_name = authority.root_name().replace("root", "issuing");
        issuing.distinguished_name.push(DnType::CommonName, common_name);
        issuing.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { authority, key, issuing }
    }

    /// Writes root, issuing certificate and every case into `folder`; `cases` lists them.
    pub(crate) fn write(&self, folder: &Path) {
        let write = |name: String, text: String| std::fs::write(folder.join(name), text).unwrap();
        write("root.pem".to_owned(), self.authority.root_pem());
        write("issuing.pem".to_owned(), self.authority.issuing_pem());
        let mut cases = String::new();
        for forgery in forgeries() {
            let Forgery { file, asked_for, .. } = forgery;
            let (certificate, key, above) = self.sign(forgery);
            write(format!("{file}.pem"), pem(&certificate));
            write(format!("{file}.key"), key_pem(&key));
            let below = above.iter().map(pem).collect::<String>();
            write(format!("{file}.above.pem"), below + &self.authority.issuing_pem());
            writeln!(cases, "{file} {asked_for}").unwrap();
        }
        write("cases".to_owned(), cases);
    }

    /// Signs with the kept key; in one case, with the key of an authority that it signs first.
    fn sign(&self, forgery: Forgery) -> (Certificate, KeyPair, Option<Certificate>) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.issuing, &self.key);
        if forgery.file != "authority" {
            return (params(forgery).signed_by(&key, &issuer).unwrap(), key, None);
        }
        let mut below = params(Forgery { common_name: Some("Below"), names: vec![], ..forgery });
        below.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        below.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let below_key = KeyPair::generate().unwrap();
        let above = below.signed_by(&below_key, &issuer).unwrap();
        let leaf = forgeries().into_iter().find(|it| it.file == "authority").unwrap();
        let issuer = Issuer::from_params(&below, &below_key);
        (params(leaf).signed_by(&key, &issuer).unwrap(), key, Some(above))
    }
}

/// Returns the only good certificate, and all others.
fn forgeries() -> Vec<Forgery> {
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, EmailProtection, ServerAuth};
    let case = |file, asked_for, names: &[SanType], purpose| {
        let names = names.to_vec();
        Forgery { file, asked_for, names, common_name: None, purpose }
    };
    let mail = || SanType::Rfc822Name("a@example.com".try_into().unwrap());
    let uri = || SanType::URI("https://example.com/".try_into().unwrap());
    let cn = Some("www.example.com");
    let alone = case("common-name", "www.example.com", &[], ServerAuth);
    vec![
        case("good", "localhost", &[dns("localhost")], ServerAuth),
        case("dns", "www.example.com", &[dns("www.example.com")], ServerAuth),
        case("dns-beside", "localhost", &[dns("localhost"), dns("example.com")], ServerAuth),
        case("wildcard", "www.example.com", &[dns("*.example.com")], ServerAuth),
        case("suffix", "evillocalhost", &[dns("evillocalhost")], ServerAuth),
        case("ipv4", "10.0.0.1", &[ip("10.0.0.1")], ServerAuth),
        case("ipv6", "2001:db8::1", &[ip("2001:db8::1")], ServerAuth),
        Forgery { common_name: cn, ..alone },
        case("mail-name", "localhost", &[dns("localhost"), mail()], ServerAuth),
        case("uri-name", "localhost", &[dns("localhost"), uri()], ServerAuth),
        case("mail", "localhost", &[mail()], EmailProtection),
        case("mail-purpose", "localhost", &[dns("localhost")], EmailProtection),
        case("code", "localhost", &[dns("localhost")], CodeSigning),
        case("client", "localhost", &[dns("localhost")], ClientAuth),
        case("authority", "localhost", &[dns("localhost")], ServerAuth),
    ]
}

fn params(forgery: Forgery) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(3000)).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    if let Some(name) = forgery.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = forgery.names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![forgery.purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(text: &str) -> SanType {
    SanType::IpAddress(text.parse::<IpAddr>().unwrap())
}

fn pem(certificate: &Certificate) -> String {
    armor("CERTIFICATE", certificate.der())
}

fn key_pem(key: &KeyPair) -> String {
    armor("PRIVATE KEY", key.serialized_der())
}

fn armor(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
