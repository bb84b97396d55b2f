//! Reads each type of the configuration from a TOML value, checks it, and writes it again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::origin::{self, OriginError};
use super::value_type::{InvalidValue, ValueType};
use super::{
    AnonymousAccess, AuditFile, FleetDurability, Host, KeyStore, LogFormat, LoginSource, Origin,
    OtherHosts, Proxy, Rate, RedactMode, Rule, SessionStore, UnixSocket, UpstreamAddress,
    UpstreamAuth, units,
};

/// A type that a key can have. Writing what was read and reading it again gives the same.
pub(super) trait ConfigValue: Sized {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue>;
    fn to_toml(&self, value_type: &ValueType) -> toml::Value;
}

fn text(value: &toml::Value) -> Result<&str, InvalidValue> {
    value.as_str().ok_or_else(|| InvalidValue::found(value))
}

/// Reads a text with a function that gives no reason for a refusal.
fn parse_with<T>(value: &toml::Value, read: impl Fn(&str) -> Option<T>) -> Result<T, InvalidValue> {
    value.as_str().and_then(read).ok_or_else(|| InvalidValue::found(value))
}

fn list(value: &toml::Value) -> Result<&[toml::Value], InvalidValue> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| InvalidValue::found(value))
}

impl ConfigValue for bool {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        value.as_bool().ok_or_else(|| InvalidValue::found(value))
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        (*self).into()
    }
}

impl ConfigValue for Duration {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        let zero = *value_type == ValueType::Duration { allow_zero: true };
        parse_with(value, |text| {
            units::parse_duration(text).filter(|duration| zero || !duration.is_zero())
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        units::format_duration(*self).into()
    }
}

impl ConfigValue for u64 {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        let plain = value.as_integer().and_then(|number| Self::try_from(number).ok());
        let size = || value.as_str().and_then(units::parse_size);
        let (ValueType::Size { min, max } | ValueType::Integer { min, max }) = value_type else {
            return Err(InvalidValue::found(value));
        };
        let number =
            if matches!(value_type, ValueType::Size { .. }) { plain.or_else(size) } else { plain };
        number
            .filter(|number| (min..=max).contains(&number))
            .ok_or_else(|| InvalidValue::found(value))
    }

    fn to_toml(&self, value_type: &ValueType) -> toml::Value {
        let plain = *self == 0 || matches!(value_type, ValueType::Integer { .. });
        match i64::try_from(*self) {
            Ok(number) if plain => number.into(),
            Ok(_) | Err(_) => units::format_size(*self).into(),
        }
    }
}

impl ConfigValue for usize {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        Self::try_from(u64::from_toml(value, value_type)?).map_err(|_| InvalidValue::found(value))
    }

    fn to_toml(&self, value_type: &ValueType) -> toml::Value {
        u64::try_from(*self).unwrap_or(u64::MAX).to_toml(value_type)
    }
}

impl ConfigValue for String {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        let text = text(value)?;
        if *value_type == ValueType::Level && !is_level(text) {
            return Err(InvalidValue::found(value));
        }
        Ok(text.to_owned())
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.clone().into()
    }
}

/// Says whether the log filter understands every part. A bare word must be a level: the filter
/// itself takes `inof` for the name of a module, and logs nothing.
fn is_level(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').map(str::trim).all(|part| {
        if part.contains('=') {
            part.parse::<tracing_subscriber::filter::Targets>().is_ok()
        } else {
            levels.iter().any(|level| level.eq_ignore_ascii_case(part))
        }
    })
}

impl ConfigValue for Option<String> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let text = text(value)?;
        let visible = text.trim() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match text {
            "" => Ok(None),
            text if visible => Ok(Some(text.to_owned())),
            _ => Err(InvalidValue::found(value)),
        }
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.clone().unwrap_or_default().into()
    }
}

impl ConfigValue for Vec<String> {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        let words = list(value)?.iter().map(|word| Ok(text(word)?.to_owned()));
        let words = words.collect::<Result<Self, InvalidValue>>()?;
        let wrong =
            |word: &String| InvalidValue::Shape(toml::Value::from(word.as_str()).to_string());
        if *value_type == ValueType::Hostnames {
            let host = |name: &String| match origin::is_host_with_port(name) {
                true => Ok(name.to_ascii_lowercase()),
                false => Err(wrong(name)),
            };
            return words.iter().map(host).collect();
        }
        match words.iter().position(|word| word.trim().is_empty()) {
            // Later arguments of a command may be empty.
            Some(at) if at == 0 || *value_type != ValueType::Argv => Err(wrong(&words[at])),
            Some(_) | None => Ok(words),
        }
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.clone().into()
    }
}

impl ConfigValue for Vec<Rule> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let wrong = |text: &str, why| InvalidValue::Rule(toml::Value::from(text).to_string(), why);
        let parse = |text| Rule::parse(text).map_err(|why| wrong(text, why));
        list(value)?.iter().map(|value| text(value).and_then(parse)).collect()
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.iter().map(|rule| rule.as_str().to_owned()).collect::<Vec<_>>().into()
    }
}

