//! What is known of one key: its names, its kind, and whether this version can do it.

use serde_json::{Value as Json, json};

use super::value::{ConfigValue, InvalidValue};
use super::{Config, units};

/// One key of the configuration.
pub struct Key {
    /// The section; empty for `host`, which is an array of sections.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// What it takes.
    pub value_type: ValueType,
    /// One sentence for the reader of the file and of `--help`.
    pub doc: &'static str,
    /// A shorter flag than the one made from section and name.
    pub shorthand: Option<&'static str>,
    pub(super) read: fn(&mut Config, &toml::Value, &ValueType) -> Result<(), InvalidValue>,
    pub(super) write: fn(&Config, &ValueType) -> toml::Value,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Bool,
    /// Text that fits into a header field.
    Text,
    /// A log level or directives.
    Level,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of words.
    Strings,
    /// A list of rules.
    Rules,
    /// A program and its arguments.
    Argv,
    /// A list of host names.
    Hostnames,
    /// An `https` origin.
    Origin,
    /// A file.
    File,
    /// How to reach the internet.
    Proxy,
    /// Local addresses.
    Addresses,
    /// One local address, or `off`.
    Address,
    /// A unix socket.
    Socket,
    /// Other hosts, each on addresses of its own.
    Hosts,
    /// A duration; `zero` where no waiting at all makes sense.
    Duration {
        /// Whether `0s` is taken.
        zero: bool,
    },
    /// A number of bytes.
    Size {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A number of things.
    Integer {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A pace.
    Rate,
}

impl Key {
    /// Returns `section.name`.
    pub fn path(&self) -> String {
        match self.section {
            "" => self.name.to_owned(),
            section => format!("{section}.{}", self.name),
        }
    }

    /// Returns the flag without its dashes: `throttle-reads`.
    pub fn flag(&self) -> String {
        self.path().replace(['.', '_'], "-")
    }

    /// Returns the environment variable: `NEXUDUS_PROXY_THROTTLE_READS`.
    pub fn env_variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path().replace('.', "_").to_uppercase())
    }

    /// Returns the default.
    pub fn default(&self) -> toml::Value {
        self.value(&Config::default())
    }

    /// Returns the value that a configuration has for this key, as the file would have it.
    ///
    /// May hold the password of a proxy; [`Key::redacted`] does not.
    pub(super) fn value(&self, config: &Config) -> toml::Value {
        (self.write)(config, &self.value_type)
    }

    /// Returns the value of this key for the eyes of a person, without passwords.
    pub fn redacted(&self, config: &Config) -> toml::Value {
        match self.value_type {
            ValueType::Proxy => config.upstream.proxy.redacted().into(),
            ValueType::Bool
            | ValueType::Text
            | ValueType::Level
            | ValueType::Choice(_)
            | ValueType::Strings
            | ValueType::Rules
            | ValueType::Argv
            | ValueType::Hostnames
            | ValueType::Origin
            | ValueType::File
            | ValueType::Addresses
            | ValueType::Address
            | ValueType::Socket
            | ValueType::Hosts
            | ValueType::Duration { .. }
            | ValueType::Size { .. }
            | ValueType::Integer { .. }
            | ValueType::Rate => self.value(config),
        }
    }

    /// Sets this key, unless the value is wrong.
    pub(super) fn set(&self, config: &mut Config, value: &toml::Value) -> Result<(), InvalidValue> {
        (self.read)(config, value, &self.value_type)
    }

    /// Says whether two configurations have another value for this key.
    pub fn differs(&self, one: &Config, other: &Config) -> bool {
        self.value(one) != self.value(other)
    }

    /// Gives this key the value that it has in `from`.
    pub fn copy(&self, from: &Config, to: &mut Config) {
        // What was written can be read again: `roundtrip.rs` proves it.
        let _ = (self.read)(to, &self.value(from), &self.value_type);
    }

    pub(super) const fn shorthand(mut self, flag: &'static str) -> Self {
        self.shorthand = Some(flag);
        self
    }
}

/// What every environment variable of ours begins with.
pub(super) const ENV_PREFIX: &str = "NEXUDUS_PROXY_";

