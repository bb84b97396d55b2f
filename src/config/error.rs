//! What can be wrong with a configuration, in the user's terms.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Place;

/// Everything that is wrong, in the order in which it was found; never empty.
#[derive(Debug)]
pub struct Error(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no home directory.
    #[error("could not tell where the home directory is")]
    Homeless,
    /// A profile has a name that cannot be part of a file name.
    #[error("{place}: `{name}` is not a name for a profile")]
    Profile {
        /// Where.
        place: Place,
        /// The name.
        name: String,
    },
    /// A file that was asked for does not exist.
    #[error("there is no configuration file {}", .0.display())]
    Absent(PathBuf),
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
        place: Place,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        #[source]
        source: Message,
    },
    /// A section that does not exist.
    #[error("{place}: unknown section [{name}]")]
    UnknownSection {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{name}`")]
    UnknownKey {
        /// Where.
        place: Place,
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
    Variable(String),
    /// A section is written as a value.
    #[error("{place}: expected a section [{name}]")]
    Section {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
    },
    /// A value of the wrong shape.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What the key takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An origin that is not https.
    #[error("{place}: {key}: must be https: over http:// anybody on the way could read the token")]
    Plain {
        /// Where.
        place: Place,
        /// The key.
        key: String,
    },
    /// An origin with more than scheme, host and port.
    #[error("{place}: {key}: an origin is scheme, host and port, without {what}")]
    Extra {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is too much.
        what: &'static str,
    },
    /// An address that others can reach.
    #[error("{place}: {key}: {address} can be reached from other machines")]
    Exposed {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// An address that two hosts listen on.
    #[error("{place}: {key}: {address} is listened on already")]
    Twice {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// Neither an address nor a socket.
    #[error("{place}: there is nothing to listen on: listen.tcp is empty, and there is no socket")]
    Nowhere {
        /// Where the addresses are given, or are not.
        place: Place,
    },
    /// A value that makes no sense without another.
    #[error("{place}: {key} = \"command\" needs {needs}")]
    Needs {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The key that is empty.
        needs: &'static str,
    },
    /// Trust anchors that cannot be read.
    #[error("{place}: could not read the CA file {}", path.display())]
    Anchors {
        /// Where.
        place: Place,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Problem {
    /// Returns the way out.
    pub fn hint(&self) -> Option<String> {
        let meant = |nearest: &String| format!("Did you mean `{nearest}`?");
        let said = match self {
            Self::Homeless => "Set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME.".to_owned(),
            Self::Profile { .. } => {
                "Use lower-case letters, digits, `-` and `_`, at most 32 of them.".to_owned()
            }
            Self::Absent(_) => {
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
            Self::Plain { .. } => "Write https://; for a certificate of your own, name its CA with \
                upstream.ca_file."
                .to_owned(),
            Self::Exposed { key, .. } if key != "admin.listen" => {
                "Listen on 127.0.0.1 or [::1], or set listen.expose = true: every request then needs \
                 a client key."
                    .to_owned()
            }
            Self::Exposed { .. } => "Listen on 127.0.0.1 or [::1].".to_owned(),
            Self::Twice { .. } => "Give each host a port of its own.".to_owned(),
            Self::Nowhere { .. } => match cfg!(unix) {
                true => "Give listen.tcp an address such as \"localhost:6398\", or set listen.unix = \
                         \"auto\".",
                false => "Give listen.tcp an address such as \"localhost:6398\".",
            }
            .to_owned(),
            Self::Anchors { .. } => {
                "Name a readable file with at least one `-----BEGIN CERTIFICATE-----`.".to_owned()
            }
            Self::Variable(_)
            | Self::Syntax { .. }
            | Self::Section { .. }
            | Self::Shape { .. }
            | Self::Extra { .. }
            | Self::Needs { .. } => return None,
        };
        Some(said)
    }

    /// Returns where the problem is, if it is at a place.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Homeless
            | Self::Absent(_)
            | Self::Unreadable { .. }
            | Self::UnknownVariable { .. }
            | Self::Variable(_) => None,
            Self::Profile { place, .. }
            | Self::Encoding { place }
            | Self::Syntax { place, .. }
            | Self::UnknownSection { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Section { place, .. }
            | Self::Shape { place, .. }
            | Self::Plain { place, .. }
            | Self::Extra { place, .. }
            | Self::Exposed { place, .. }
            | Self::Twice { place, .. }
            | Self::Nowhere { place }
            | Self::Needs { place, .. }
            | Self::Anchors { place, .. } => Some(place),
        }
    }
}

/// What a parser says, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Message(pub(super) String);

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
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
