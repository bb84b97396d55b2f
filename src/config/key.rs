//! One key: its names, the type of its value, and its field in the configuration.

use super::Config;
use super::value::ConfigValue;
use super::value_type::{InvalidValue, ValueType};

/// One key of the configuration.
pub struct Key {
    /// The section; empty for `host`, which is an array of sections.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// The type of its value.
    pub value_type: ValueType,
    /// One sentence for the reader of the file and of `--help`.
    pub doc: &'static str,
    /// A shorter flag than the one made from section and name.
    pub shorthand: Option<&'static str>,
    /// Whether a reload applies a new value. Any other key takes a restart.
    pub is_reloadable: bool,
    pub(super) read: fn(&mut Config, &toml::Value, &ValueType) -> Result<(), InvalidValue>,
    pub(super) write: fn(&Config, &ValueType) -> toml::Value,
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

    /// Returns the value that is shown to a person, without passwords.
    pub fn redacted(&self, config: &Config) -> toml::Value {
        if self.value_type == ValueType::Proxy {
            config.upstream.proxy.redacted().into()
        } else {
            self.value(config)
        }
    }

    /// Sets this key, unless the value does not fit.
    pub(super) fn set(&self, config: &mut Config, value: &toml::Value) -> Result<(), InvalidValue> {
        (self.read)(config, value, &self.value_type)
    }

    /// Says whether the values of two configurations differ.
    pub fn differs(&self, one: &Config, other: &Config) -> bool {
        self.value(one) != self.value(other)
    }

    /// Gives this key the value that it has in `from`.
    pub fn copy(&self, from: &Config, to: &mut Config) {
        // A written value can be read again: `roundtrip.rs` proves it.
        let _ = (self.read)(to, &self.value(from), &self.value_type);
    }

    pub(super) const fn shorthand(mut self, flag: &'static str) -> Self {
        self.shorthand = Some(flag);
        self
    }

    /// Declares that a reload applies a new value.
    pub(super) const fn reloadable(mut self) -> Self {
        self.is_reloadable = true;
        self
    }
}

/// The beginning of the environment variable of every key.
pub(super) const ENV_PREFIX: &str = "NEXUDUS_PROXY_";

/// Makes a key for a field of the configuration.
macro_rules! key {
    ($section:ident.$name:ident, $value_type:expr, $doc:expr) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            value_type: $value_type,
            doc: $doc,
            shorthand: None,
            is_reloadable: false,
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
    is_reloadable: false,
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