impl ConfigValue for Option<PathBuf> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let text = text(value)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.as_deref().map(written).unwrap_or_default().into()
    }
}

/// A path came from TOML or from text, so that it is text.
fn written(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl ConfigValue for Origin {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        Self::try_parse(text(value)?).map_err(|error| match error {
            OriginError::PlainHttp => InvalidValue::PlainHttp,
            OriginError::ExtraPart(what) => InvalidValue::ExtraPart(what),
            OriginError::Shape => InvalidValue::found(value),
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.to_string().into()
    }
}

impl ConfigValue for Proxy {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        // The found value is not printed, because it may hold a password.
        let other = || InvalidValue::Shape("something else".to_owned());
        value.as_str().and_then(Self::parse).ok_or_else(other)
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.as_str().into()
    }
}

impl ConfigValue for Option<UpstreamAddress> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        parse_with(value, |text| match text {
            "" => Some(None),
            address => UpstreamAddress::parse(address).map(Some),
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.map(|address| address.to_string()).unwrap_or_default().into()
    }
}

impl ConfigValue for Vec<SocketAddr> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let mut addresses = vec![];
        for item in list(value)? {
            for address in parse_with(item, units::parse_addresses)? {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Ok(addresses)
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}

impl ConfigValue for Option<SocketAddr> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        parse_with(value, |text| match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.map_or_else(|| "off".to_owned(), |address| address.to_string()).into()
    }
}

/// Longest unix socket path we accept, in bytes: macOS has 104 in `sun_path`, Linux 108, and one
/// of them is the final NUL.
const MAX_SOCKET_PATH_BYTES: usize = 103;

impl ConfigValue for UnixSocket {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        parse_with(value, |text| match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            path if Path::new(path).is_absolute() && path.len() <= MAX_SOCKET_PATH_BYTES => {
                Some(Self::Path(PathBuf::from(path)))
            }
            _ => None,
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Off => "off".into(),
            Self::Path(path) => written(path).into(),
        }
    }
}

impl ConfigValue for AuditFile {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        parse_with(value, |text| match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            path => Path::new(path).is_absolute().then(|| Self::Path(PathBuf::from(path))),
        })
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Off => "off".into(),
            Self::Path(path) => written(path).into(),
        }
    }
}

impl ConfigValue for Vec<Host> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        list(value)?
            .iter()
            .map(|item| {
                let table = item.as_table().ok_or_else(|| InvalidValue::found(item))?;
                let part = |name: &str| {
                    table
                        .get(name)
                        .ok_or_else(|| InvalidValue::Shape(format!("one without `{name}`")))
                };
                if let Some(name) = table.keys().find(|name| !HOST_KEYS.contains(&name.as_str())) {
                    return Err(InvalidValue::UnknownKey(name.clone()));
                }
                let origin = ConfigValue::from_toml(part("origin")?, &ValueType::Origin)?;
                let listen: Vec<_> =
                    ConfigValue::from_toml(part("listen")?, &ValueType::Addresses)?;
                if listen.is_empty() {
                    return Err(InvalidValue::Shape(
                        "one without an address to listen on".to_owned(),
                    ));
                }
                Ok(Host { origin, listen })
            })
            .collect()
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        let table = |host: &Host| {
            toml::Table::from_iter([
                ("origin".to_owned(), host.origin.to_toml(&ValueType::Origin)),
                ("listen".to_owned(), host.listen.to_toml(&ValueType::Addresses)),
            ])
        };
        self.iter().map(table).collect::<Vec<_>>().into()
    }
}

/// The keys of a `[[host]]` table.
pub(super) const HOST_KEYS: &[&str] = &["origin", "listen"];

impl ConfigValue for Rate {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        parse_with(value, units::parse_rate)
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        units::format_rate(*self).into()
    }
}

/// Gives the words of a choice their meaning.
macro_rules! words {
    ($type:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl $type {
            /// The words, as they are written.
            pub(super) const WORDS: &[&str] = &[$($word),+];
        }

        impl ConfigValue for $type {
            fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
                parse_with(value, |text| match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                })
            }

            fn to_toml(&self, _: &ValueType) -> toml::Value {
                match self {
                    $(Self::$variant => $word.into(),)+
                }
            }
        }
    };
}

words!(UpstreamAuth { "bearer" => Bearer, "basic" => Basic });
words!(LoginSource { "auto" => Auto, "systemd" => Systemd, "command" => Command, "env" => Env, "keychain" => Keychain, "file" => File });
words!(SessionStore { "auto" => Auto, "file" => File, "memory" => Memory });
words!(KeyStore {
    "auto" => Auto,
    "keychain" => Keychain,
    "systemd" => Systemd,
    "command" => Command,
    "file" => File,
    "kernel" => Kernel,
});
words!(AnonymousAccess { "full" => Full, "read-only" => ReadOnly, "none" => None });
words!(OtherHosts { "refuse" => Refuse, "tunnel" => Tunnel });
words!(RedactMode { "off" => Off, "table" => Table, "all" => All });
words!(FleetDurability { "auto" => Auto, "none" => None });
words!(LogFormat { "auto" => Auto, "human" => Human, "json" => Json, "journald" => Journald });
