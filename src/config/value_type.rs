//! The types of value that a key can have: what is expected, and how it reads in help and schema.

use serde_json::{Value as Json, json};

use super::{ParseError, units};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Bool,
    /// Text that fits into a header field.
    Text,
    /// A log level or directives.
    Level,
    /// A word of this list.
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
    /// The proxy on the way to the internet.
    Proxy,
    /// The address of the origin, or nothing.
    UpstreamAddress,
    /// Local addresses.
    Addresses,
    /// A local address, or `off`.
    Address,
    /// A unix socket.
    Socket,
    /// The file of the audit, or nothing.
    AuditFile,
    /// Other hosts, each on addresses of its own.
    Hosts,
    /// The engine that machines share, or nothing.
    Engine,
    /// A list of ports.
    Ports,
    /// The parts that machines share.
    Shares,
    /// A duration; `allow_zero` where no waiting at all makes sense.
    Duration {
        /// Whether `0s` is taken.
        allow_zero: bool,
    },
    /// A number of bytes.
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A number of things.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A number of threads, or `auto`.
    Threads {
        /// The largest.
        max: u64,
    },
    /// A rate.
    Rate,
}

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
            Self::Hostnames => {
                "a list of hosts such as [\"nexudus.internal\", \"localhost:9000\"]".to_owned()
            }
            Self::Origin => "an origin such as \"https://spaces.nexudus.com\"".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Proxy => {
                "\"none\", \"system\" or a URL such as \"http://proxy.example:3128\"".to_owned()
            }
            Self::UpstreamAddress => {
                "\"\" or an address such as \"203.0.113.7\" or \"203.0.113.7:8443\"".to_owned()
            }
            Self::Addresses => {
                "a list of addresses such as [\"127.0.0.1:6398\", \"[::1]:6398\"]".to_owned()
            }
            Self::Address => "\"off\" or an address such as \"127.0.0.1:6397\"".to_owned(),
            Self::Socket => "\"auto\", \"off\" or an absolute path of at most 103 bytes".to_owned(),
            Self::AuditFile => "\"auto\", \"off\" or an absolute path".to_owned(),
            Self::Hosts => "[[host]] tables with `origin` and `listen`".to_owned(),
            Self::Engine => "\"\" or a URL such as \"rediss://host:6380/0\"".to_owned(),
            Self::Ports => "a list of ports such as [6380, 6381]".to_owned(),
            Self::Shares => "a list of \"session\", \"throttle\" and \"clients\"".to_owned(),
            Self::Duration { allow_zero: true } => "a duration such as \"30s\"".to_owned(),
            Self::Duration { allow_zero: false } => {
                "a duration such as \"30s\", longer than zero".to_owned()
            }
            Self::Size { .. } => format!("a size such as \"64KiB\"{}", self.range_suffix()),
            Self::Integer { .. } => format!("a whole number{}", self.range_suffix()),
            Self::Threads { max } => format!("\"auto\" or a whole number from 1 to {max}"),
            Self::Rate => "\"auto\" or a rate such as \"10/100ms\"".to_owned(),
        }
    }

    /// Returns the word that stands for the value in `--help`.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Text => "TEXT",
            Self::Level => "LEVEL",
            Self::Choice(_) => "WORD",
            Self::Strings | Self::Shares => "WORD",
            Self::Rules => "RULE",
            Self::Argv => "ARRAY",
            Self::Hostnames => "NAME",
            Self::Origin => "URL",
            Self::File => "FILE",
            Self::Proxy | Self::Engine => "URL",
            Self::Ports => "PORT",
            Self::Addresses | Self::Address | Self::UpstreamAddress => "ADDR",
            Self::Socket | Self::AuditFile => "PATH",
            Self::Hosts => "TABLE",
            Self::Duration { .. } => "DURATION",
            Self::Size { .. } => "SIZE",
            Self::Integer { .. } | Self::Threads { .. } => "N",
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
                | Self::Ports
                | Self::Shares
        )
    }

    /// Returns the smallest and the largest number, as they are written.
    pub(super) fn range(&self) -> Option<(String, String)> {
        let (Self::Size { min, max } | Self::Integer { min, max }) = self else {
            return None;
        };
        let is_size = matches!(self, Self::Size { .. });
        let format = |number: u64| {
            if is_size && number > 0 { units::format_size(number) } else { number.to_string() }
        };
        (*max != u64::MAX).then(|| (format(*min), format(*max)))
    }

    fn range_suffix(&self) -> String {
        let bounds = self.range();
        bounds.map(|(min, max)| format!(" from {min} to {max}")).unwrap_or_default()
    }

    /// Returns the JSON schema of the value.
    pub(super) fn schema(&self) -> Json {
        match self {
            Self::Bool => json!({ "type": "boolean" }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Strings | Self::Rules | Self::Argv | Self::Hostnames | Self::Addresses => {
                json!({ "type": "array", "items": { "type": "string" } })
            }
            Self::Ports => {
                json!({ "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65_535 } })
            }
            Self::Shares => {
                json!({ "type": "array", "items": { "enum": ["session", "throttle", "clients"] } })
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
            Self::Origin => json!({ "type": "string", "pattern": ORIGIN_PATTERN }),
            Self::Size { .. } => json!({ "type": ["string", "integer"] }),
            Self::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Threads { max } => json!({
                "oneOf": [
                    { "const": "auto" },
                    { "type": "integer", "minimum": 1, "maximum": max },
                ],
            }),
            Self::Rate => json!({ "type": "string", "pattern": "^(auto|[0-9]+/.+)$" }),
            Self::Text
            | Self::Level
            | Self::File
            | Self::Proxy
            | Self::Address
            | Self::UpstreamAddress
            | Self::Socket
            | Self::AuditFile
            | Self::Engine
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
            let items = texts.iter().map(|text| {
                if *self == Self::Hosts {
                    parsed(text).filter(toml::Value::is_table).ok_or_else(wrong)
                } else {
                    Ok(toml::Value::String(text.clone()))
                }
            });
            return items.collect::<Result<_, _>>().map(toml::Value::Array);
        }
        let text = texts.last().map(String::as_str).unwrap_or_default();
        let is_number = matches!(self, Self::Threads { .. }) && text != "auto";
        if is_number || matches!(self, Self::Bool | Self::Integer { .. }) {
            parsed(text).filter(|value| !value.is_str()).ok_or_else(wrong)
        } else {
            Ok(toml::Value::String(text.to_owned()))
        }
    }
}

/// Why a value does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InvalidValue {
    /// Another value than the type expects; the text describes it.
    Shape(String),
    /// A text that is no rule, and why.
    Rule(String, ParseError),
    /// An origin with `http://`.
    PlainHttp,
    /// A URL of an engine that is not used, and why.
    Engine(String),
    /// An origin with something behind or before the host.
    ExtraPart(&'static str),
    /// A `[[host]]` table with a key that is not known.
    UnknownKey(String),
}

impl InvalidValue {
    /// Describes what was found; lists and tables by their type only, they may hold secrets.
    pub(super) fn found(value: &toml::Value) -> Self {
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
/// `https`, a host and no path.
const ORIGIN_PATTERN: &str = "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@]+/?$";
