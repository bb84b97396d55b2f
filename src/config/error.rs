//! The errors of a configuration, in the user's terms.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ParseError, ValueSource};
use crate::problem::{Problem, ProblemDetails, ProblemKind, Report};

/// All errors, in the order of their places; never empty.
#[derive(Debug)]
pub struct Error(pub Vec<Diagnostic>);

/// A single error.
#[derive(Debug, thiserror::Error)]
pub enum Diagnostic {
    /// The home directory is unknown.
    #[error("could not find the home directory")]
    NoHome,
    /// A profile has a name that cannot be part of a file name.
    #[error("{place}: `{name}` is not a valid profile name")]
    ProfileName {
        /// Where.
        place: ValueSource,
        /// The name.
        name: String,
    },
    /// Nothing is known of a profile.
    #[error("no profile `{name}`; known: {}", known.join(", "))]
    UnknownProfile {
        /// The name.
        name: String,
        /// The profiles of which there is a trace.
        known: Vec<String>,
    },
    /// A file that was named explicitly does not exist.
    #[error("there is no configuration file {}", .0.display())]
    NotFound(PathBuf),
    /// The file is there, and cannot be read.
    #[error("could not read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not text.
    #[error("{place}: not valid UTF-8")]
    Encoding {
        /// The first byte that is not.
        place: ValueSource,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML")]
    Syntax {
        /// Where.
        place: ValueSource,
        /// The message of the parser.
        #[source]
        source: ParserMessage,
    },
    /// A section that does not exist.
    #[error("{place}: unknown section [{name}]")]
    UnknownSection {
        /// Where.
        place: ValueSource,
        /// The name.
        name: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{name}`")]
    UnknownKey {
        /// Where.
        place: ValueSource,
        /// The name, with the section.
        name: String,
        /// The nearest known key, with the section.
        nearest: Option<String>,
        /// The keys that the section has.
        known: Vec<&'static str>,
    },
    /// An environment variable with our prefix that is no key.
    #[error("unknown environment variable {name}")]
    UnknownVariable {
        /// The name.
        name: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// An environment variable that is not text.
    #[error("{0}: not valid UTF-8")]
    VariableEncoding(String),
    /// A section is written as a value.
    #[error("{place}: expected a section [{name}]")]
    Section {
        /// Where.
        place: ValueSource,
        /// The name.
        name: String,
    },
    /// A value of the wrong shape.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The values that the key takes.
        expected: String,
        /// The given value.
        found: String,
    },
    /// A text that is no rule.
    #[error("{place}: {key}: {found} is no rule: {why}")]
    Rule {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The text.
        found: String,
        /// Why.
        why: ParseError,
    },
    /// An origin that is not https.
    #[error(
        "{place}: {key}: must be https: with http:// others on the network could read the token"
    )]
    PlainHttp {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
    },
    /// An origin with more than scheme, host and port.
    #[error("{place}: {key}: an origin is scheme, host and port, without {what}")]
    ExtraPart {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The part too many.
        what: &'static str,
    },
    /// The URL of an engine that cannot be used. Says nothing of what stands in it.
    #[error("{place}: {key}: {why}")]
    Engine {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// A value of `[fleet]` that the program cannot keep.
    #[error("{place}: {key}: {why}")]
    Fleet {
        /// Where.
        place: ValueSource,
        /// The key.
        key: &'static str,
        /// Why.
        why: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// An address that others can reach.
    #[error("{place}: {key}: {address} can be reached from other machines")]
    Exposed {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// An address that two hosts listen on.
    #[error("{place}: {key}: {address} is already used by another listener")]
    DuplicateAddress {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// A login that would go to another host than the one it is for.
    #[error("{place}: {key} = \"basic\" would send the password itself to each [[host]]")]
    PasswordToHosts {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
    },
    /// Neither an address nor a socket.
    #[error("{place}: nothing to listen on: listen.tcp is empty and there is no unix socket")]
    NoListener {
        /// Where the addresses are given, or are not.
        place: ValueSource,
    },
    /// A value that makes no sense without another.
    #[error("{place}: {key} = \"command\" needs {needs}")]
    MissingCommand {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The key that is empty.
        needs: &'static str,
    },
    /// Trust anchors that cannot be read.
    #[error("{place}: could not read the CA file {}", path.display())]
    CaFile {
        /// Where.
        place: ValueSource,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Diagnostic {
    /// Returns what a person can do about the error.
    pub fn hint(&self) -> Option<String> {
        if let Self::UnknownSection { nearest: Some(nearest), .. } = self {
            Some(format!("Did you mean [{nearest}]?"))
        } else if let Self::UnknownKey { nearest: Some(nearest), .. } = self {
            Some(format!("Did you mean `{nearest}`?"))
        } else if let Self::UnknownVariable { nearest: Some(nearest), .. } = self {
            Some(format!("Did you mean {nearest}?"))
        } else if let Self::NotFound(path) = self {
            let path = path.display();
            Some(format!(
                "Check the path; `nexudus-proxy config init --config {path}` writes a commented \
                 file there."
            ))
        } else if let Self::UnknownKey { known, .. } = self
            && !known.is_empty()
        {
            Some(format!("The section has {}.", known.join(", ")))
        } else {
            self.fixed_hint().map(str::to_owned)
        }
    }

    /// Returns the hint where it names nothing of the configuration.
    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoHome => "Set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME.",
            Self::ProfileName { .. } => {
                "Use lower-case letters, digits, `-` and `_`, at most 32 of them."
            }
            Self::UnknownProfile { .. } => MAKE_PROFILE,
            Self::Unreadable { .. } => NAME_FILE,
            Self::Encoding { .. } => "Save the file as UTF-8.",
            Self::UnknownSection { .. }
            | Self::UnknownKey { .. }
            | Self::UnknownVariable { .. } => "`nexudus-proxy config show` lists every key.",
            Self::PlainHttp { .. } => {
                "Write https://; for a certificate of your own, name its CA with upstream.ca_file."
            }
            Self::Exposed { key, .. } if key != "admin.listen" => {
                "Listen on 127.0.0.1 or [::1], or set listen.expose = true: every request then needs \
                 a client key."
            }
            Self::Exposed { .. } => "Listen on 127.0.0.1 or [::1].",
            Self::Engine { .. } => {
                "Write rediss://HOST:PORT/0, redis+unix:///PATH or rediss-sentinel://HOSTS/NAME; the user \
                 belongs into fleet.username, the password into fleet.password_command."
            }
            Self::Fleet { hint, .. } => hint,
            Self::DuplicateAddress { .. } => "Give each host a port of its own.",
            Self::PasswordToHosts { .. } => {
                "Remove each [[host]], or set upstream.auth = \"bearer\": a token is good for both."
            }
            Self::NoListener { .. } if cfg!(unix) => {
                "Give listen.tcp an address such as \"localhost:6398\", or set listen.unix = \"auto\"."
            }
            Self::NoListener { .. } => "Give listen.tcp an address such as \"localhost:6398\".",
            Self::Rule { .. } => {
                "`nexudus-proxy policy explain METHOD PATH` says what a rule does."
            }
            Self::CaFile { .. } => {
                "Name a readable file with at least one `-----BEGIN CERTIFICATE-----`."
            }
            Self::VariableEncoding(_)
            | Self::Syntax { .. }
            | Self::Section { .. }
            | Self::Shape { .. }
            | Self::ExtraPart { .. }
            | Self::NotFound(_)
            | Self::MissingCommand { .. } => return None,
        })
    }

    /// Returns the place of the error, if it has one.
    pub(super) fn place(&self) -> Option<&ValueSource> {
        match self {
            Self::NoHome
            | Self::UnknownProfile { .. }
            | Self::NotFound(_)
            | Self::Unreadable { .. }
            | Self::UnknownVariable { .. }
            | Self::VariableEncoding(_) => None,
            Self::ProfileName { place, .. }
            | Self::Encoding { place }
            | Self::Syntax { place, .. }
            | Self::UnknownSection { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Section { place, .. }
            | Self::Shape { place, .. }
            | Self::Rule { place, .. }
            | Self::PlainHttp { place, .. }
            | Self::Engine { place, .. }
            | Self::Fleet { place, .. }
            | Self::ExtraPart { place, .. }
            | Self::Exposed { place, .. }
            | Self::DuplicateAddress { place, .. }
            | Self::PasswordToHosts { place, .. }
            | Self::NoListener { place }
            | Self::MissingCommand { place, .. }
            | Self::CaFile { place, .. } => Some(place),
        }
    }
}

impl Problem for Diagnostic {
    fn details(&self) -> ProblemDetails {
        let details = ProblemDetails::from(ProblemKind::ConfigInvalid);
        match self.hint() {
            Some(hint) => details.with_hint(hint),
            None => details,
        }
    }
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        ProblemKind::ConfigInvalid.into()
    }

    fn parts(&self) -> Vec<Report> {
        self.0.iter().map(Report::new).collect()
    }
}

/// The message of a parser, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParserMessage(pub(super) String);

impl From<Diagnostic> for Error {
    fn from(problem: Diagnostic) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [problem] => problem.fmt(f),
            problems => write!(f, "the configuration has {} problems", problems.len()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.as_slice() {
            [problem] => problem.source(),
            problems => problems.first().map(|problem| problem as _),
        }
    }
}
const MAKE_PROFILE: &str = "Correct the name; `nexudus-proxy login` makes a profile of this one.";

const NAME_FILE: &str = "Name a readable TOML file with --config, or leave --config out.";
