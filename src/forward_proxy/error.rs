//! Why the forward proxy refuses a request, or cannot reach its host.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::upstream::HttpProxyError;

/// Why a request did not get through.
///
/// Nothing of what the client sent is in the text: the host may be a secret of its own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The target is no `host:port`.
    #[error("the target is not a host and a port")]
    Target,
    /// The target is a path.
    #[error("this address is a forward proxy, and the target names no host")]
    NoHost,
    /// A `CONNECT` with a body, which could be read as the tunnel's first bytes.
    #[error("a CONNECT request has a body")]
    Body,
    /// Two `Host` headers.
    #[error("the request has more than one Host header")]
    TwoHosts,
    /// `Host` names another host than the target.
    #[error("the Host header names another host than the target")]
    OtherHost,
    /// The host is not configured, and other hosts are refused.
    #[error("this host is not configured")]
    NotConfigured,
    /// A browser asks for a configured host, and other hosts are refused.
    #[error("web browsers reach no configured host here")]
    Browser,
    /// An `https` URL of another host, which is not sent on in the clear.
    #[error("an https URL of another host needs CONNECT")]
    NeedsConnect,
    /// A port that tunnels may not use.
    #[error("port {0} is not opened to other hosts")]
    Port(u16),
    /// An address of this machine or of its networks.
    #[error("the host has an address of this machine or of a private network")]
    PrivateAddress,
    /// An address that this program listens on.
    #[error("the host is this program itself")]
    OwnAddress,
    /// The CA was made before this host was configured.
    #[error("the certificate authority does not cover this host")]
    NoCertificate,
    /// The CA's key has not been read yet.
    #[error("the certificate authority is not ready")]
    NoAuthority,
    /// Every place for a tunnel is taken.
    #[error("too many tunnels are open")]
    TooManyTunnels,
    /// The name has no address.
    #[error("the name of the host does not resolve")]
    Resolve(#[source] Arc<io::Error>),
    /// The host, or the proxy on the way, does not accept the connection.
    #[error("no connection to the host")]
    Connect(#[source] Arc<io::Error>),
    /// The host has accepted the connection, and gives no response.
    #[error("the host gave no response: {0}")]
    Response(&'static str),
    /// The proxy on the way cannot be used, wherever its URL comes from.
    #[error("could not use the proxy on the way")]
    Parent(#[source] HttpProxyError),
    /// The proxy on the way does not accept the connection, or breaks off.
    #[error("no connection to the proxy on the way")]
    ParentUnreachable(#[source] Arc<io::Error>),
    /// The proxy on the way gives no response in time.
    #[error("the proxy on the way did not respond in time")]
    ParentTimeout,
    /// The proxy on the way wants a login, or another one.
    #[error("the proxy on the way asks for a login")]
    ParentLogin,
    /// The proxy on the way refuses the host.
    #[error("the proxy on the way responded with {0}")]
    ParentRefused(u16),
}

impl Error {
    /// Returns the reason phrase of the response: many clients show nothing else of a refused
    /// `CONNECT`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Target => "malformed target for nexudus-proxy",
            Self::NoHost => "this is the forward proxy of nexudus-proxy",
            Self::Body => "CONNECT with a body refused by nexudus-proxy",
            Self::TwoHosts | Self::OtherHost => "Host differs from target in nexudus-proxy",
            Self::NotConfigured => "not configured in nexudus-proxy",
            Self::Browser => "browser refused by nexudus-proxy",
            Self::NeedsConnect => "https needs CONNECT in nexudus-proxy",
            Self::Port(_) => "port not allowed in nexudus-proxy",
            Self::PrivateAddress => "private address not allowed in nexudus-proxy",
            Self::OwnAddress => "loop refused by nexudus-proxy",
            Self::NoCertificate => "not covered by the CA: run nexudus-proxy ca rotate",
            Self::NoAuthority => "CA of nexudus-proxy is not ready",
            Self::TooManyTunnels => "too many tunnels in nexudus-proxy",
            Self::Resolve(error) if error.kind() == io::ErrorKind::TimedOut => {
                "name lookup of nexudus-proxy timed out"
            }
            Self::Resolve(_) => "host not found by nexudus-proxy",
            Self::Connect(_) => "host unreachable for nexudus-proxy",
            Self::Response(_) => "no response from host to nexudus-proxy",
            Self::Parent(_) => "parent proxy unusable for nexudus-proxy",
            Self::ParentUnreachable(_) => "parent proxy unreachable for nexudus-proxy",
            Self::ParentTimeout => "parent proxy of nexudus-proxy timed out",
            Self::ParentLogin => "parent proxy wants a login of nexudus-proxy",
            Self::ParentRefused(_) => "host refused by parent proxy of nexudus-proxy",
        }
    }
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Target => ProblemKind::MalformedTarget
                .with_hint("Send `CONNECT host:443`, or a URL that begins with `http://host/`."),
            Self::NoHost => ProblemKind::MalformedTarget.with_hint(
                "Use this address as a proxy (HTTPS_PROXY); as a base URL, use the port of listen.tcp.",
            ),
            Self::Body => ProblemKind::MalformedRequest
                .with_hint("Send CONNECT without Content-Length and Transfer-Encoding."),
            Self::TwoHosts => ProblemKind::MalformedHost.into(),
            Self::OtherHost => {
                ProblemKind::ForeignHost.with_hint("Name in Host the host of the target.")
            }
            Self::NotConfigured => ProblemKind::HostNotForwarded.into(),
            Self::Browser => ProblemKind::Browser
                .with_hint("Call from a program, or except this host in the browser's proxy settings."),
            Self::NeedsConnect => ProblemKind::HostNotForwarded
                .with_hint("Send CONNECT for an https URL: a newer version of this client does."),
            Self::Port(_) | Self::PrivateAddress => ProblemKind::DestinationProhibited.into(),
            Self::OwnAddress => ProblemKind::DestinationProhibited
                .with_hint("Ask the port of listen.tcp directly, and add it to NO_PROXY."),
            Self::NoCertificate => ProblemKind::HostNotForwarded
                .with_hint("Run `nexudus-proxy ca rotate`, then restart what trusts the old one."),
            Self::NoAuthority => {
                let kind = ProblemKind::CredentialsUnavailable;
                kind.with_hint("Send it again: the key of the session file opens the authority.")
                    .with_retry_after(Duration::from_secs(1))
            }
            Self::TooManyTunnels => {
                let kind = ProblemKind::TooManyConnections;
                kind.with_hint("Close idle tunnels, or raise limits.connections.")
                    .with_retry_after(Duration::from_secs(1))
            }
            Self::Resolve(_) => ProblemKind::DestinationNotResolved.into(),
            Self::Connect(_) => ProblemKind::DestinationUnreachable.into(),
            Self::Response(_) => ProblemKind::DestinationUnreachable
                .with_hint("The request may have been carried out: look before sending it again."),
            Self::Parent(_) => ProblemKind::DestinationUnreachable
                .with_hint("Write it as http://proxy.example:3128 in HTTPS_PROXY or upstream.proxy."),
            Self::ParentUnreachable(_) | Self::ParentTimeout => ProblemKind::DestinationUnreachable
                .with_hint("Correct HTTPS_PROXY or upstream.proxy, or add the host to NO_PROXY."),
            Self::ParentLogin => ProblemKind::DestinationUnreachable
                .with_hint("Write its login into HTTPS_PROXY: http://user:password@proxy.example:3128."),
            Self::ParentRefused(_) => ProblemKind::DestinationUnreachable
                .with_hint("Ask the operator of that proxy, or add the host to NO_PROXY."),
        }
    }
}
