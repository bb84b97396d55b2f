//! The TLS configuration of outgoing connections: the system's trust anchors and the configured
//! ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with extra trust anchors could not be used.
    #[error("could not read the certificates in {}", path.display())]
    CaFile {
        /// `upstream.ca_file`.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file with extra trust anchors holds no certificate.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// `upstream.ca_file`.
        path: PathBuf,
    },
    /// The system has no trust anchors, or one is broken.
    #[error("could not load the trust anchors")]
    Anchors(#[source] rustls::Error),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::CaFile { .. } | Self::NoCertificate { .. } | Self::Anchors(_) => {
                ProblemKind::ConfigInvalid.with_hint(
                    "Install the system's certificates (ca-certificates), or name a PEM file with \
                     upstream.ca_file.",
                )
            }
        }
    }
}

/// Makes the TLS configuration of every outgoing connection: TLS 1.2 or 1.3, always with
/// verification.
///
/// # Errors
///
/// When `ca_file` cannot be read or holds no certificate, and when there is no trust anchor at all.
pub fn load_tls_config(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Error> {
    let provider = provider();
    let extra = ca_file.map(load_certificates).transpose()?.unwrap_or_default();
    let of_system = Verifier::new(provider.clone());
    let bundled = if of_system.is_err() { bundled_anchors() } else { &[] };
    let verifier = match of_system {
        Ok(verifier) if extra.is_empty() => verifier,
        Ok(_) | Err(_) => {
            let anchors = extra.into_iter().chain(bundled.iter().cloned());
            Verifier::new_with_extra_roots(anchors, provider.clone()).map_err(Error::Anchors)?
        }
    };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Anchors)?
        .dangerous() // The platform's verifier with our anchors; no weaker than rustls' own.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Returns Mozilla's trust anchors, for a system that has none: a static program alone in a root
/// directory.
///
/// Returns none if a variable names the system's anchors: its owner wants those and no others, even
/// if the file is missing.
#[cfg(target_os = "linux")]
fn bundled_anchors() -> &'static [CertificateDer<'static>] {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("SSL_CERT_FILE") || is_set("SSL_CERT_DIR") {
        return &[];
    }
    tracing::info!("this system has no trust anchors: using those of Mozilla that the program has");
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
}

/// Returns none: macOS and Windows verify certificates themselves.
#[cfg(not(target_os = "linux"))]
fn bundled_anchors() -> &'static [CertificateDer<'static>] {
    &[]
}

/// Chooses the cryptography; no other function does.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::CaFile { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}
