//! `config`: write, check and show the configuration.

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::config_flags::ConfigOverrides;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::config::{self, EffectiveKey};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::{daemon, secure_fs};

/// The arguments of `config`.
#[derive(clap::Args, Debug)]
pub(super) struct ConfigCommandArgs {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Write a file with every key, commented out at its default
    Init {
        /// Replace the file that is there
        #[arg(long)]
        force: bool,
    },
    /// Say what is wrong with the configuration
    Check(ConfigOverrides),
    /// Print the effective values and where each came from
    Show(ConfigOverrides),
    /// Print the path of the configuration file
    Path,
    /// Print the JSON schema of the configuration file
    Schema,
}

/// Runs the action.
pub(super) fn run(
    options: ConfigCommandArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let path = || globals.sources(vec![]).paths().map(|paths| paths.config);
    match options.action {
        ConfigAction::Init { force } => init(&path()?, force, globals, print),
        ConfigAction::Check(keys) => check(keys, globals, print),
        ConfigAction::Show(keys) => show(keys, globals, print),
        ConfigAction::Path if globals.json => print.json(&json!({ "path": path()? })),
        ConfigAction::Path => print.line(&path()?.display().to_string()),
        ConfigAction::Schema => print.json(&config::schema()),
    }
}

/// Why the example cannot be written.
#[derive(Debug, thiserror::Error)]
enum ConfigFileError {
    #[error("there is a configuration file already: {}", .0.display())]
    Exists(PathBuf),
    #[error("could not write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Problem for ConfigFileError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Exists(_) => {
                ProblemKind::CommandFailed.with_hint("Edit it, or replace it with --force.")
            }
            Self::Write { .. } => ProblemKind::CommandFailed.into(),
        }
    }
}

fn init(path: &Path, force: bool, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    match write_example(path, force) {
        Ok(()) if globals.json => print.json(&json!({ "path": path })),
        Ok(()) => print.line(&format!("wrote {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(ConfigFileError::Exists(path.to_owned()).into())
        }
        Err(source) => Err(ConfigFileError::Write { path: path.to_owned(), source }.into()),
    }
}

/// Writes the example, readable by its owner only: it will name programs and addresses.
fn write_example(path: &Path, force: bool) -> io::Result<()> {
    path.parent().map_or(Ok(()), secure_fs::create_dir)?;
    let example = config::example();
    if force {
        // Written whole or not at all, so that a full disk does not destroy the old file.
        secure_fs::atomic_write(path, example.as_bytes())
    } else {
        secure_fs::create_new(path, example.as_bytes())
    }
}

fn check(keys: ConfigOverrides, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let loaded = globals.load(keys.into_overrides()).map_err(CliError::from);
    let usable = loaded.and_then(|loaded| Ok(daemon::check(&loaded.config).map(|()| loaded)?));
    let loaded = usable.map_err(|error| error.with_output(json!({ "valid": false })))?;
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    let file = &loaded.paths.config;
    let read = file.exists();
    match (globals.json, read) {
        (true, _) => print.json(&json!({
            "valid": true,
            "file": read.then_some(file),
            "warnings": loaded.warnings,
        })),
        (false, true) => print.line(&format!("{}: ok", file.display())),
        (false, false) => print.line(&format!("ok (no file at {})", file.display())),
    }
}

fn show(keys: ConfigOverrides, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let loaded = globals.load_and_warn(keys.into_overrides(), print)?;
    let settings: Vec<EffectiveKey<'_>> = loaded.effective_keys().collect();
    if globals.json {
        let rows = settings.iter().map(|setting| {
            json!({
                "key": setting.key.path(),
                "value": setting.value,
                "origin": setting.source.to_string(),
            })
        });
        return print.json(&rows.collect());
    }
    let rows = settings
        .iter()
        .map(|setting| [setting.key.path(), setting.value.to_string(), setting.source.to_string()]);
    print.table(&rows.collect::<Vec<_>>(), "default")
}
