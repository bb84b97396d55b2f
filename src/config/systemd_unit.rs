//! The systemd unit that this process is the service of, for hints: the same advice is another
//! command for a person's own daemon and for that of the machine.

use std::sync::OnceLock;

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdUnit {
    /// The name: `nexudus-proxy.service`.
    pub name: String,
    /// Whether it is the machine's, and not a person's.
    pub is_system: bool,
}

impl SystemdUnit {
    /// Returns the unit that systemd started this process for. A command in a script of another
    /// service is not that process.
    pub fn own() -> Option<&'static Self> {
        static OWN: OnceLock<Option<SystemdUnit>> = OnceLock::new();
        OWN.get_or_init(|| {
            let started = std::env::var("SYSTEMD_EXEC_PID").ok()?;
            let is_ours = started == std::process::id().to_string();
            let cgroups = is_ours.then(|| std::fs::read_to_string("/proc/self/cgroup"))?;
            Self::from_cgroups(&cgroups.ok()?)
        })
        .as_ref()
    }

    /// Returns the command of `systemctl` with these words: `systemctl --user restart`.
    pub fn systemctl(&self, words: &str) -> String {
        let user = if self.is_system { "" } else { "--user " };
        format!("systemctl {user}{words}")
    }

    /// Returns the command that starts this unit anew.
    pub fn restart_command(&self) -> String {
        self.systemctl(&format!("restart {}", self.name))
    }

    /// Returns the name of a socket unit of the same installation: `nexudus-proxy@work.socket` for
    /// `nexudus-proxy@work.service`. `suffix` comes before the profile.
    pub fn socket_unit(&self, suffix: &str) -> String {
        let stem = self.name.strip_suffix(".service").unwrap_or(&self.name);
        let (stem, profile) = stem.split_at(stem.find('@').unwrap_or(stem.len()));
        format!("{stem}{suffix}{profile}.socket")
    }

    /// Reads `/proc/PID/cgroup`: the last part of a service's path is its unit.
    fn from_cgroups(text: &str) -> Option<Self> {
        let paths = text.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            matches!(controllers, "" | "name=systemd").then_some(path)
        });
        paths.into_iter().find_map(|path| {
            let name = path.split('/').rfind(|part| part.ends_with(".service"))?;
            let is_last = path.ends_with(name);
            is_last.then(|| Self { name: name.to_owned(), is_system: !path.contains("/user@") })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_and_its_owner_are_read_from_the_control_group() {
        let unit = |text: &str| {
            SystemdUnit::from_cgroups(text).map(|unit| (unit.name.clone(), unit.is_system))
        };
        let system = Some(("nexudus-proxy.service".to_owned(), true));
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice";

        assert_eq!(unit("0::/system.slice/nexudus-proxy.service\n"), system);
        assert_eq!(
            unit("2:cpu:/\n1:name=systemd:/system.slice/nexudus-proxy.service\n0::/\n"),
            system
        );
        assert_eq!(
            unit(&format!("0::{user}/nexudus-proxy@work.service\n")),
            Some(("nexudus-proxy@work.service".to_owned(), false))
        );
        assert_eq!(unit(&format!("0::{user}/app-terminal-7.scope\n")), None);
        assert_eq!(unit("0::/\n"), None);
    }

    #[test]
    fn commands_and_sockets_are_those_of_the_same_installation() {
        let unit = |name: &str, is_system| SystemdUnit { name: name.to_owned(), is_system };

        let system = unit("nexudus-proxy.service", true);
        assert_eq!(system.restart_command(), "systemctl restart nexudus-proxy.service");
        assert_eq!(system.socket_unit("-admin"), "nexudus-proxy-admin.socket");
        let work = unit("nexudus-proxy@work.service", false);
        assert_eq!(work.restart_command(), "systemctl --user restart nexudus-proxy@work.service");
        assert_eq!(work.socket_unit(""), "nexudus-proxy@work.socket");
        assert_eq!(work.socket_unit("-admin"), "nexudus-proxy-admin@work.socket");
    }
}
