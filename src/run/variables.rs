//! The variables that public programs for Nexudus read, and what `run` and `env` set them to.

/// Where requests go: scheme, host and port, without `/api`.
pub const BASE_URL_NAMES: [&str; 2] = ["NEXUDUS_BASE_URL", "NEXUDUS_API_BASE_URL"];

/// A token, for programs that take one instead of logging in.
pub const TOKEN_NAMES: [&str; 2] = ["NEXUDUS_ACCESS_TOKEN", "NEXUDUS_BEARER_TOKEN"];

/// The e-mail address of a login that this program does not read itself.
pub const USER_NAMES: [&str; 2] = ["NEXUDUS_API_USERNAME", "NEXUDUS_USER"];

/// The password of a login that this program does not read itself.
pub const PASSWORD_NAMES: [&str; 1] = ["NEXUDUS_PASS"];

/// The e-mail address of a login that this program reads as well: a daemon that is started with a
/// placeholder there would try to log in with it.
pub const OWN_USER_NAMES: [&str; 2] = ["NEXUDUS_EMAIL", "NEXUDUS_USERNAME"];

/// The password beside it.
pub const OWN_PASSWORD_NAMES: [&str; 1] = ["NEXUDUS_PASSWORD"];

/// The address of no account: the local token endpoint takes any, and Nexudus never sees it. A program
/// that goes past the proxy makes no failed login of the real account.
pub const PLACEHOLDER_EMAIL: &str = "run@localhost";

/// The proxy of a program, in the cases that programs read.
pub const PROXY_NAMES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The hosts that need no proxy.
pub const NO_PROXY_NAMES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A file with every anchor that a program is to trust: OpenSSL (and so Python, Ruby, .NET), Go,
/// requests, curl, the AWS SDKs, pip, git, cargo, libwww-perl, httplib2, Nix.
pub const BUNDLE_NAMES: [&str; 10] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// A file with anchors that are added to those of the program: Node, Deno.
pub const ADDED_ANCHOR_NAMES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
