//! Every key of the configuration as a flag.

use std::sync::LazyLock;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{KEYS, Key, Override, ValueType, parse_duration};

/// The keys of the configuration that were given as flags.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigArgs(Vec<Override>);

impl ConfigArgs {
    /// Returns the keys that were given.
    pub(super) fn into_overrides(self) -> Vec<Override> {
        self.0
    }
}

/// The names of a key's flags; clap wants them to live as long as the program.
#[derive(Debug)]
struct FlagNames {
    entry: &'static Key,
    /// `throttle.reads`
    id: String,
    /// `throttle-reads`
    long: String,
}

impl FlagNames {
    /// Returns the flag that the help shows first.
    fn flag(&'static self) -> &'static str {
        self.entry.shorthand.unwrap_or(&self.long)
    }
}

static FLAG_NAMES: LazyLock<Vec<FlagNames>> = LazyLock::new(|| {
    let names = |entry: &'static Key| FlagNames { entry, id: entry.path(), long: entry.flag() };
    KEYS.iter().map(names).collect()
});

impl Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let command = FLAG_NAMES
            .iter()
            .filter(|names| names.entry.shorthand.is_some())
            .fold(command, |command, names| command.arg(flag(names)))
            .arg(read_only())
            .next_help_heading("Configuration");
        FLAG_NAMES
            .iter()
            .filter(|names| names.entry.shorthand.is_none())
            .fold(command, |command, names| command.arg(flag(names).hide_short_help(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The same keys for a command that is about something else: the flags work, and the help does not
/// list them a second time.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigOverrides(ConfigArgs);

impl ConfigOverrides {
    /// Returns the keys that were given.
    pub(super) fn into_overrides(self) -> Vec<Override> {
        self.0.into_overrides()
    }
}

impl Args for ConfigOverrides {
    fn augment_args(command: Command) -> Command {
        let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        ConfigArgs::augment_args(command)
            .mut_args(|arg| if own.contains(arg.get_id()) { arg } else { arg.hide(true) })
            .after_help("Takes the flags of `serve` too: see `nexudus-proxy serve --help`.")
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The keys of `[upstream]` alone, for a command whose other flags have names of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamOverrides(Vec<Override>);

impl UpstreamOverrides {
    /// Returns the keys that were given.
    #[cfg_attr(not(unix), expect(dead_code, reason = "`run` is for unix"))]
    pub(super) fn into_overrides(self) -> Vec<Override> {
        self.0
    }
}

impl Args for UpstreamOverrides {
    fn augment_args(command: Command) -> Command {
        let names = FLAG_NAMES.iter().filter(|names| names.entry.section == "upstream");
        names.fold(command, |command, names| command.arg(flag(names).hide_short_help(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for UpstreamOverrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = FLAG_NAMES.iter().filter(|names| names.entry.section == "upstream");
        Ok(Self(names.filter_map(|names| given(names, matches)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl FromArgMatches for ConfigOverrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        ConfigArgs::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Returns the variable of the key that has this flag, without its dashes.
pub(super) fn env_variable(flag: &str) -> Option<String> {
    let names = FLAG_NAMES.iter().find(|names| names.flag() == flag || names.long == flag)?;
    Some(names.entry.env_variable())
}

/// The id of `--read-only`.
const READ_ONLY: &str = "read-only";

fn read_only() -> Arg {
    Arg::new(READ_ONLY)
        .long(READ_ONLY)
        .action(ArgAction::SetTrue)
        .conflicts_with("policy.anonymous")
        .help("Clients without a client key may only read")
}

fn flag(names: &'static FlagNames) -> Arg {
    let entry = names.entry;
    let help = match format_default(entry) {
        Some(default) => format!("{} [default: {default}]", entry.doc),
        None => entry.doc.to_owned(),
    };
    let arg = Arg::new(names.id.as_str())
        .long(names.flag())
        .value_name(entry.value_type.placeholder())
        .action(if entry.value_type.is_list() { ArgAction::Append } else { ArgAction::Set });
    let arg = match entry.shorthand {
        Some(_) => arg
            .alias(names.long.as_str())
            .long_help(format!("{help} (also --{})", names.long))
            .help(help),
        None => arg.help(help),
    };
    if entry.value_type == ValueType::Bool {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    }
}

/// Returns the default as a person would type it, or `None` for an empty one.
fn format_default(entry: &Key) -> Option<String> {
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

impl FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given: Vec<_> =
            FLAG_NAMES.iter().filter_map(|names| given(names, matches)).collect();
        if matches.get_flag(READ_ONLY) {
            given.extend(override_for("policy.anonymous", "read-only", "--read-only"));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns a key that was given.
fn given(names: &'static FlagNames, matches: &ArgMatches) -> Option<Override> {
    let texts = matches.get_many::<String>(&names.id)?.cloned().collect();
    // clap does not record which of two spellings was used.
    Some(Override { entry: names.entry, values: texts, flag: format!("--{}", names.flag()) })
}

/// Returns what `-v` and `-q` say of `log.level`.
pub(super) fn verbosity(verbose: u8, quiet: bool) -> Option<Override> {
    match (verbose, quiet) {
        (0, false) => None,
        (0, true) => override_for("log.level", "warn", "-q"),
        (1, _) => override_for("log.level", "debug", "-v"),
        (_, _) => override_for("log.level", "trace", "-vv"),
    }
}

fn override_for(path: &str, text: &str, flag: &str) -> Option<Override> {
    let entry = KEYS.iter().find(|entry| entry.path() == path)?;
    Some(Override { entry, values: vec![text.to_owned()], flag: flag.to_owned() })
}

/// Reads a duration that a command takes for itself.
pub(super) fn parse_duration_flag(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("a duration is written 500ms, 30s or 8h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_gives_its_key() {
        for names in FLAG_NAMES.iter() {
            for flag in [names.long.as_str(), names.flag()] {
                let command = ConfigArgs::augment_args(Command::new("test"));
                let matches = command.get_matches_from(["test", &format!("--{flag}=x")]);

                let given = ConfigArgs::from_arg_matches(&matches).unwrap().into_overrides();

                assert_eq!(given.len(), 1);
                assert_eq!(given[0].entry.path(), names.id);
                assert_eq!(given[0].values, ["x"]);
            }
        }
    }
}
