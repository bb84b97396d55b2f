//! The programs that the configuration names, and whether the system service may run them.
//!
//! The unit's sandbox runs nothing but the daemon (`NoExecPaths=/`), so that whoever takes the
//! daemon over finds no shell. A program of the configuration needs a line of its own there.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{Config, SystemdUnit};

/// Says why the system may have refused to start a program that exists, and how to allow it.
#[cfg(target_os = "linux")]
pub fn explain_refusal(program: &str) -> Option<String> {
    use nix::sys::statvfs::{FsFlags, statvfs};

    let file = find_program(program)?;
    let refused = files_to_run(&file)
        .into_iter()
        .any(|file| statvfs(&file).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOEXEC)));
    let usual = SystemdUnit { name: SERVICE.to_owned(), is_system: true };
    refused.then(|| advice(program, &files_to_run(&file), SystemdUnit::own().unwrap_or(&usual)))
}

/// No other system has such a sandbox.
#[cfg(not(target_os = "linux"))]
pub fn explain_refusal(_: &str) -> Option<String> {
    None
}

/// Warns of programs that the installed system unit would not run, where `file` is its
/// configuration.
pub(super) fn warn_forbidden(config: &Config, file: &Path) -> Vec<String> {
    if !file.starts_with("/etc/nexudus-proxy") {
        return vec![];
    }
    let unit = PathBuf::from("/etc/systemd/system").join(SERVICE);
    let Ok(shipped) = fs::read_to_string(&unit) else { return vec![] };
    let mut drop_ins: Vec<_> = fs::read_dir(format!("{}.d", unit.display()))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    drop_ins.sort();
    let drop_ins = drop_ins.iter().filter_map(|path| fs::read_to_string(path).ok());
    warn_under(&ExecRules::parse(std::iter::once(shipped).chain(drop_ins)), config)
}

fn warn_under(rules: &ExecRules, config: &Config) -> Vec<String> {
    let commands = config.fleet.commands().into_iter().chain([
        ("credentials.command", &config.credentials.command),
        ("session.key_command", &config.session.key_command),
        ("notify.command", &config.notify.command),
    ]);
    let unit = SystemdUnit { name: SERVICE.to_owned(), is_system: true };
    let warn = |(key, argv): (&str, &Vec<String>)| {
        let program = argv.first()?;
        let files = files_to_run(&find_program(program)?);
        let is_refused = files.iter().any(|file| !rules.permit(file));
        is_refused.then(|| format!("{key}: {}", advice(program, &files, &unit)))
    };
    commands.filter_map(warn).collect()
}

/// Says how to allow a program, line by line.
fn advice(program: &str, files: &[PathBuf], unit: &SystemdUnit) -> String {
    let files = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ");
    let (edit, restart) = (unit.systemctl(&format!("edit {}", unit.name)), unit.restart_command());
    format!(
        "the service's sandbox does not run `{program}` (NoExecPaths=): run `{edit}`, write \
         `[Service]` and `ExecPaths={files}` there, then `{restart}`"
    )
}

/// Returns the file of a program, as the system finds it.
fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return fs::canonicalize(program).ok();
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|directory| directory.join(program));
    found.into_iter().find(|file| file.is_file()).and_then(|file| fs::canonicalize(file).ok())
}

/// Returns the files that the system runs for a program: a script needs its interpreter too.
fn files_to_run(file: &Path) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    files.extend(interpreter(file).into_iter().flatten());
    files
}

fn interpreter(script: &Path) -> Option<Vec<PathBuf>> {
    let mut first = vec![];
    let limited = BufReader::new(fs::File::open(script).ok()?.take(MAX_FIRST_LINE));
    limited.split(b'\n').next()?.ok()?.clone_into(&mut first);
    let line = std::str::from_utf8(&first).ok()?.strip_prefix("#!")?;
    let mut words = line.split_whitespace();
    let named = fs::canonicalize(words.next()?).ok()?;
    // `#!/usr/bin/env python3` runs two programs.
    let is_env = named.file_name().is_some_and(|name| name == "env");
    let second = words.next().filter(|_| is_env).and_then(find_program);
    Some(std::iter::once(named).chain(second).collect())
}

/// The paths that `NoExecPaths=` and `ExecPaths=` of a unit allow.
#[derive(Debug, Default)]
struct ExecRules {
    denied: Vec<PathBuf>,
    allowed: Vec<PathBuf>,
}

impl ExecRules {
    /// Reads a unit and its drop-ins, in their order. An empty value takes back those before it.
    fn parse(texts: impl IntoIterator<Item = String>) -> Self {
        let mut rules = Self::default();
        for text in texts {
            for line in text.lines() {
                let Some((name, value)) = line.trim().split_once('=') else { continue };
                let list = match name.trim() {
                    "NoExecPaths" => &mut rules.denied,
                    "ExecPaths" => &mut rules.allowed,
                    _ => continue,
                };
                if value.trim().is_empty() {
                    list.clear();
                }
                // A `-` says that the path may be missing.
                let paths =
                    value.split_whitespace().map(|path| path.trim_start_matches(['-', '+']));
                list.extend(paths.map(PathBuf::from));
            }
        }
        rules
    }

    /// The longest path that leads to a file counts.
    fn permit(&self, file: &Path) -> bool {
        let longest = |paths: &[PathBuf]| {
            let above = paths.iter().filter(|path| file.starts_with(path));
            above.map(|path| path.components().count()).max()
        };
        longest(&self.denied).is_none_or(|denied| longest(&self.allowed) >= Some(denied))
    }
}

const SERVICE: &str = "nexudus-proxy.service";

/// Longest first line of a script that the kernel reads, in bytes (`BINPRM_BUF_SIZE`).
const MAX_FIRST_LINE: u64 = 256;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_runs_no_program_until_a_line_allows_it() {
        let shipped = include_str!("../../systemd/nexudus-proxy.service").to_owned();
        let home = tempfile::tempdir().unwrap();
        let script = home.path().canonicalize().unwrap().join("password");
        fs::write(&script, "#!/bin/sh\necho x\n").unwrap();
        let mut config = Config::default();
        config.credentials.command = vec![script.display().to_string()];
        config.notify.command = vec!["/nonexistent/program".to_owned()];

        let warnings = warn_under(&ExecRules::parse([shipped.clone()]), &config);

        let shell = fs::canonicalize("/bin/sh").unwrap();
        let line = format!("ExecPaths={} {}", script.display(), shell.display());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("credentials.command: "), "{warnings:?}");
        assert!(warnings[0].contains(&format!("`{line}`")), "{warnings:?}");
        assert!(warnings[0].contains("`systemctl edit nexudus-proxy.service`"), "{warnings:?}");
        let allowed = ExecRules::parse([shipped.clone(), format!("[Service]\n{line}\n")]);
        assert_eq!(warn_under(&allowed, &config), [""; 0]);
        let open = ExecRules::parse([shipped, "NoExecPaths=\n".to_owned()]);
        assert_eq!(warn_under(&open, &config), [""; 0]);
    }

    #[test]
    fn a_program_that_may_be_run_is_not_explained_away() {
        assert_eq!(explain_refusal("sh"), None);
        assert_eq!(explain_refusal("/nonexistent/op"), None);
    }
}
