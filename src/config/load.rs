//! Flags, environment, file and defaults become one configuration.
//!
//! A later source overrides an earlier one key by key: default, file, `[profile.NAME.…]`,
//! environment, flag. Everything that is wrong is collected, so that one run shows all of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{Diagnostic, Error};
use super::file::ConfigFile;
use super::key::{ENV_PREFIX, Key, ValueType};
use super::keys::{KEYS, SECTIONS, find_key};
use super::paths::{self, Paths};
use super::source::ValueSource;
use super::value::{HOST_KEYS, InvalidValue};
use super::{Config, defaults, validate};

/// What a configuration is made from.
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

/// The environment of a process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// A key given on the command line.
#[derive(Clone, Debug)]
pub struct Override {
    /// The key.
    pub entry: &'static Key,
    /// What was given, once for each time the flag was used.
    pub values: Vec<String>,
    /// The flag as it was written, with its dashes.
    pub flag: String,
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// What the daemon is told.
    pub config: Config,
    /// Where its things live.
    pub paths: Paths,
    /// What a person should know, and need not act on.
    pub warnings: Vec<String>,
    places: Vec<ValueSource>,
}

/// One effective value.
#[derive(Clone, Debug)]
pub struct EffectiveKey<'a> {
    /// The key.
    pub key: &'static Key,
    /// Its value, without passwords.
    pub value: toml::Value,
    /// Where it came from.
    pub source: &'a ValueSource,
}

impl Sources {
    /// Merges and checks everything.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, the environment and the flags.
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
        validate::validate(&merged.config, &merged.places, &mut merged.problems);
        if !merged.problems.is_empty() {
            merged.problems.sort_by(|one, other| one.place().cmp(&other.place()));
            return Err(Error(merged.problems));
        }
        let too_open = file.iter().filter_map(|_| validate::warn_world_writable(&paths.config));
        let shown = validate::warn_password_flag(&merged.config, &merged.places);
        let useless = validate::warn_useless_rules(&merged.config.policy.deny);
        let warnings = too_open.chain(shown).chain(useless).collect();
        Ok(LoadedConfig { config: merged.config, paths, warnings, places: merged.places })
    }

    /// Returns where things live, without reading the configuration.
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
        let mut paths = Paths::find(&profile, |name| self.environment.get(name))?;
        if let Some(file) = self.explicit_file() {
            paths.config = std::path::absolute(&file).unwrap_or(file);
        }
        Ok(paths)
    }

    fn explicit_file(&self) -> Option<PathBuf> {
        let variable = || self.environment.get("NEXUDUS_PROXY_CONFIG").map(PathBuf::from);
        self.file.clone().or_else(variable).filter(|path| !path.as_os_str().is_empty())
    }
}

