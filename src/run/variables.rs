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
