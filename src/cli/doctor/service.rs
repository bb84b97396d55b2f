//! The check of the service: where it is installed, and whether this version wrote its files.

use std::path::{Path, PathBuf};

use super::check::{CheckOutcome, fail, ok, skip, warn};
use crate::config::{Config, Paths};
use crate::service;

/// Looks for the unit, agent or task in all directories of users and packages.
pub(super) fn service(paths: &Paths) -> CheckOutcome {
    let home = std::env::home_dir().unwrap_or_default();
    match installed(Path::new("/"), paths, &home).as_slice() {
        [] => skip("not installed as a service"),
        [one] => outcome(one),
        [one, other, ..] => fail(
            format!("installed twice: {} and {}", one.file.display(), other.file.display()),
            "Remove one of them: two daemons cannot serve one profile.",
        ),
    }
}

fn outcome(found: &InstalledService) -> CheckOutcome {
    let file = found.file.display();
    // A package replaces its units together with the program.
    let writer = if found.is_packaged { None } else { service::older_writer(&found.file) };
    match writer {
        None => ok(format!("installed: {file}")),
        Some(writer) => warn(
            format!("installed: {file}, by {writer}; this version writes another one"),
            if found.is_system {
                "Run `nexudus-proxy service install --system` as root: it writes the units anew and \
                 keeps your drop-ins."
            } else {
                "Run `nexudus-proxy service install`: it writes the files anew and keeps your \
                 drop-ins."
            },
        ),
    }
}

/// A service that starts by itself.
#[derive(Debug, PartialEq, Eq)]
struct InstalledService {
    file: PathBuf,
    is_packaged: bool,
    is_system: bool,
}

/// Finds the services of this profile on a machine whose files are below `root`. Units of a package
/// count where they are enabled: it brings those for a person and for the machine together.
fn installed(root: &Path, paths: &Paths, home: &Path) -> Vec<InstalledService> {
    let is_default = paths.profile == Config::default().profile;
    let instance = |separator: &str| {
        if is_default { String::new() } else { format!("{separator}{}", paths.profile) }
    };
    let unit = format!("nexudus-proxy{}.service", instance("@"));
    let agent = format!("nexudus-proxy{}.plist", instance("."));
    let own = |file: PathBuf, is_system| {
        file.exists().then_some(InstalledService { file, is_packaged: false, is_system })
    };
    let packaged = |kind: &str, enabled_in: &[PathBuf]| {
        let file = root.join("usr/lib/systemd").join(kind).join(&unit);
        let is_enabled =
            enabled_in.iter().any(|wants| wants.join(&unit).symlink_metadata().is_ok());
        let is_system = kind == "system";
        let found = InstalledService { file, is_packaged: true, is_system };
        (is_enabled && found.file.exists()).then_some(found)
    };
    let configuration = paths.config.parent().and_then(Path::parent).unwrap_or(home);
    let (of_user, of_users) = (configuration.join("systemd/user"), root.join("etc/systemd/user"));
    let of_system = root.join("etc/systemd/system");
    let users_wants = [&of_user, &of_users].map(|units| units.join("default.target.wants"));
    let systems_wants = [of_system.join("multi-user.target.wants")];
    let users = own(of_user.join(&unit), false).or_else(|| packaged("user", &users_wants));
    let systems = own(of_system.join(&unit), true).or_else(|| packaged("system", &systems_wants));
    let agents = own(home.join("Library/LaunchAgents").join(agent), false);
    let tasks = own(service::task_file(paths), false);
    users.into_iter().chain(systems).chain(agents).chain(tasks).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn units_of_a_package_count_only_where_they_are_enabled() {
        let root = tempfile::tempdir().unwrap();
        let place = |below: &str| root.path().join(below);
        let write = |below: &str| {
            fs::create_dir_all(place(below).parent().unwrap()).unwrap();
            fs::write(place(below), "").unwrap();
        };
        let paths = Paths {
            config: place("home/ada/.config/nexudus-proxy/config.toml"),
            ..Paths::rooted_at(&place("home/ada"))
        };
        let found = || installed(root.path(), &paths, &place("home/ada"));
        let service = |file: &str, is_packaged, is_system| InstalledService {
            file: place(file),
            is_packaged,
            is_system,
        };
        write("usr/lib/systemd/system/nexudus-proxy.service");
        write("usr/lib/systemd/user/nexudus-proxy.service");
        assert_eq!(found(), []);

        write("etc/systemd/system/multi-user.target.wants/nexudus-proxy.service");
        let packaged = service("usr/lib/systemd/system/nexudus-proxy.service", true, true);
        assert_eq!(found(), [packaged]);

        // What `service install --system` writes comes before the package's.
        write("etc/systemd/system/nexudus-proxy.service");
        let systems = || service("etc/systemd/system/nexudus-proxy.service", false, true);
        assert_eq!(found(), [systems()]);

        write("home/ada/.config/systemd/user/default.target.wants/nexudus-proxy.service");
        let users = service("usr/lib/systemd/user/nexudus-proxy.service", true, false);
        assert_eq!(found(), [users, systems()]);
    }

    #[test]
    fn each_profile_has_a_service_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("home/.config/systemd/user/nexudus-proxy@work.service");
        fs::create_dir_all(unit.parent().unwrap()).unwrap();
        fs::write(&unit, "").unwrap();
        let found = |profile: &str| {
            let config = root.path().join("home/.config/nexudus-proxy/config.toml");
            let profile = profile.to_owned();
            let paths = Paths { config, profile, ..Paths::rooted_at(root.path()) };
            installed(root.path(), &paths, &root.path().join("home")).len()
        };

        assert_eq!((found("work"), found("default"), found("other")), (1, 0, 0));
    }
}
