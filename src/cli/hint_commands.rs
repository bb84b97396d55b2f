//! Every command that a sentence of this program advises can be typed: clap parses it with the names
//! and flags that are shown, and with the global options that are carried over.
//!
//! The sentences are found in the source, so that no error of any module can be left out.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::Cli;
use crate::config::with_flags;

#[test]
fn every_command_that_a_sentence_advises_can_be_typed() {
    let advised = advised();
    assert!(advised.len() > 80, "{}", advised.len());
    let wrong: Vec<_> = advised.iter().flat_map(|(path, command)| faults(path, command)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is wrong with a command, as it is printed and with each global option.
fn faults(path: &Path, advised: &str) -> Vec<String> {
    let mut faults = vec![];
    for flag in ["", " --system"] {
        let command = filled(advised, flag);
        for (profile, scope) in [
            (None, None),
            (Some("work"), None),
            (None, Some("--system")),
            (Some("work"), Some("--user")),
        ] {
            let line = with_flags(&format!("`{command}`"), profile, scope);
            if let Err(why) = parse(line.trim_matches('`'), profile, scope) {
                faults.push(format!("{}: {line}: {why}", path.display()));
            }
        }
    }
    faults
}

fn parse(line: &str, profile: Option<&str>, scope: Option<&str>) -> Result<(), String> {
    let command = super::help::with_examples(Cli::command());
    let matches = match command.try_get_matches_from(words(line)) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let named = matches.get_one::<String>("profile").map(String::as_str);
    if named != profile {
        return Err(format!("the profile is {named:?}"));
    }
    let is_of_system = matches.get_flag("system");
    if scope == Some("--system") && !is_of_system {
        return Err("it is not about the system's daemon".to_owned());
    }
    Ok(())
}

/// Splits a line as a shell does: words in single quotes stay whole.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// Puts what a person has in the places of the names that a sentence or its format string shows.
fn filled(command: &str, flag: &str) -> String {
    // This one repeats what was typed.
    let command = command.replace("{name} {flag} …", "serve --store memory");
    let command = command.replace(" …", "").replace('…', "x");
    let command = command.replace("{flag}", flag).replace("{system}", flag);
    let command = command
        .replace("{kind}", "localhost")
        .replace("{name}", "agent")
        .replace("{path}", "/etc/x.toml");
    let command = command.replace("--origin URL", "--origin http://localhost:5173");
    command.replace("METHOD", "GET").replace("PATH", "/api/x").replace("CODE", "123456")
}

/// Returns every command in backticks that the source has outside of tests and comments, with its
/// file.
fn advised() -> Vec<(PathBuf, String)> {
    let mut commands = vec![];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in rust_files(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        // A literal goes on behind a backslash at the end of its line.
        let joined: Vec<_> = code.split("\\\n").map(str::trim_start).collect();
        let joined = joined.join("");
        let ends = joined.split("`nexudus-proxy ").skip(1).filter_map(|rest| rest.split_once('`'));
        // A literal that ends there is a prefix that is looked for.
        let whole = ends.map(|(command, _)| command).filter(|command| !command.contains('"'));
        let path = path.strip_prefix(&root).unwrap();
        commands.extend(whole.map(|it| (path.to_owned(), format!("nexudus-proxy {it}"))));
    }
    commands
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_test = |path: &Path| {
        let name = path.file_name().unwrap();
        name == "tests" || name == "tests.rs" || name == "hint_commands.rs"
    };
    let kept = entries.filter(|path| !is_test(path));
    kept.flat_map(|path| match path.extension() {
        Some(extension) if extension == "rs" => vec![path],
        Some(_) => vec![],
        None if path.is_dir() => rust_files(&path),
        None => vec![],
    })
    .collect()
}
