//! Flags, environment, file and defaults become one configuration.
//!
//! A later source overrides an earlier one key by key: default, file, `[profile.NAME.…]`,
//! environment, flag. All errors are collected, so that one run shows all of them.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{Diagnostic, Error};
use super::file::ConfigFile;
use super::key::Key;
use super::keys::KEYS;
use super::merge::{Merge, Override};
use super::paths::{self, Paths};
use super::runtime_dir::{self, RUNTIME_DIR};
use super::source::ValueSource;
use super::{Config, commands, defaults, fleet, validate};

/// The sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--profile`
    pub profile: Option<String>,
    /// `--config`: this file, which then must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// Keys given as flags, later ones before earlier ones of the same key.
    pub flags: Vec<Override>,
}

/// A configuration and the source of each value.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The values.
    pub config: Config,
    /// The files and directories.
    pub paths: Paths,
    /// Notes for a person who need not act on them.
    pub warnings: Vec<String>,
    places: Vec<ValueSource>,
}

/// A key with its effective value.
#[derive(Clone, Debug)]
pub struct EffectiveKey<'a> {
    /// The key.
    pub key: &'static Key,
    /// The value, without passwords.
    pub value: toml::Value,
    /// The source of the value.
    pub source: &'a ValueSource,
}

impl Sources {
    /// Merges and checks everything.
    ///
    /// # Errors
    ///
    /// All errors of the file, the environment and the flags.
    pub fn load(&self) -> Result<LoadedConfig, Error> {
        let paths = self.paths()?;
        let file = ConfigFile::read(&paths.config)?;
        if file.is_none() && self.explicit_file().is_some() {
            return Err(Diagnostic::NotFound(paths.config).into());
        }
        let mut merged = Merge::new(&paths.profile);
        if let Some(file) = &file {
            merged.file(file, &self.environment);
        }
        merged.environment(&self.environment);
        merged.flags(&self.flags, &self.environment);
        merged.config.fleet.timing_divisor = fleet::timing_divisor(&self.environment);
        validate::validate(&merged.config, &merged.places, &mut merged.problems);
        if !merged.problems.is_empty() {
            merged.problems.sort_by(|one, other| one.place().cmp(&other.place()));
            return Err(Error(merged.problems));
        }
        let too_open = file.iter().filter_map(|_| validate::warn_world_writable(&paths.config));
        let password = validate::warn_password_flag(&merged.config, &merged.places);
        let policy = &merged.config.policy;
        let useless = validate::warn_useless_rules("policy.deny", &policy.deny).into_iter();
        let useless = useless.chain(validate::warn_useless_rules("policy.ask", &policy.ask));
        let elsewhere = runtime_dir::warn_unusable(&self.environment, &paths);
        let forbidden = commands::warn_forbidden(&merged.config, &paths.config);
        let warnings =
            too_open.chain(password).chain(useless).chain(elsewhere).chain(forbidden).collect();
        Ok(LoadedConfig { config: merged.config, paths, warnings, places: merged.places })
    }

    /// Returns the files and directories, without reading the configuration.
    ///
    /// # Errors
    ///
    /// [`Diagnostic::ProfileName`] and [`Diagnostic::NoHome`].
    pub fn paths(&self) -> Result<Paths, Diagnostic> {
        const VARIABLE: &str = "NEXUDUS_PROXY_PROFILE";
        let variable = self.environment.text(VARIABLE)?.filter(|name| !name.is_empty());
        let (profile, place) = match (&self.profile, variable) {
            (Some(name), _) => (name.clone(), ValueSource::Flag("--profile".to_owned())),
            (None, Some(name)) => (name, ValueSource::Environment(VARIABLE.to_owned())),
            (None, None) => (defaults::DEFAULT_PROFILE.to_owned(), ValueSource::Default),
        };
        if !paths::is_profile(&profile) {
            return Err(Diagnostic::ProfileName { place, name: profile });
        }
        let mut paths = Paths::find(&profile, |name| {
            let value = self.environment.get(name)?;
            let is_usable = name != RUNTIME_DIR || runtime_dir::check(&value).is_ok();
            is_usable.then_some(value)
        })?;
        if let Some(file) = self.explicit_file() {
            paths.config = std::path::absolute(&file).unwrap_or(file);
        }
        Ok(paths)
    }

    /// Says whether there is a trace of the profile: a part of the configuration, state, a socket.
    ///
    /// # Errors
    ///
    /// [`Diagnostic::UnknownProfile`] where there is none, and as [`Sources::paths`].
    pub fn require_profile(&self) -> Result<(), Diagnostic> {
        let paths = self.paths()?;
        let mut known = vec![defaults::DEFAULT_PROFILE.to_owned()];
        // A file that cannot be read is reported by the command itself.
        if let Ok(Some(file)) = ConfigFile::read(&paths.config) {
            let profiles = file.table.get("profile").and_then(toml::Value::as_table);
            known.extend(profiles.into_iter().flat_map(|profiles| profiles.keys().cloned()));
        }
        known.extend(file_names(&paths.state.join("profiles")));
        let socket =
            |name: String| Some(name.strip_prefix("admin-")?.strip_suffix(".sock")?.to_owned());
        known.extend(file_names(&paths.runtime).filter_map(socket));
        if known.contains(&paths.profile) {
            return Ok(());
        }
        known[1..].sort();
        known.dedup();
        Err(Diagnostic::UnknownProfile { name: paths.profile, known })
    }

    /// Returns the names of the profiles that have a part of the file.
    ///
    /// # Errors
    ///
    /// As [`Sources::paths`], and when the file cannot be read.
    pub fn profiles_in_file(&self) -> Result<Vec<String>, Error> {
        let file = ConfigFile::read(&self.paths()?.config)?;
        let profiles = file.as_ref().and_then(|file| file.table.get("profile")?.as_table());
        Ok(profiles.into_iter().flat_map(|profiles| profiles.keys().cloned()).collect())
    }

    fn explicit_file(&self) -> Option<PathBuf> {
        let variable = || self.environment.get("NEXUDUS_PROXY_CONFIG").map(PathBuf::from);
        self.file.clone().or_else(variable).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Returns the names in a directory; none where it cannot be read.
fn file_names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

impl LoadedConfig {
    /// Returns every key with its effective value and the source of that.
    pub fn effective_keys(&self) -> impl Iterator<Item = EffectiveKey<'_>> {
        KEYS.iter().zip(&self.places).map(|(entry, place)| EffectiveKey {
            key: entry,
            value: entry.redacted(&self.config),
            source: place,
        })
    }
}