impl ValueType {
    /// Says what is expected, with an example.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Text => "text of visible ASCII characters and spaces".to_owned(),
            Self::Level => "a level such as \"info\", or directives such as \
                \"info,nexudus_proxy::session=debug\""
                .to_owned(),
            Self::Choice(words) => match words.split_last() {
                Some((last, [])) => format!("\"{last}\""),
                Some((last, words)) => format!("\"{}\" or \"{last}\"", words.join("\", \"")),
                None => "nothing".to_owned(),
            },
            Self::Strings => "a list such as [\"one\", \"two\"]".to_owned(),
            Self::Rules => "a list of rules such as [\"DELETE /**\"]".to_owned(),
            Self::Argv => "a program and its arguments such as [\"op\", \"read\", …]".to_owned(),
            Self::Hostnames => "a list of host names such as [\"nexudus.internal\"]".to_owned(),
            Self::Origin => "an origin such as \"https://spaces.nexudus.com\"".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Proxy => {
                "\"none\", \"system\" or a URL such as \"http://proxy.example:3128\"".to_owned()
            }
            Self::Addresses => {
                "a list of addresses such as [\"127.0.0.1:6398\", \"[::1]:6398\"]".to_owned()
            }
            Self::Address => "\"off\" or an address such as \"127.0.0.1:6390\"".to_owned(),
            Self::Socket => "\"auto\", \"off\" or an absolute path of at most 103 bytes".to_owned(),
            Self::Hosts => "[[host]] tables with `origin` and `listen`".to_owned(),
            Self::Duration { zero: true } => "a duration such as \"30s\"".to_owned(),
            Self::Duration { zero: false } => {
                "a duration such as \"30s\", longer than zero".to_owned()
            }
            Self::Size { .. } => format!("a size such as \"64KiB\"{}", self.range_suffix()),
            Self::Integer { .. } => format!("a whole number{}", self.range_suffix()),
            Self::Rate => "\"auto\" or a pace such as \"10/100ms\"".to_owned(),
        }
    }

    /// Returns the word that stands for the value in `--help`.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Text => "TEXT",
            Self::Level => "LEVEL",
            Self::Choice(_) => "WORD",
            Self::Strings => "WORD",
            Self::Rules => "RULE",
            Self::Argv => "ARRAY",
            Self::Hostnames => "NAME",
            Self::Origin => "URL",
            Self::File => "FILE",
            Self::Proxy => "URL",
            Self::Addresses | Self::Address => "ADDR",
            Self::Socket => "PATH",
            Self::Hosts => "TABLE",
            Self::Duration { .. } => "DURATION",
            Self::Size { .. } => "SIZE",
            Self::Integer { .. } => "N",
            Self::Rate => "PACE",
        }
    }

    /// Says whether the value is a list.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Strings
                | Self::Rules
                | Self::Argv
                | Self::Hostnames
                | Self::Addresses
                | Self::Hosts
        )
    }

    /// Returns the smallest and the largest number, as they are written.
    pub(super) fn range(&self) -> Option<(String, String)> {
        let (Self::Size { least, most } | Self::Integer { least, most }) = self else {
            return None;
        };
        let written = |number: u64| match matches!(self, Self::Size { .. }) && number > 0 {
            true => units::format_size(number),
            false => number.to_string(),
        };
        (*most != u64::MAX).then(|| (written(*least), written(*most)))
    }

    fn range_suffix(&self) -> String {
        let bounds = self.range();
        bounds.map(|(least, most)| format!(" from {least} to {most}")).unwrap_or_default()
    }

    /// Returns the JSON schema of the value.
    pub(super) fn schema(&self) -> Json {
        match self {
            Self::Bool => json!({ "type": "boolean" }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Strings | Self::Rules | Self::Argv | Self::Hostnames | Self::Addresses => {
                json!({ "type": "array", "items": { "type": "string" } })
            }
            Self::Hosts => json!({
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "origin": Self::Origin.schema(),
                        "listen": Self::Addresses.schema(),
                    },
                    "required": ["origin", "listen"],
                    "additionalProperties": false,
                },
            }),
            Self::Origin => {
                json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@]+/?$" })
            }
            Self::Size { .. } => json!({ "type": ["string", "integer"] }),
            Self::Integer { least, most } => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::Rate => json!({ "type": "string", "pattern": "^(auto|[0-9]+/.+)$" }),
            Self::Text
            | Self::Level
            | Self::File
            | Self::Proxy
            | Self::Address
            | Self::Socket
            | Self::Duration { .. } => json!({ "type": "string" }),
        }
    }

    /// Reads what a flag or an environment variable says: the bare text of a value, or TOML.
    pub(super) fn parse_text(&self, texts: &[String]) -> Result<toml::Value, InvalidValue> {
        let parsed = |text: &str| {
            let document = format!("value = {text}");
            document.parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"))
        };
        let wrong = || InvalidValue::Shape(format!("`{}`", texts.join(" ")));
        if self.is_list() {
            if let [one] = texts {
                if one.trim().is_empty() {
                    return Ok(toml::Value::Array(vec![]));
                }
                if let Some(list) = parsed(one).filter(toml::Value::is_array) {
                    return Ok(list);
                }
                // A command line in one word would be looked up as the name of a program.
                if *self == Self::Argv && one.contains(char::is_whitespace) {
                    return Err(wrong());
                }
            }
            let items = texts.iter().map(|text| match *self == Self::Hosts {
                true => parsed(text).filter(toml::Value::is_table).ok_or_else(wrong),
                false => Ok(toml::Value::String(text.clone())),
            });
            return items.collect::<Result<_, _>>().map(toml::Value::Array);
        }
        let text = texts.last().map(String::as_str).unwrap_or_default();
        match matches!(self, Self::Bool | Self::Integer { .. }) {
            true => parsed(text).filter(|value| !value.is_str()).ok_or_else(wrong),
            false => Ok(toml::Value::String(text.to_owned())),
        }
    }
}

/// Makes the two functions of a row for a field of the configuration.
macro_rules! key {
    ($section:ident.$name:ident, $value_type:expr, $doc:expr) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            value_type: $value_type,
            doc: $doc,
            shorthand: None,
            read: |config, value, value_type| {
                config.$section.$name = ConfigValue::from_toml(value, value_type)?;
                Ok(())
            },
            write: |config, value_type| config.$section.$name.to_toml(value_type),
        }
    };
}
pub(super) use key;

/// `[[host]]`, the one key outside a section.
pub(super) const HOST: Key = Key {
    section: "",
    name: "host",
    value_type: ValueType::Hosts,
    doc: "Other hosts that take the same bearer, each on addresses of its own",
    shorthand: None,
    read: |config, value, value_type| {
        config.hosts = ConfigValue::from_toml(value, value_type)?;
        Ok(())
    },
    write: |config, value_type| config.hosts.to_toml(value_type),
};

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}
