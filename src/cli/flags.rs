//! Every key of the configuration as a flag.

use std::sync::LazyLock;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Entry, Given, KEYS, Kind, read_duration};

/// The keys that were given on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Vec<Given>);

impl Keys {
    /// Returns them.
    pub(super) fn given(self) -> Vec<Given> {
        self.0
    }
}

/// The names of a key's flags; clap wants them to live as long as the program.
#[derive(Debug)]
struct Names {
    entry: &'static Entry,
    /// `throttle.reads`
    id: String,
    /// `throttle-reads`
    long: String,
}

impl Names {
    /// Returns the flag that the help shows first.
    fn flag(&'static self) -> &'static str {
        self.entry.shorthand.unwrap_or(&self.long)
    }
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = |entry: &'static Entry| Names { entry, id: entry.path(), long: entry.flag() };
    KEYS.iter().map(names).collect()
});

impl Args for Keys {
    fn augment_args(command: Command) -> Command {
        let command = NAMES
            .iter()
            .filter(|names| names.entry.shorthand.is_some())
            .fold(command, |command, names| command.arg(flag(names)))
            .arg(read_only())
            .next_help_heading("Configuration");
        NAMES
            .iter()
            .filter(|names| names.entry.shorthand.is_none())
            .fold(command, |command, names| command.arg(flag(names).hide_short_help(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The same keys for a command that is about something else: they work, and the help does not list
/// them a second time.
#[derive(Clone, Debug, Default)]
pub(super) struct AlsoKeys(Keys);

impl AlsoKeys {
    /// Returns those that were given.
    pub(super) fn given(self) -> Vec<Given> {
        self.0.given()
    }
}

impl Args for AlsoKeys {
    fn augment_args(command: Command) -> Command {
        let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        Keys::augment_args(command)
            .mut_args(|arg| if own.contains(arg.get_id()) { arg } else { arg.hide(true) })
            .after_help("Takes the flags of `serve` too: see `nexudus-proxy serve --help`.")
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AlsoKeys {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Keys::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Returns the variable of the key that has this flag, without its dashes.
pub(super) fn variable(flag: &str) -> Option<String> {
    let names = NAMES.iter().find(|names| names.flag() == flag || names.long == flag)?;
    Some(names.entry.variable())
}

/// The id of `--read-only`.
const READ_ONLY: &str = "read-only";

fn read_only() -> Arg {
    Arg::new(READ_ONLY)
        .long(READ_ONLY)
        .action(ArgAction::SetTrue)
        .conflicts_with("policy.anonymous")
        .help("Callers without a client key may only read")
}

fn flag(names: &'static Names) -> Arg {
    let entry = names.entry;
    let help = match default(entry) {
        Some(default) => format!("{} [default: {default}]", entry.doc),
        None => entry.doc.to_owned(),
    };
    let arg = Arg::new(names.id.as_str())
        .long(names.flag())
        .value_name(entry.kind.placeholder())
        .action(if entry.kind.is_list() { ArgAction::Append } else { ArgAction::Set });
    let arg = match entry.shorthand {
        Some(_) => arg
            .alias(names.long.as_str())
            .long_help(format!("{help} (also --{})", names.long))
            .help(help),
        None => arg.help(help),
    };
    match entry.kind == Kind::Switch {
        true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        false => arg,
    }
}

/// Returns the default as one would type it; nothing for what is empty.
fn default(entry: &Entry) -> Option<String> {
    let typed = |value: &toml::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    let default = entry.default();
    let default = match default.as_array() {
        Some(items) => items.iter().map(typed).collect::<Vec<_>>().join(", "),
        None => typed(&default),
    };
    (!default.is_empty()).then_some(default)
}

impl FromArgMatches for Keys {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given: Vec<_> = NAMES
            .iter()
            .filter_map(|names| {
                let texts = matches.get_many::<String>(&names.id)?.cloned().collect();
                // Which of its two spellings was used is not kept.
                Some(Given { entry: names.entry, texts, flag: format!("--{}", names.flag()) })
            })
            .collect();
        if matches.get_flag(READ_ONLY) {
            given.extend(key("policy.anonymous", "read-only", "--read-only"));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns what `-v` and `-q` say of `log.level`.
pub(super) fn verbosity(verbose: u8, quiet: bool) -> Option<Given> {
    match (verbose, quiet) {
        (0, false) => None,
        (0, true) => key("log.level", "warn", "-q"),
        (1, _) => key("log.level", "debug", "-v"),
        (_, _) => key("log.level", "trace", "-vv"),
    }
}

fn key(path: &str, text: &str, flag: &str) -> Option<Given> {
    let entry = KEYS.iter().find(|entry| entry.path() == path)?;
    Some(Given { entry, texts: vec![text.to_owned()], flag: flag.to_owned() })
}

/// Reads a duration that a command takes for itself.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    read_duration(text).ok_or("a duration is written 500ms, 30s or 8h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_gives_its_key() {
        for names in NAMES.iter() {
            for flag in [names.long.as_str(), names.flag()] {
                let command = Keys::augment_args(Command::new("test"));
                let matches = command.get_matches_from(["test", &format!("--{flag}=x")]);

                let given = Keys::from_arg_matches(&matches).unwrap().given();

                assert_eq!(given.len(), 1);
                assert_eq!(given[0].entry.path(), names.id);
                assert_eq!(given[0].texts, ["x"]);
            }
        }
    }
}
