//! How each type of the configuration is read from a TOML value, checked, and written again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::origin::Flaw;
use super::{
    Anonymous, Format, Host, Key, Kind, Origin, Pace, Proxy, Rule, Source, Store, UnixSocket,
    notation,
};

/// A type that a key can have. Writing what was read and reading it again gives the same.
pub(super) trait Field: Sized {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong>;
    fn write(&self, kind: &Kind) -> toml::Value;
}

/// Why a value does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not what the kind expects; what was found instead.
    Shape(String),
    /// An origin with `http://`.
    Plain,
    /// An origin with something behind or before the host.
    Extra(&'static str),
    /// A `[[host]]` table with a key that is not known.
    Unknown(String),
}

impl Wrong {
    /// Describes what was found; lists and tables by their type only, they may hold secrets.
    fn found(value: &toml::Value) -> Self {
        Self::Shape(match value {
            toml::Value::Table(_) => "a table".to_owned(),
            toml::Value::Array(_) => "a list".to_owned(),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => value.to_string(),
        })
    }
}

fn text(value: &toml::Value) -> Result<&str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::found(value))
}

/// Reads a text with a function that has no more to say than "no".
fn read_with<T>(value: &toml::Value, read: impl Fn(&str) -> Option<T>) -> Result<T, Wrong> {
    value.as_str().and_then(read).ok_or_else(|| Wrong::found(value))
}

fn list(value: &toml::Value) -> Result<&[toml::Value], Wrong> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Wrong::found(value))
}

impl Field for bool {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        value.as_bool().ok_or_else(|| Wrong::found(value))
    }

    fn write(&self, _: &Kind) -> toml::Value {
        (*self).into()
    }
}

impl Field for Duration {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong> {
        let zero = *kind == Kind::Duration { zero: true };
        read_with(value, |text| {
            notation::read_duration(text).filter(|duration| zero || !duration.is_zero())
        })
    }

    fn write(&self, _: &Kind) -> toml::Value {
        notation::write_duration(*self).into()
    }
}

impl Field for u64 {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong> {
        let plain = value.as_integer().and_then(|number| Self::try_from(number).ok());
        let size = || value.as_str().and_then(notation::read_size);
        let (Kind::Size { least, most } | Kind::Count { least, most }) = kind else {
            return Err(Wrong::found(value));
        };
        let number = if matches!(kind, Kind::Size { .. }) { plain.or_else(size) } else { plain };
        number.filter(|number| (least..=most).contains(&number)).ok_or_else(|| Wrong::found(value))
    }

    fn write(&self, kind: &Kind) -> toml::Value {
        let plain = *self == 0 || matches!(kind, Kind::Count { .. });
        match i64::try_from(*self) {
            Ok(number) if plain => number.into(),
            Ok(_) | Err(_) => notation::write_size(*self).into(),
        }
    }
}

impl Field for usize {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong> {
        Self::try_from(u64::read(value, kind)?).map_err(|_| Wrong::found(value))
    }

    fn write(&self, kind: &Kind) -> toml::Value {
        u64::try_from(*self).unwrap_or(u64::MAX).write(kind)
    }
}

impl Field for String {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong> {
        let text = text(value)?;
        match *kind == Kind::Level && !is_level(text) {
            true => Err(Wrong::found(value)),
            false => Ok(text.to_owned()),
        }
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.clone().into()
    }
}

/// Says whether the log filter understands every part. A bare word must be a level: the filter
/// itself takes `inof` for the name of a module, and logs nothing.
fn is_level(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').map(str::trim).all(|part| match part.contains('=') {
        true => part.parse::<tracing_subscriber::filter::Targets>().is_ok(),
        false => levels.iter().any(|level| level.eq_ignore_ascii_case(part)),
    })
}

impl Field for Option<String> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        let text = text(value)?;
        let visible = text.trim() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match text {
            "" => Ok(None),
            text if visible => Ok(Some(text.to_owned())),
            _ => Err(Wrong::found(value)),
        }
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.clone().unwrap_or_default().into()
    }
}

impl Field for Vec<String> {
    fn read(value: &toml::Value, kind: &Kind) -> Result<Self, Wrong> {
        let words = list(value)?.iter().map(|word| Ok(text(word)?.to_owned()));
        let words = words.collect::<Result<Self, Wrong>>()?;
        let wrong = |word: &String| Wrong::Shape(toml::Value::from(word.as_str()).to_string());
        if *kind == Kind::Names {
            let host = |name: &String| match ServerName::try_from(name.as_str()) {
                Ok(_) => Ok(name.to_ascii_lowercase()),
                Err(_) => Err(wrong(name)),
            };
            return words.iter().map(host).collect();
        }
        match words.iter().position(|word| word.trim().is_empty()) {
            // Later arguments of a command may be empty.
            Some(at) if at == 0 || *kind != Kind::Command => Err(wrong(&words[at])),
            Some(_) | None => Ok(words),
        }
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.clone().into()
    }
}

