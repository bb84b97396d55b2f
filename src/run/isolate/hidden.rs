//! The files of this program and of the person that an isolated command does not see.
//!
//! A directory is hidden as a whole: a file that is made in it later is hidden too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Config, Paths, UnixSocket};

/// Returns what is hidden. A path that leads nowhere does no harm.
pub(in crate::run) fn hidden_paths(
    config: &Config,
    paths: &Paths,
    environment: impl Fn(&str) -> Option<OsString>,
    working_directory: &Path,
) -> Vec<PathBuf> {
    let directory =
        |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut hidden: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    hidden.extend([paths.config.clone(), paths.state.clone(), paths.runtime.clone()]);
    hidden.extend(paths.config.parent().filter(|it| is_named_after_us(it)).map(Path::to_owned));
    // Another configuration file may be given for this command, or the system's daemon serve it.
    if let Ok(usual) = Paths::find(&paths.profile, &environment) {
        hidden.extend(usual.config.parent().map(Path::to_owned));
        hidden.extend([usual.state, usual.runtime]);
    }
    if let UnixSocket::Path(socket) = &config.listen.unix {
        hidden.push(socket.clone());
    }
    hidden.extend(directory("CREDENTIALS_DIRECTORY"));
    let home = directory("HOME");
    hidden.extend(home.iter().flat_map(|home| KEYRINGS.map(|below| home.join(below))));
    // In a container it may be the home directory itself.
    let is_needed = |path: &PathBuf| {
        working_directory.starts_with(path) || home.iter().any(|home| home.starts_with(path))
    };
    hidden.extend(directory("XDG_RUNTIME_DIR").filter(|path| !is_needed(path)));
    hidden
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

/// Of GNOME Keyring and KWallet, below the home directory.
const KEYRINGS: [&str; 2] = [".local/share/keyrings", ".local/share/kwalletd"];

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(vars: &[(&str, &str)], config_file: Option<&str>) -> Vec<PathBuf> {
        let environment = |name: &str| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let mut paths = Paths::find("work", environment).unwrap();
        if let Some(file) = config_file {
            paths.config = file.into();
        }
        hidden_paths(&Config::default(), &paths, environment, Path::new("/home/ana/project"))
    }

    #[test]
    fn every_directory_of_ours_is_hidden_whatever_the_profile() {
        let home = ("HOME", "/home/ana");
        let told = hidden(&[home, ("XDG_RUNTIME_DIR", "/run/user/7")], Some("/srv/other.toml"));
        for path in [
            "/srv/other.toml",
            "/home/ana/.config/nexudus-proxy",
            "/home/ana/.local/state/nexudus-proxy",
            "/run/user/7/nexudus-proxy",
            "/run/user/7",
            "/etc/nexudus-proxy",
            "/home/ana/.local/share/keyrings",
        ] {
            assert!(told.contains(&path.into()), "{path}");
        }
        assert!(!told.contains(&"/srv".into()));
    }

    #[test]
    fn a_runtime_directory_that_holds_the_home_directory_stays() {
        for runtime in ["/home/ana", "/home", "/home/ana/project"] {
            let told = hidden(&[("HOME", "/home/ana"), ("XDG_RUNTIME_DIR", runtime)], None);
            assert!(!told.contains(&runtime.into()), "{runtime}");
            assert!(told.contains(&Path::new(runtime).join("nexudus-proxy")), "{runtime}");
        }
    }
}
