//! `config`: write, check and show the configuration.

use std::io;
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::flags::AlsoKeys;
use super::{Failure, Globals, Print};
use crate::config::{self, Setting};
use crate::{daemon, private};

/// What `config` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Write a commented file with every key at its default
    Init {
        /// Replace the file that is there
        #[arg(long)]
        force: bool,
    },
    /// Say what is wrong with the configuration
    Check(AlsoKeys),
    /// Print the effective values and where each came from
    Show(AlsoKeys),
    /// Print the path of the configuration file
    Path,
    /// Print the JSON schema of the configuration file
    Schema,
}

/// Runs one of them.
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let path = || globals.sources(vec![]).paths().map(|paths| paths.config);
    match options.act {
        Act::Init { force } => init(&path()?, force, globals, print),
        Act::Check(keys) => check(keys, globals, print),
        Act::Show(keys) => show(keys, globals, print),
        Act::Path if globals.json => print.json(&json!({ "path": path()? })),
        Act::Path => print.line(&path()?.display().to_string()),
        Act::Schema => print.json(&config::schema()),
    }
}

fn init(path: &Path, force: bool, globals: &Globals, print: Print) -> Result<(), Failure> {
    match write(path, force) {
        Ok(()) if globals.json => print.json(&json!({ "path": path })),
        Ok(()) => print.line(&format!("wrote {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::Exists(path.to_owned()))
        }
        Err(source) => Err(Failure::Write { path: path.to_owned(), source }),
    }
}

/// Writes the example, readable by its owner only: it will name programs and addresses.
fn write(path: &Path, force: bool) -> io::Result<()> {
    path.parent().map_or(Ok(()), private::directory)?;
    let example = config::example();
    match force {
        // Whole or not at all, so that a full disk does not take the old file away.
        true => private::replace(path, example.as_bytes()),
        false => private::create(path, example.as_bytes()),
    }
}

fn check(keys: AlsoKeys, globals: &Globals, print: Print) -> Result<(), Failure> {
    let loaded = globals.load(keys.given());
    let usable = loaded.and_then(|loaded| Ok(daemon::check(&loaded.config).map(|()| loaded)?));
    let loaded = match usable {
        Ok(loaded) => loaded,
        Err(failure) => {
            return Err(Failure::Shown {
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

fn show(keys: AlsoKeys, globals: &Globals, print: Print) -> Result<(), Failure> {
    let loaded = globals.load(keys.given())?;
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    let settings: Vec<Setting<'_>> = loaded.settings().collect();
    if globals.json {
        let rows = settings.iter().map(|setting| {
            json!({
                "key": setting.entry.path(),
                "value": setting.value,
                "origin": setting.place.to_string(),
            })
        });
        return print.json(&rows.collect());
    }
    let rows = settings.iter().map(|setting| {
        [setting.entry.path(), setting.value.to_string(), setting.place.to_string()]
    });
    print.table(&rows.collect::<Vec<_>>(), "default")
}
