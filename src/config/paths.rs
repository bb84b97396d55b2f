//! The directories of the daemon: XDG (on macOS too), or those that systemd hands over, or the
//! system's where the user has no home directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::defaults::DEFAULT_PROFILE;
use super::error::Diagnostic;

/// The files and directories of one profile. Nothing is created here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The configuration file, whether it exists or not. All profiles share it.
    pub config: PathBuf,
    /// The directory of the state that survives a restart.
    pub state: PathBuf,
    /// The directory of the sockets.
    pub runtime: PathBuf,
    /// The profile.
    pub profile: String,
}

impl Paths {
    /// Finds the directories with the environment that `var` looks up.
    ///
    /// systemd sets `$CONFIGURATION_DIRECTORY`, `$STATE_DIRECTORY` and `$RUNTIME_DIRECTORY` for
    /// every service that asks for them, and `$SYSTEMD_EXEC_PID` for the process that it starts. A
    /// command in a script of *another* service sees that service's directories and is not that
    /// process: there, only a directory named after us is used.
    ///
    /// A container may have no home directory. There, the directories are the system's, whether
    /// they can be written or not.
    ///
    /// # Errors
    ///
    /// [`Diagnostic::NoHome`] where the system has no such directories (Windows).
    pub fn find(profile: &str, var: impl Fn(&str) -> Option<OsString>) -> Result<Self, Diagnostic> {
        let home = absolute_path(&var, "HOME").or_else(|| absolute_path(&var, "USERPROFILE"));
        let below_home = |below: &str, system: &str| match &home {
            Some(home) => Ok(home.join(below).join(APP_NAME)),
            None if cfg!(unix) => Ok(Path::new(system).join(APP_NAME)),
            None => Err(Diagnostic::NoHome),
        };
        let own = |systemd: &str, user: &[&str]| {
            let user =
                || Some(user.iter().find_map(|name| absolute_path(&var, name))?.join(APP_NAME));
            from_systemd(&var, systemd).or_else(user)
        };
        // Windows has APPDATA; elsewhere it means nothing, even where Wine or a script sets it.
        let (config, state) = if cfg!(windows) {
            (&["XDG_CONFIG_HOME", "APPDATA"][..], &["XDG_STATE_HOME", "LOCALAPPDATA"][..])
        } else {
            (&["XDG_CONFIG_HOME"][..], &["XDG_STATE_HOME"][..])
        };
        let config = match own("CONFIGURATION_DIRECTORY", config) {
            Some(directory) => directory,
            None => below_home(".config", "/etc")?,
        };
        let state = match own("STATE_DIRECTORY", state) {
            Some(directory) => directory,
            None => below_home(".local/state", "/var/lib")?,
        };
        let has_system_state = state == Path::new("/var/lib").join(APP_NAME) && home.is_none();
        let system_runtime = || has_system_state.then(|| Path::new("/run").join(APP_NAME));
        let runtime = own("RUNTIME_DIRECTORY", &["XDG_RUNTIME_DIR"]).or_else(system_runtime);
        Ok(Self {
            config: config.join("config.toml"),
            runtime: runtime.unwrap_or_else(|| state.join("run")),
            state,
            profile: profile.to_owned(),
        })
    }

    /// Puts everything below one directory: for `demo` and for tests.
    pub fn rooted_at(directory: &Path) -> Self {
        Self {
            config: directory.join("config.toml"),
            state: directory.join("state"),
            runtime: directory.join("run"),
            profile: DEFAULT_PROFILE.to_owned(),
        }
    }

    /// Returns the unix socket that tools talk to, where `listen.unix` does not say otherwise.
    pub fn proxy_socket(&self) -> PathBuf {
        self.runtime.join(self.named("proxy.sock"))
    }

    /// Returns the unix socket of a `run` that serves while no daemon does.
    pub fn run_socket(&self) -> PathBuf {
        self.runtime.join(self.named("run.sock"))
    }

    /// Returns the control socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.runtime.join(self.named("admin.sock"))
    }

    /// Returns the state directory of this profile.
    pub fn profile_state(&self) -> PathBuf {
        match self.profile.as_str() {
            DEFAULT_PROFILE => self.state.clone(),
            profile => self.state.join("profiles").join(profile),
        }
    }

    /// Puts the profile into a file name: `proxy.sock`, `proxy-work.sock`.
    fn named(&self, name: &str) -> String {
        match (self.profile.as_str(), name.rsplit_once('.')) {
            (DEFAULT_PROFILE, _) => name.to_owned(),
            (profile, Some((stem, extension))) => format!("{stem}-{profile}.{extension}"),
            (profile, None) => format!("{name}-{profile}"),
        }
    }
}

