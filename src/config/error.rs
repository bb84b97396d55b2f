//! What can be wrong with a configuration, in the user's terms.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::ValueSource;

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Debug)]
pub struct Error(pub Vec<Diagnostic>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Diagnostic {
    /// There is no home directory.
    #[error("could not tell where the home directory is")]
    NoHome,
    /// A profile has a name that cannot be part of a file name.
    #[error("{place}: `{name}` is not a name for a profile")]
    ProfileName {
        /// Where.
        place: ValueSource,
        /// The name.
        name: String,
    },
    /// A file that was asked for does not exist.
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
        /// What the parser says.
        #[source]
        source: ParserMessage,
    },
    /// A section that does not exist.
    #[error("{place}: unknown section [{name}]")]
    UnknownSection {
        /// Where.
        place: ValueSource,
        /// Its name.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{name}`")]
    UnknownKey {
        /// Where.
        place: ValueSource,
        /// Its name, with the section.
        name: String,
        /// What may have been meant, with the section.
        nearest: Option<String>,
        /// The keys that the section has.
        known: Vec<&'static str>,
    },
    /// An environment variable that looks like ours and is not.
    #[error("unknown environment variable {name}")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// What may have been meant.
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
        /// Its name.
        name: String,
    },
    /// A value of the wrong shape.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// What the key takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An origin that is not https.
    #[error("{place}: {key}: must be https: over http:// anybody on the way could read the token")]
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
        /// What is too much.
        what: &'static str,
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
    #[error("{place}: {key}: {address} is listened on already")]
    DuplicateAddress {
        /// Where.
        place: ValueSource,
        /// The key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// Neither an address nor a socket.
    #[error("{place}: there is nothing to listen on: listen.tcp is empty, and there is no socket")]
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
    /// Returns the way out.
    pub fn hint(&self) -> Option<String> {
        let meant = |nearest: &String| format!("Did you mean `{nearest}`?");
        let said = match self {
            Self::NoHome => "Set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME.".to_owned(),
            Self::ProfileName { .. } => {
                "Use lower-case letters, digits, `-` and `_`, at most 32 of them.".to_owned()
            }
            Self::NotFound(_) => {
                "Check the path; `nexudus-proxy config init` writes a commented file.".to_owned()
            }
            Self::Unreadable { .. } => {
                "Name a readable TOML file with --config, or leave --config out.".to_owned()
            }
            Self::Encoding { .. } => "Save the file as UTF-8.".to_owned(),
            Self::UnknownSection { nearest: Some(nearest), .. } => {
                format!("Did you mean [{nearest}]?")
            }
            Self::UnknownKey { nearest: Some(nearest), .. } => meant(nearest),
            Self::UnknownKey { nearest: None, known, .. } if !known.is_empty() => {
                format!("It has {}.", known.join(", "))
            }
            Self::UnknownVariable { nearest: Some(nearest), .. } => {
                format!("Did you mean {nearest}?")
            }
            Self::UnknownSection { .. }
            | Self::UnknownKey { .. }
            | Self::UnknownVariable { .. } => {
                "`nexudus-proxy config show` lists every key.".to_owned()
            }
            Self::PlainHttp { .. } => "Write https://; for a certificate of your own, name its CA with \
                upstream.ca_file."
                .to_owned(),
            Self::Exposed { key, .. } if key != "admin.listen" => {
                "Listen on 127.0.0.1 or [::1], or set listen.expose = true: every request then needs \
                 a client key."
                    .to_owned()
            }
            Self::Exposed { .. } => "Listen on 127.0.0.1 or [::1].".to_owned(),
            Self::DuplicateAddress { .. } => "Give each host a port of its own.".to_owned(),
            Self::NoListener { .. } => match cfg!(unix) {
                true => "Give listen.tcp an address such as \"localhost:6398\", or set listen.unix = \
                         \"auto\".",
                false => "Give listen.tcp an address such as \"localhost:6398\".",
            }
            .to_owned(),
            Self::CaFile { .. } => {
                "Name a readable file with at least one `-----BEGIN CERTIFICATE-----`.".to_owned()
            }
            Self::VariableEncoding(_)
            | Self::Syntax { .. }
            | Self::Section { .. }
            | Self::Shape { .. }
            | Self::ExtraPart { .. }
            | Self::MissingCommand { .. } => return None,
        };
        Some(said)
    }

    /// Returns where the problem is, if it is at a place.
    pub(super) fn place(&self) -> Option<&ValueSource> {
        match self {
            Self::NoHome
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
            | Self::PlainHttp { place, .. }
            | Self::ExtraPart { place, .. }
            | Self::Exposed { place, .. }
            | Self::DuplicateAddress { place, .. }
            | Self::NoListener { place }
            | Self::MissingCommand { place, .. }
            | Self::CaFile { place, .. } => Some(place),
        }
    }
}

/// What a parser says, in its own words.
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
