//! Merges file, environment and flags into one configuration, key by key, and collects every error.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::Diagnostic;
use super::file::ConfigFile;
use super::key::{ENV_PREFIX, Key};
use super::keys::{KEYS, SECTIONS, find_key};
use super::source::ValueSource;
use super::value::HOST_KEYS;
use super::value_type::{InvalidValue, ValueType};
use super::{Config, paths};

/// A key given on the command line.
#[derive(Clone, Debug)]
pub struct Override {
    /// The key.
    pub entry: &'static Key,
    /// The given values, one for each time the flag was used.
    pub values: Vec<String>,
    /// The flag as it was written, with its dashes.
    pub flag: String,
}

/// A configuration that sources are merged into, the weakest first.
pub(super) struct Merge {
    pub(super) config: Config,
    /// The source of each key, in the order of [`KEYS`].
    pub(super) places: Vec<ValueSource>,
    pub(super) problems: Vec<Diagnostic>,
}

impl Merge {
    /// Begins with the defaults.
    pub(super) fn new(profile: &str) -> Self {
        let config = Config { profile: profile.to_owned(), ..Config::default() };
        Self { config, places: vec![ValueSource::Default; KEYS.len()], problems: vec![] }
    }

    /// Reads the file's sections, then those of its profiles; only the chosen one counts, but all
    /// are checked.
    pub(super) fn file(&mut self, file: &ConfigFile, environment: &Environment) {
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

    /// Sets the keys that have an environment variable.
    pub(super) fn environment(&mut self, environment: &Environment) {
        for (name, value) in environment.iter() {
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
            // As in the XDG specification: `${NAME:-}` of a compose file hands over empty variables.
            if value.is_empty() {
                continue;
            }
            let Some(text) = value.to_str() else {
                self.problems.push(Diagnostic::VariableEncoding(name.to_owned()));
                continue;
            };
            let place = ValueSource::Environment(name.to_owned());
            self.text(entry, &[text.to_owned()], place, environment);
        }
    }

    /// Sets the keys that were given as flags.
    pub(super) fn flags(&mut self, flags: &[Override], environment: &Environment) {
        for Override { entry, values, flag } in flags {
            self.text(entry, values, ValueSource::Flag(flag.clone()), environment);
        }
    }

    /// Sets a key from text; relative paths start at the working directory.
    fn text(
        &mut self,
        entry: &'static Key,
        values: &[String],
        place: ValueSource,
        environment: &Environment,
    ) {
        match entry.value_type.parse_text(values) {
            Ok(value) => {
                let value = resolve_path(entry, value, Path::new("."), environment.get("HOME"));
                self.set(entry, &value, place);
            }
            Err(invalid) => self.problems.push(diagnose(entry, invalid, place)),
        }
    }

    fn set(&mut self, entry: &'static Key, value: &toml::Value, place: ValueSource) {
        match entry.set(&mut self.config, value) {
            Err(invalid) => self.problems.push(diagnose(entry, invalid, place)),
            Ok(()) => {
                let row = KEYS.iter().position(|row| row.path() == entry.path());
                if let Some(known) = row.and_then(|row| self.places.get_mut(row)) {
                    *known = place;
                }
            }
        }
    }
}

/// Variables with our prefix that are not keys.
const RESERVED_VARIABLES: &[&str] =
    // `run` gives the last one to its command.
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

    /// Names the nearest key, in the same section if there is one: `[limits] header_byte`.
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

/// Returns the nearest of the names, if one is near enough to be meant.
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
        (ValueType::File | ValueType::Socket | ValueType::AuditFile, Some(path))
            if !special.contains(&path) =>
        {
            path
        }
        _ => return value,
    };
    let path = match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        (Some(_), None) | (None, _) => base.join(path),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    path.to_str().map_or(value, toml::Value::from)
}

fn diagnose(entry: &Key, invalid: InvalidValue, place: ValueSource) -> Diagnostic {
    let key = entry.path();
    match invalid {
        InvalidValue::Shape(found) => {
            Diagnostic::Shape { place, key, expected: entry.value_type.expected(), found }
        }
        InvalidValue::Rule(found, why) => Diagnostic::Rule { place, key, found, why },
        InvalidValue::Engine(why) => Diagnostic::Engine { place, key, why },
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
