//! The files of this program and of the person that an isolated command does not see.
//!
//! A directory is hidden as a whole: a file that is made in it later is hidden too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::plan::Protected;
use crate::config::{AuditFile, Config, Paths, UnixSocket};

/// The audit is written into a directory that the command needs, and rotated there.
#[derive(Debug)]
pub(in crate::run) struct SharedAuditDirectory(pub(in crate::run) PathBuf);

/// Returns what is hidden or closed. A path that leads nowhere does no harm.
pub(in crate::run) fn protected_paths(
    config: &Config,
    paths: &Paths,
    environment: impl Fn(&str) -> Option<OsString>,
    working_directory: &Path,
) -> Result<Protected, SharedAuditDirectory> {
    let directory =
        |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = directory("HOME");
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let settings = [directory("XDG_CONFIG_HOME"), below_home(".config")];
    let settings: Vec<PathBuf> = settings.into_iter().flatten().collect();
    let data: Vec<PathBuf> =
        [directory("XDG_DATA_HOME"), below_home(".local/share")].into_iter().flatten().collect();

    let mut own = vec![paths.state.clone()];
    own.extend(paths.config.parent().filter(|it| is_named_after_us(it)).map(Path::to_owned));
    let mut hidden: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    hidden.extend([paths.config.clone(), paths.runtime.clone()]);
    // Another configuration file may be given for this command, or the system's daemon serve it.
    if let Ok(usual) = Paths::find(&paths.profile, &environment) {
        own.extend(usual.config.parent().map(Path::to_owned));
        own.push(usual.state);
        hidden.push(usual.runtime);
    }
    // The units of the person, by which our daemon is started, and what is added to them.
    own.extend(settings.iter().chain(&data).map(|directory| directory.join("systemd")));
    if let UnixSocket::Path(socket) = &config.listen.unix {
        hidden.push(socket.clone());
    }
    hidden.extend(directory("CREDENTIALS_DIRECTORY"));
    hidden.extend(settings.iter().flat_map(|it| CREDENTIALS.map(|name| it.join(name))));
    hidden.extend(data.iter().flat_map(|it| KEYRINGS.map(|name| it.join(name))));
    // In a container it may be the home directory itself.
    let needed = [Some(working_directory.to_owned()), home.clone(), directory("TMPDIR")];
    let needed: Vec<PathBuf> = needed.into_iter().flatten().map(|path| resolved(&path)).collect();
    let is_needed = |path: &Path| needed.iter().any(|it| it.starts_with(resolved(path)));
    hidden.extend(directory("XDG_RUNTIME_DIR").filter(|path| !is_needed(path)));
    if let AuditFile::Path(file) = &config.audit.file {
        // Not the file alone: a full one is renamed, and another takes its name.
        let audit = file.parent().unwrap_or(file).to_owned();
        let is_shared = NEEDED.iter().any(|path| Path::new(path).starts_with(resolved(&audit)));
        if is_shared || is_needed(&audit) {
            return Err(SharedAuditDirectory(audit));
        }
        own.push(audit);
    }
    Ok(Protected { own, hidden, read_only: configured_files(config) })
}

/// Follows symbolic links, where the path exists.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns the files of the person that the daemon reads or runs because the configuration names them.
fn configured_files(config: &Config) -> Vec<PathBuf> {
    let commands =
        [&config.credentials.command, &config.session.key_command, &config.notify.command];
    let words = commands.into_iter().flatten().map(PathBuf::from);
    let files = words.filter(|word| word.is_absolute() && word.is_file());
    files.chain(config.upstream.ca_file.clone()).collect()
}

fn is_named_after_us(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name == "nexudus-proxy")
}

/// Of the system's service, of systemd's credentials and of the message buses. The command cannot open
/// a unix socket anyway; these directories hold other files beside them.
const SYSTEM: [&str; 13] = [
    "/etc/nexudus-proxy",
    "/var/lib/nexudus-proxy",
    "/var/lib/private/nexudus-proxy",
    "/run/nexudus-proxy",
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/run/credstore",
    "/run/credstore.encrypted",
    "/run/credentials",
    "/var/lib/systemd/credential.secret",
    "/run/user",
    "/run/dbus",
    "/run/systemd",
];

/// Of GNOME Keyring and KWallet, below `~/.local/share`.
const KEYRINGS: [&str; 2] = ["keyrings", "kwalletd"];

/// Of the credentials of the person's services, below `~/.config`.
const CREDENTIALS: [&str; 2] = ["credstore", "credstore.encrypted"];

/// The directories that no command can do without.
const NEEDED: [&str; 9] =
    ["/bin", "/dev/shm", "/etc/hosts", "/lib", "/proc", "/sys", "/tmp", "/usr/bin", "/var/tmp"];

#[cfg(test)]
mod tests {
    use super::*;

    fn protected(
        vars: &[(&str, &str)],
        config_file: Option<&str>,
        audit: Option<&str>,
    ) -> Result<Protected, SharedAuditDirectory> {
        let environment = |name: &str| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let mut paths = Paths::find("work", environment).unwrap();
        if let Some(file) = config_file {
            paths.config = file.into();
        }
        let mut config = Config::default();
        if let Some(file) = audit {
            config.audit.file = AuditFile::Path(file.into());
        }
        protected_paths(&config, &paths, environment, Path::new("/home/ana/project"))
    }

    #[test]
    fn every_directory_of_ours_is_hidden_whatever_the_profile() {
        let home = ("HOME", "/home/ana");
        let vars = [home, ("XDG_RUNTIME_DIR", "/run/user/7")];
        let told = protected(&vars, Some("/srv/other.toml"), Some("/srv/audit/a.jsonl")).unwrap();
        for path in [
            "/srv/other.toml",
            "/run/user/7/nexudus-proxy",
            "/run/user/7",
            "/etc/nexudus-proxy",
            "/home/ana/.local/share/keyrings",
            "/home/ana/.config/credstore",
        ] {
            assert!(told.hidden.contains(&path.into()), "{path}");
        }
        for path in [
            "/home/ana/.config/nexudus-proxy",
            "/home/ana/.local/state/nexudus-proxy",
            "/home/ana/.config/systemd",
            "/home/ana/.local/share/systemd",
            "/srv/audit",
        ] {
            assert!(told.own.contains(&path.into()), "{path}");
        }
        assert!(!told.hidden.contains(&"/srv".into()));
    }

    #[test]
    fn an_audit_in_a_directory_that_the_command_needs_cannot_be_hidden() {
        for directory in ["/home/ana", "/home/ana/project", "/tmp", "/", "/etc", "/scratch"] {
            let vars = [("HOME", "/home/ana"), ("TMPDIR", "/scratch/ana")];
            let file = Path::new(directory).join("audit.jsonl");
            let refused = protected(&vars, None, file.to_str()).unwrap_err();
            assert_eq!(refused.0, Path::new(directory));
        }
    }

    #[test]
    fn a_runtime_directory_that_holds_the_home_directory_stays() {
        for runtime in ["/home/ana", "/home", "/home/ana/project"] {
            let vars = [("HOME", "/home/ana"), ("XDG_RUNTIME_DIR", runtime)];
            let told = protected(&vars, None, None).unwrap();
            assert!(!told.hidden.contains(&runtime.into()), "{runtime}");
            let below = Path::new(runtime).join("nexudus-proxy");
            assert!(told.hidden.contains(&below), "{runtime}");
        }
    }
}
