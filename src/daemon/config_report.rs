//! The configuration in effect, with the source of each value, for `config show`: only the daemon
//! knows its flags and its environment.

use std::sync::Arc;

use super::Daemon;
use crate::admin::api::ConfigValue;
use crate::config::{Config, KEYS, LoadedConfig};

impl Daemon {
    /// Says where the values come from that this daemon was started with.
    pub fn describe_config(&self, loaded: &LoadedConfig) {
        self.runtime_state.send_modify(|now| now.keys = of_loaded(loaded).into());
    }

    /// Says where the values come from after a reload; the keys in `restart_needed` keep theirs.
    pub(super) fn describe_reload(&self, loaded: &LoadedConfig, restart_needed: &[String]) {
        self.runtime_state.send_modify(|now| {
            let before = now.keys.clone();
            let keys = of_loaded(loaded).into_iter().map(|new| {
                let old = before.iter().find(|old| old.key == new.key);
                old.filter(|old| restart_needed.contains(&old.key)).cloned().unwrap_or(new)
            });
            now.keys = keys.collect();
        });
    }
}

/// Describes a configuration that comes from no sources: that of `demo`, of `run`, of a test.
pub(super) fn of_config(config: &Config) -> Arc<[ConfigValue]> {
    let usual = Config::default();
    let describe = |entry: &crate::config::Key| {
        let origin = if entry.differs(&usual, config) { "the program" } else { "default" };
        value(entry.path(), &entry.redacted(config), origin.to_owned())
    };
    KEYS.iter().map(describe).collect()
}

fn of_loaded(loaded: &LoadedConfig) -> Vec<ConfigValue> {
    let keys = loaded.effective_keys();
    keys.map(|row| value(row.key.path(), &row.value, row.source.to_string())).collect()
}

fn value(key: String, value: &toml::Value, origin: String) -> ConfigValue {
    // Every value of TOML that a key can have is one of JSON too.
    ConfigValue { key, value: serde_json::to_value(value).unwrap_or_default(), origin }
}