impl Field for Vec<Rule> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        let wrong = |text: &str| Wrong::Shape(toml::Value::from(text).to_string());
        let rules = list(value)?.iter().map(text);
        rules.map(|text| text.and_then(|text| Rule::read(text).map_err(|_| wrong(text)))).collect()
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.iter().map(|rule| rule.text().to_owned()).collect::<Vec<_>>().into()
    }
}

impl Field for Option<PathBuf> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        let text = text(value)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.as_deref().map(written).unwrap_or_default().into()
    }
}

/// A path came from TOML or from text, so that it is text.
fn written(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Field for Origin {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        Self::read(text(value)?).map_err(|flaw| match flaw {
            Flaw::Plain => Wrong::Plain,
            Flaw::Extra(what) => Wrong::Extra(what),
            Flaw::Shape => Wrong::found(value),
        })
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.to_string().into()
    }
}

impl Field for Proxy {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        // What was found is not shown: it may hold a password.
        let other = || Wrong::Shape("something else".to_owned());
        value.as_str().and_then(Self::read).ok_or_else(other)
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.written().into()
    }
}

impl Field for Vec<SocketAddr> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        let mut addresses = vec![];
        for item in list(value)? {
            for address in read_with(item, notation::read_address)? {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Ok(addresses)
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}

impl Field for Option<SocketAddr> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        read_with(value, |text| match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        })
    }

    fn write(&self, _: &Kind) -> toml::Value {
        self.map_or_else(|| "off".to_owned(), |address| address.to_string()).into()
    }
}

/// Longest unix socket path we accept, in bytes: macOS has 104 in `sun_path`, Linux 108, and one
/// of them is the final NUL.
const SOCKET_PATH_MAX: usize = 103;

impl Field for UnixSocket {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        read_with(value, |text| match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            path if Path::new(path).is_absolute() && path.len() <= SOCKET_PATH_MAX => {
                Some(Self::Path(PathBuf::from(path)))
            }
            _ => None,
        })
    }

    fn write(&self, _: &Kind) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Off => "off".into(),
            Self::Path(path) => written(path).into(),
        }
    }
}

impl Field for Vec<Host> {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        list(value)?
            .iter()
            .map(|item| {
                let table = item.as_table().ok_or_else(|| Wrong::found(item))?;
                let part = |name: &str| {
                    table.get(name).ok_or_else(|| Wrong::Shape(format!("one without `{name}`")))
                };
                if let Some(name) = table.keys().find(|name| !HOST_KEYS.contains(&name.as_str())) {
                    return Err(Wrong::Unknown(name.clone()));
                }
                let origin = Field::read(part("origin")?, &Kind::Origin)?;
                let listen: Vec<_> = Field::read(part("listen")?, &Kind::Addresses)?;
                if listen.is_empty() {
                    return Err(Wrong::Shape("one without an address to listen on".to_owned()));
                }
                Ok(Host { origin, listen })
            })
            .collect()
    }

    fn write(&self, _: &Kind) -> toml::Value {
        let table = |host: &Host| {
            toml::Table::from_iter([
                ("origin".to_owned(), host.origin.write(&Kind::Origin)),
                ("listen".to_owned(), host.listen.write(&Kind::Addresses)),
            ])
        };
        self.iter().map(table).collect::<Vec<_>>().into()
    }
}

/// The keys of a `[[host]]` table.
pub(super) const HOST_KEYS: &[&str] = &["origin", "listen"];

impl Field for Pace {
    fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
        read_with(value, notation::read_pace)
    }

    fn write(&self, _: &Kind) -> toml::Value {
        notation::write_pace(*self).into()
    }
}

/// Gives the words of a choice their meaning.
macro_rules! words {
    ($type:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl Field for $type {
            fn read(value: &toml::Value, _: &Kind) -> Result<Self, Wrong> {
                read_with(value, |text| match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                })
            }

            fn write(&self, _: &Kind) -> toml::Value {
                match self {
                    $(Self::$variant => $word.into(),)+
                }
            }
        }
    };
}

words!(Source { "auto" => Auto, "systemd" => Systemd, "command" => Command, "env" => Env, "keychain" => Keychain });
words!(Store { "auto" => Auto, "file" => File, "memory" => Memory });
words!(Key {
    "auto" => Auto,
    "keychain" => Keychain,
    "systemd" => Systemd,
    "command" => Command,
    "kernel" => Kernel,
});
words!(Anonymous { "full" => Full, "read-only" => ReadOnly, "none" => None });
words!(Format { "auto" => Auto, "human" => Human, "json" => Json, "journald" => Journald });
