//! `config`: write, check and show the configuration.

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::config_flags::ConfigOverrides;
use super::daemon_client::find_daemon;
use super::globals::GlobalArgs;
use super::{CliError, Printer, serve};
use crate::admin::api::{ConfigValue, EffectiveConfig};
use crate::config::{self, LoadedConfig};
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

impl ConfigCommandArgs {
    /// Says whether the action is about no profile in particular, or about a new one.
    pub(super) fn needs_no_profile(&self) -> bool {
        matches!(self.action, ConfigAction::Init { .. } | ConfigAction::Schema)
    }
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
        ConfigAction::Path => {
            let path = match daemon_config(globals)? {
                Some(effective) => effective.path,
                None => path()?.display().to_string(),
            };
            if globals.json { print.json(&json!({ "path": path })) } else { print.line(&path) }
        }
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
    let overrides = keys.into_overrides();
    let usable = check_profile(globals, overrides.clone())
        .and_then(|loaded| check_others(globals, &overrides).map(|()| loaded));
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

fn check_profile(
    globals: &GlobalArgs,
    overrides: Vec<config::Override>,
) -> Result<LoadedConfig, CliError> {
    let loaded = globals.load(overrides)?;
    Ok(daemon::check_loaded(&loaded).map(|()| loaded)?)
}

/// Checks the other profiles of the file too: a daemon that is to serve one of them reads it one day.
fn check_others(globals: &GlobalArgs, overrides: &[config::Override]) -> Result<(), CliError> {
    let chosen = globals.profile_name();
    for profile in globals.sources(vec![]).profiles_in_file()? {
        if chosen.as_ref() != Some(&profile) {
            let globals = GlobalArgs { profile: Some(profile), ..globals.clone() };
            check_profile(&globals, overrides.to_vec())?;
        }
    }
    Ok(())
}

fn show(keys: ConfigOverrides, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let overrides = keys.into_overrides();
    // With flags the question is what a daemon with those flags would have.
    let served = if overrides.is_empty() { daemon_config(globals)? } else { None };
    let rows = match served {
        Some(effective) => {
            if !globals.quiet {
                print.note("this is the configuration of the running daemon");
            }
            effective.keys
        }
        None => {
            let loaded = globals.load_and_warn(overrides, print)?;
            let rows = loaded.effective_keys().map(|setting| ConfigValue {
                key: setting.key.path(),
                value: json!(setting.value),
                origin: setting.source.to_string(),
            });
            rows.collect()
        }
    };
    if globals.json {
        return print.json(&json!(rows));
    }
    let rows = rows.into_iter().map(|ConfigValue { key, value, origin }| {
        let written = toml::Value::try_from(&value).map(|value| value.to_string());
        [key, written.unwrap_or_else(|_| value.to_string()), origin]
    });
    print.table(&rows.collect::<Vec<_>>(), "default")
}

/// Returns the configuration of the daemon that serves, unless a file was named: then the question is
/// about that file.
fn daemon_config(globals: &GlobalArgs) -> Result<Option<EffectiveConfig>, CliError> {
    if globals.config.is_some() {
        return Ok(None);
    }
    serve::control_runtime()?.block_on(async {
        match find_daemon(globals).await?.serving() {
            Some(daemon) => Ok(Some(daemon.admin.get("/v1/config").await?)),
            None => Ok(None),
        }
    })
}
