//! `config`: write, check and show the configuration.

use std::io;
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::flags::ConfigOverrides;
use super::{CliError, GlobalArgs, Printer};
use crate::config::{self, EffectiveKey};
use crate::{daemon, secure_fs};

/// What `config` takes.
#[derive(clap::Args, Debug)]
pub(super) struct ConfigCommandArgs {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Write a commented file with every key at its default
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

/// Runs one of them.
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

fn init(path: &Path, force: bool, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    match write_example(path, force) {
        Ok(()) if globals.json => print.json(&json!({ "path": path })),
        Ok(()) => print.line(&format!("wrote {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(CliError::ConfigExists(path.to_owned()))
        }
        Err(source) => Err(CliError::WriteFile { path: path.to_owned(), source }),
    }
}

/// Writes the example, readable by its owner only: it will name programs and addresses.
fn write_example(path: &Path, force: bool) -> io::Result<()> {
    path.parent().map_or(Ok(()), secure_fs::create_dir)?;
    let example = config::example();
    match force {
        // Whole or not at all, so that a full disk does not take the old file away.
        true => secure_fs::atomic_write(path, example.as_bytes()),
        false => secure_fs::create_new(path, example.as_bytes()),
    }
}

fn check(keys: ConfigOverrides, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let loaded = globals.load(keys.into_overrides());
    let usable = loaded.and_then(|loaded| Ok(daemon::check(&loaded.config).map(|()| loaded)?));
    let loaded = match usable {
        Ok(loaded) => loaded,
        Err(failure) => {
            return Err(CliError::WithOutput {
                shown: json!({ "valid": false }),
                failure: Box::new(failure),
            });
        }
    };
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
    let loaded = globals.load(keys.into_overrides())?;
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
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