/// Names the profile in every command that a sentence advises, unless the profile is the default
/// one or is named already. The daemon and its commands share these sentences.
pub fn with_profile_flag(said: &str, profile: &str) -> String {
    if profile == DEFAULT_PROFILE {
        return said.to_owned();
    }
    let named = said.replace(COMMAND_PREFIX, &format!("{COMMAND_PREFIX}--profile {profile} "));
    named.replace(&format!("--profile {profile} --profile "), "--profile ")
}

/// Names the profile and the daemon (`--system` or `--user`) in every command that a sentence advises,
/// unless the command names them already.
pub fn with_flags(said: &str, profile: Option<&str>, scope: Option<&str>) -> String {
    let said = profile.map_or_else(|| said.to_owned(), |name| with_profile_flag(said, name));
    let Some(flag) = scope else { return said };
    // One that is for the system's daemon in any case cannot be for the user's too.
    let is_scope = |word: &str| ["--system", "--user"].contains(&word);
    // Every second part stands in backticks.
    let parts = said.split('`').enumerate().map(|(at, part)| match part.strip_prefix(PROGRAM) {
        Some(rest) if at % 2 == 1 && !rest.split_whitespace().any(is_scope) => {
            format!("{PROGRAM}{flag} {rest}")
        }
        Some(_) | None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// The beginning of a command.
const PROGRAM: &str = "nexudus-proxy ";

/// The beginning of a command in a sentence.
const COMMAND_PREFIX: &str = "`nexudus-proxy ";

const APP_NAME: &str = "nexudus-proxy";

/// Returns the directory a variable names; the XDG specification says to ignore a relative one.
fn absolute_path(var: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    var(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the directory in systemd's list that is ours: the one named after us, or else the first,
/// unless the list was made for another process.
fn from_systemd(var: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let list = var(name)?;
    let mut listed = std::env::split_paths(&list).filter(|path| path.is_absolute());
    let named = |part: std::path::Component<'_>| {
        part.as_os_str().to_str().is_some_and(|part| part.starts_with(APP_NAME))
    };
    let started = var("SYSTEMD_EXEC_PID").filter(|pid| !pid.is_empty());
    let is_for_another = started.is_some_and(|pid| pid != *std::process::id().to_string());
    let first = listed.next()?;
    let ours = std::iter::once(first.clone()).chain(listed).find(|it| it.components().any(named));
    ours.or_else(|| (!is_for_another).then_some(first))
}

/// Says whether a name can be a profile: part of a file name on every system, and of a TOML key.
pub(super) fn is_profile(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    (1..=32).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with(['-', '_'])
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn paths(profile: &str, vars: &[(&str, &str)]) -> Result<Paths, Diagnostic> {
        Paths::find(profile, |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_home_directory_is_enough() {
        let paths = paths("default", &[("HOME", "/home/ana")]).unwrap();

        assert_eq!(paths.config, Path::new("/home/ana/.config/nexudus-proxy/config.toml"));
        assert_eq!(paths.state, Path::new("/home/ana/.local/state/nexudus-proxy"));
        assert_eq!(paths.proxy_socket(), paths.state.join("run/proxy.sock"));
        assert_eq!(paths.admin_socket(), paths.state.join("run/admin.sock"));
    }

    #[test]
    fn the_xdg_directories_come_before_home() {
        let vars = [
            ("HOME", "/home/ana"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "relative is ignored"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ];

        let paths = paths("default", &vars).unwrap();

        assert_eq!(paths.config, Path::new("/c/nexudus-proxy/config.toml"));
        assert_eq!(paths.state, Path::new("/home/ana/.local/state/nexudus-proxy"));
        assert_eq!(paths.proxy_socket(), Path::new("/run/user/1000/nexudus-proxy/proxy.sock"));
    }

    #[test]
    fn a_system_service_needs_no_home() {
        let vars = [
            ("CONFIGURATION_DIRECTORY", "/etc/nexudus-proxy"),
            ("STATE_DIRECTORY", "/var/lib/other:/var/lib/nexudus-proxy"),
            ("RUNTIME_DIRECTORY", "/run/nexudus-proxy"),
        ];

        let paths = paths("default", &vars).unwrap();

        assert_eq!(paths.config, Path::new("/etc/nexudus-proxy/config.toml"));
        assert_eq!(paths.profile_state(), Path::new("/var/lib/nexudus-proxy"));
        assert_eq!(paths.admin_socket(), Path::new("/run/nexudus-proxy/admin.sock"));
    }

    #[test]
    fn a_unit_of_ones_own_may_name_its_directories_as_it_likes() {
        let pid = std::process::id().to_string();
        for started in ["", &pid] {
            let vars = [
                ("CONFIGURATION_DIRECTORY", "/etc/nexudus"),
                ("STATE_DIRECTORY", "relative:/var/lib/nexudus:/var/lib/second"),
                ("RUNTIME_DIRECTORY", "/tmp/x"),
                ("SYSTEMD_EXEC_PID", started),
            ];

            let paths = paths("default", &vars).unwrap();

            assert_eq!(paths.config, Path::new("/etc/nexudus/config.toml"));
            assert_eq!(paths.state, Path::new("/var/lib/nexudus"));
            assert_eq!(paths.runtime, Path::new("/tmp/x"));
        }
    }

    #[test]
    fn a_script_of_another_service_does_not_use_the_state_of_that_service() {
        let vars = [
            ("HOME", "/home/ana"),
            ("STATE_DIRECTORY", "/var/lib/backup"),
            ("RUNTIME_DIRECTORY", "/run/backup:/run/nexudus-proxy"),
            ("SYSTEMD_EXEC_PID", "1"),
        ];

        let paths = paths("default", &vars).unwrap();

        assert_eq!(paths.state, Path::new("/home/ana/.local/state/nexudus-proxy"));
        assert_eq!(paths.runtime, Path::new("/run/nexudus-proxy"));
    }

    #[test]
    fn a_profile_has_sockets_and_state_of_its_own_and_shares_the_file() {
        let work = paths("work", &[("HOME", "/h")]).unwrap();
        let usual = paths("default", &[("HOME", "/h")]).unwrap();

        assert_eq!(work.config, usual.config);
        assert_eq!(work.proxy_socket(), work.runtime.join("proxy-work.sock"));
        assert_eq!(work.profile_state(), work.state.join("profiles/work"));
    }

    #[test]
    fn without_a_home_the_directories_are_the_systems_unless_others_are_given() {
        for vars in [&[][..], &[("HOME", "")]] {
            let paths = paths("default", vars).unwrap();

            assert_eq!(paths.config, Path::new("/etc/nexudus-proxy/config.toml"));
            assert_eq!(paths.state, Path::new("/var/lib/nexudus-proxy"));
            assert_eq!(paths.admin_socket(), Path::new("/run/nexudus-proxy/admin.sock"));
        }
        let paths = paths("default", &[("STATE_DIRECTORY", "/tmp/state")]).unwrap();
        assert_eq!(paths.state, Path::new("/tmp/state"));
        assert_eq!(paths.admin_socket(), Path::new("/tmp/state/run/admin.sock"));
    }

    #[test]
    fn a_profile_name_cannot_leave_the_directory() {
        for name in ["work", "a", "2-b_c"] {
            assert!(is_profile(name), "{name}");
        }
        for name in ["", "../x", "a/b", "A", "-a", "a b", "a.b", &"a".repeat(33)] {
            assert!(!is_profile(name), "{name}");
        }
    }

    #[test]
    fn a_command_that_is_advised_names_the_profile_once() {
        let said = "Run `nexudus-proxy login`, or `nexudus-proxy unlock`.";
        let work = "Run `nexudus-proxy --profile work login`, or `nexudus-proxy --profile work \
                    unlock`.";

        assert_eq!(with_profile_flag(said, DEFAULT_PROFILE), said);
        assert_eq!(with_profile_flag(said, "work"), work);
        assert_eq!(with_profile_flag(work, "work"), work);
        assert_eq!(with_profile_flag("Send one key.", "work"), "Send one key.");
        let system = "Run `nexudus-proxy --system --profile work login`.";
        let said = "Run `nexudus-proxy login`.";
        assert_eq!(with_flags(said, Some("work"), Some("--system")), system);
        assert_eq!(with_flags(system, None, Some("--system")), system);
        let last = "Run `nexudus-proxy service start --system`.";
        assert_eq!(with_flags(last, None, Some("--system")), last);
    }
}