impl Environment {
    /// Copies the environment of this process. `HOME` falls back to the user database, for launchd
    /// and cron set none.
    pub fn from_process() -> Self {
        let mut vars: BTreeMap<_, _> = std::env::vars_os().collect();
        if !vars.contains_key(&OsString::from("HOME"))
            && let Some(home) = std::env::home_dir()
        {
            vars.insert("HOME".into(), home.into());
        }
        Self(vars)
    }

    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(&OsString::from(name)).cloned()
    }

    fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        let text = self.get(name).map(OsString::into_string).transpose();
        text.map_err(|_| Diagnostic::VariableEncoding(name.to_owned()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(vars: [(&str, &str); N]) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl LoadedConfig {
    /// Returns every key with its effective value and where that came from.
    pub fn effective_keys(&self) -> impl Iterator<Item = EffectiveKey<'_>> {
        KEYS.iter().zip(&self.places).map(|(entry, place)| EffectiveKey {
            key: entry,
            value: entry.redacted(&self.config),
            source: place,
        })
    }
}

struct Merge {
    config: Config,
    places: Vec<ValueSource>,
    problems: Vec<Diagnostic>,
}

impl Merge {
    fn new(profile: &str) -> Self {
        let config = Config { profile: profile.to_owned(), ..Config::default() };
        Self { config, places: vec![ValueSource::Default; KEYS.len()], problems: vec![] }
    }

    /// Reads the file's sections, then those of its profiles; only the chosen one counts, but all
    /// are checked.
    fn file(&mut self, file: &ConfigFile, environment: &Environment) {
        let mut base = Layer { file, above: vec![], home: environment.get("HOME") };
        base.sections(&file.table, self);
        let Some(profiles) = file.table.get("profile") else { return };
        let Some(profiles) = profiles.as_table() else {
            let (place, name) = (file.place(&["profile"]), "profile.NAME".to_owned());
            return self.problems.push(Diagnostic::Section { place, name });
        };
        for (name, sections) in profiles {
            base.above = vec!["profile", name];
            let place = file.place(&base.above);
            match sections.as_table() {
                _ if !paths::is_profile(name) => {
                    self.problems.push(Diagnostic::ProfileName { place, name: name.clone() });
                }
                None => {
                    let name = format!("profile.{name}");
                    self.problems.push(Diagnostic::Section { place, name });
                }
                Some(sections) if *name == self.config.profile => base.sections(sections, self),
                Some(sections) => {
                    let mut other = Self::new(name);
                    base.sections(sections, &mut other);
                    self.problems.append(&mut other.problems);
                }
            }
        }
    }

    fn environment(&mut self, environment: &Environment) {
        for (name, value) in &environment.0 {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else {
                continue;
            };
            if RESERVED_VARIABLES.contains(&name) {
                continue;
            }
            let Some(entry) = KEYS.iter().find(|entry| entry.env_variable() == name) else {
                let variables = KEYS.iter().map(Key::env_variable);
                let nearest = nearest(name, variables);
                self.problems.push(Diagnostic::UnknownVariable { name: name.to_owned(), nearest });
                continue;
            };
            let Some(text) = value.to_str() else {
                self.problems.push(Diagnostic::VariableEncoding(name.to_owned()));
                continue;
            };
            let place = ValueSource::Environment(name.to_owned());
            self.text(entry, &[text.to_owned()], place, environment);
        }
    }

    fn flags(&mut self, flags: &[Override], environment: &Environment) {
        for Override { entry, values: texts, flag } in flags {
            self.text(entry, texts, ValueSource::Flag(flag.clone()), environment);
        }
    }

    /// Sets a key from text; relative paths start where the person is.
    fn text(
        &mut self,
        entry: &'static Key,
        texts: &[String],
        place: ValueSource,
        environment: &Environment,
    ) {
        match entry.value_type.parse_text(texts) {
            Ok(value) => {
                let value = resolve_path(entry, value, Path::new("."), environment.get("HOME"));
                self.set(entry, &value, place);
            }
            Err(wrong) => self.problems.push(diagnose(entry, wrong, place)),
        }
    }

    fn set(&mut self, entry: &'static Key, value: &toml::Value, place: ValueSource) {
        match entry.set(&mut self.config, value) {
            Err(wrong) => self.problems.push(diagnose(entry, wrong, place)),
            Ok(()) => {
                let row = KEYS.iter().position(|row| row.path() == entry.path());
                if let Some(known) = row.and_then(|row| self.places.get_mut(row)) {
                    *known = place;
                }
            }
        }
    }
}

/// Variables of ours that are not keys.
const RESERVED_VARIABLES: &[&str] =
    // The last is what `run` gives its command.
    &["NEXUDUS_PROXY_CONFIG", "NEXUDUS_PROXY_PROFILE", "NEXUDUS_PROXY_KEY"];

/// The sections of a file, or of one of its profiles.
struct Layer<'a> {
    file: &'a ConfigFile,
    above: Vec<&'a str>,
    home: Option<OsString>,
}

