//! Every key of the configuration and every flag has a test that it does something. The table names
//! it, and here is checked that the table is whole and that the test is about what it is said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nexudus_proxy::config::{Entry, KEYS};

use crate::support::home;

/// Each key, and a test that fails when it does nothing.
const OF_KEYS: &[(&str, &str)] = &[("upstream.origin", "a_token_never_goes_to_another_host")];

/// Each flag that is no key, with its command, and a test that fails when it does nothing.
const OF_FLAGS: &[(&str, &str)] = &[];

#[test]
fn every_key_has_a_test_that_it_does_something() {
    let known: BTreeSet<_> = KEYS.iter().map(Entry::path).collect();
    let listed: BTreeSet<_> = OF_KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, listed, "name a test of each key in OF_KEYS");

    let tests = tests();
    for (key, name) in OF_KEYS {
        let body = tests.get(*name).unwrap_or_else(|| panic!("{key}: there is no test {name}"));
        let entry = KEYS.iter().find(|entry| entry.path() == *key).unwrap();
        let flags = [entry.flag(), entry.shorthand.unwrap_or_default().to_owned()];
        let mut spellings = vec![format!("config.{key}"), entry.variable()];
        spellings.extend(flags.iter().filter(|flag| !flag.is_empty()).map(|it| format!("--{it}")));
        spellings.push(format!("[{}]\\n{} = ", entry.section, entry.name));
        spellings.push(format!("[[{key}]]"));
        let is_about = spellings.iter().any(|spelling| body.contains(spelling));
        assert!(is_about, "{name} says nothing of {key}: none of {spellings:?}");
    }
}

#[test]
fn every_flag_has_a_test_that_it_does_something() {
    let listed: BTreeSet<_> = OF_FLAGS.iter().map(|(flag, _)| (*flag).to_owned()).collect();
    assert_eq!(flags(), listed, "name a test of each flag in OF_FLAGS");

    let tests = tests();
    for (flag, name) in OF_FLAGS {
        let body = tests.get(*name).unwrap_or_else(|| panic!("{flag}: there is no test {name}"));
        let (_, long) = flag.rsplit_once(' ').unwrap_or(("", flag));
        let short = match long {
            "--verbose" => "-v",
            "--quiet" => "-q",
            _ => long,
        };
        assert!(body.contains(long) || body.contains(short), "{name} says nothing of {flag}");
    }
}

/// Every test, by its name, with its text.
fn tests() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for suite in ["commands", "platform", "promises"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(suite);
        for file in fs::read_dir(directory).unwrap() {
            let Ok(text) = fs::read_to_string(file.unwrap().path()) else { continue };
            for marked in
                text.split("\n#[test]\n").skip(1).chain(text.split("\n#[tokio::test]\n").skip(1))
            {
                let Some((_, rest)) = marked.split_once("fn ") else { continue };
                let name = rest.split('(').next().unwrap().to_owned();
                let body = rest.split("\n}\n").next().unwrap().to_owned();
                found.insert(name, body);
            }
        }
    }
    found
}

/// Every flag of every command as its help has it; keys of the configuration are flags too, and
/// have their own table.
fn flags() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut commands = vec![String::new()];
    while let Some(command) = commands.pop() {
        let help = home().run(&format!("{command} --help"));
        let mut in_commands = false;
        for line in help.lines() {
            in_commands = (in_commands || line == "Commands:") && !line.is_empty();
            let word = line.split_whitespace().next().unwrap_or_default();
            if in_commands && line.starts_with("  ") && !line.starts_with("   ") {
                commands.push(format!("{command} {word}").trim().to_owned());
            }
            let Some(long) = line.split_whitespace().find(|word| word.starts_with("--")) else {
                continue;
            };
            let long = long.trim_end_matches("...").split('[').next().unwrap();
            let is_flag =
                line.trim_start().starts_with('-') && long != "--help" && long != "--version";
            let name = &long[2..];
            let is_key =
                KEYS.iter().any(|entry| entry.flag() == name || entry.shorthand == Some(name));
            let is_global = GLOBAL.contains(&long);
            if is_flag && !(is_key && command == "serve") {
                found.insert(match is_global {
                    true => long.to_owned(),
                    false => format!("{command} {long}").trim().to_owned(),
                });
            }
        }
    }
    found
}

const GLOBAL: [&str; 6] = ["--profile", "--config", "--json", "--verbose", "--quiet", "--color"];
