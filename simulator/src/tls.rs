//! A certificate authority made at start, and the server certificate it signs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The fault of the server's certificate, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing.
    #[default]
    Good,
    /// Expired yesterday.
    Expired,
    /// Valid for `elsewhere.example.test` only.
    WrongName,
    /// Signed by another authority than [`ca_pem`](crate::Simulator::ca_pem).
    UnknownCa,
}

/// Protocols that clients are offered in the TLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    #[default]
    Both,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// The server does not speak ALPN.
    None,
}

/// A configuration and the authority that vouches for it.
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificate generation failed, for instance for a name that is none.
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the result.
    #[error("could not set up TLS")]
    Config(#[from] rustls::Error),
}

pub(crate) fn make_certificate(
    certificate: Certificate,
    alpn: Alpn,
    extra_names: &[String],
) -> Result<Identity, TlsError> {
    let (ca_pem, authority) = authority()?;
    let authority = match certificate {
        Certificate::UnknownCa => self::authority()?.1,
        Certificate::Good | Certificate::Expired | Certificate::WrongName => authority,
    };
    let names = match certificate {
        Certificate::WrongName => vec!["elsewhere.example.test".to_owned()],
        Certificate::Good | Certificate::Expired | Certificate::UnknownCa => {
            let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            own.into_iter().chain(extra_names.iter().cloned()).collect()
        }
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Nexudus simulator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    let until = if certificate == Certificate::Expired { now - DAY } else { now + 397 * DAY };
    params.not_before = (now - 2 * DAY).into();
    params.not_after = until.into();
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &authority)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)?;
    server.alpn_protocols = match alpn {
        Alpn::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
        Alpn::None => Vec::new(),
    };
    Ok(Identity { ca_pem, server: Arc::new(server) })
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>), TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Nexudus simulator CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - 2 * DAY).into();
    params.not_after = (SystemTime::now() + 397 * DAY).into();
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

const DAY: Duration = Duration::from_secs(86_400);