impl Layer<'_> {
    fn sections(&self, table: &toml::Table, merged: &mut Merge) {
        for (section, value) in table {
            let place = self.place(&[section]);
            if let Some(entry) = find_key("", section) {
                merged.set(entry, value, place);
                continue;
            }
            if section == "profile" && self.above.is_empty() {
                continue;
            }
            let known = SECTIONS.iter().any(|(name, _)| name == section);
            match value.as_table() {
                Some(keys) if known => self.keys(section, keys, merged),
                None if known => {
                    let name = self.name(section);
                    merged.problems.push(Diagnostic::Section { place, name });
                }
                Some(_) => {
                    // There is no profile in a profile.
                    let profile = self.above.is_empty().then_some("profile");
                    let names = SECTIONS.iter().map(|(name, _)| *name).chain(["host"]);
                    let nearest = nearest(section, names.chain(profile).map(str::to_owned));
                    let nearest = nearest.map(|nearest| self.name(&nearest));
                    let name = self.name(section);
                    merged.problems.push(Diagnostic::UnknownSection { place, name, nearest });
                }
                None => merged.problems.push(self.unknown("", section)),
            }
        }
    }

    fn keys(&self, section: &str, keys: &toml::Table, merged: &mut Merge) {
        for (name, value) in keys {
            let Some(entry) = find_key(section, name) else {
                merged.problems.push(self.unknown(section, name));
                continue;
            };
            let value =
                resolve_path(entry, value.clone(), self.file.directory(), self.home.clone());
            merged.set(entry, &value, self.place(&[section, name]));
        }
    }

    fn place(&self, keys: &[&str]) -> ValueSource {
        self.file.place(&[&self.above, keys].concat())
    }

    fn name(&self, name: &str) -> String {
        [&self.above, &[name][..]].concat().join(".")
    }

    /// The nearest key is looked for in its own section first: `[limits] header_byte`.
    fn unknown(&self, section: &str, name: &str) -> Diagnostic {
        let near = |same: bool| {
            let names = KEYS.iter().filter(|entry| (entry.section == section) == same);
            let names: Vec<_> = names.map(|entry| (entry.name.to_owned(), entry.path())).collect();
            let best = nearest(name, names.iter().map(|(name, _)| name.clone()))?;
            names.into_iter().find(|(name, _)| *name == best).map(|(_, path)| path)
        };
        let (place, name) = match section {
            "" => (self.place(&[name]), name.to_owned()),
            section => (self.place(&[section, name]), format!("{section}.{name}")),
        };
        let keys = KEYS.iter().filter(|entry| entry.section == section && !section.is_empty());
        Diagnostic::UnknownKey {
            place,
            name,
            nearest: near(true).or_else(|| near(false)),
            known: keys.map(|entry| entry.name).collect(),
        }
    }
}

/// Returns the nearest of the names, if one is so near that it can have been meant.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let name = name.to_lowercase();
    names
        .map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Makes a path absolute: `~/` is the home directory, anything relative starts at `base`.
fn resolve_path(
    entry: &Key,
    value: toml::Value,
    base: &Path,
    home: Option<OsString>,
) -> toml::Value {
    let special = ["", "auto", "off"];
    let path = match (entry.value_type, value.as_str()) {
        (ValueType::File | ValueType::Socket, Some(path)) if !special.contains(&path) => path,
        _ => return value,
    };
    let path = match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        (Some(_), None) | (None, _) => base.join(path),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    path.to_str().map_or(value, toml::Value::from)
}

fn diagnose(entry: &Key, wrong: InvalidValue, place: ValueSource) -> Diagnostic {
    let key = entry.path();
    match wrong {
        InvalidValue::Shape(found) => {
            Diagnostic::Shape { place, key, expected: entry.value_type.expected(), found }
        }
        InvalidValue::PlainHttp => Diagnostic::PlainHttp { place, key },
        InvalidValue::ExtraPart(what) => Diagnostic::ExtraPart { place, key, what },
        InvalidValue::UnknownKey(name) => Diagnostic::UnknownKey {
            place,
            nearest: nearest(&name, HOST_KEYS.iter().map(|&key| key.to_owned()))
                .map(|near| format!("{key}.{near}")),
            name: format!("{key}.{name}"),
            known: HOST_KEYS.to_vec(),
        },
    }
}
