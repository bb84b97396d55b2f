//! The files of the sockets, where the users of the configuration change.
//!
//! A socket of ours gets another group or mode at a reload. One that the service manager has opened
//! has the group and the mode of its unit: then a person is told the lines to add.

use super::Error;
use crate::admin::api::Listening;
use crate::config::Config;
#[cfg(unix)]
use crate::config::SystemdUnit;
#[cfg(unix)]
use crate::listen::{self, SocketAccess};
use crate::peer::UserAcl;

/// Gives the files of our own sockets the group and the mode that `next` needs. On an error the
/// file is as it was.
#[cfg(unix)]
pub(super) fn change(
    now: &Config,
    next: &Config,
    users: &UserAcl,
    listening: &Listening,
) -> Result<(), Error> {
    if listening.activated {
        return Ok(());
    }
    if let Some(path) = listening.unix.as_ref().filter(|_| now.listen.groups != next.listen.groups)
    {
        listen::change_access(path, SocketAccess::for_users(users))?;
    }
    if let Some(path) = listening.admin.as_ref().filter(|_| now.admin.users != next.admin.users) {
        listen::change_access(path, admin_access(next))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn change(_: &Config, _: &Config, _: &UserAcl, _: &Listening) -> Result<(), Error> {
    Ok(())
}

/// Returns the access to the file of the admin socket.
#[cfg(unix)]
pub(super) fn admin_access(config: &Config) -> SocketAccess {
    if config.admin.users.is_empty() { SocketAccess::Owner } else { SocketAccess::AllUsers }
}

/// Logs what [`notes`] says, at the start.
pub(super) fn log_notes(config: &Config, listening: &Listening) {
    notes(config, listening).iter().for_each(|note| tracing::warn!("{note}"));
}

/// Says which lines a socket unit needs, so that the configured users can open its socket.
#[cfg(unix)]
pub(super) fn notes(config: &Config, listening: &Listening) -> Vec<String> {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use crate::peer::gid_by_name;

    let Some(unit) = SystemdUnit::own().filter(|_| listening.activated) else { return vec![] };
    let file = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::fs::metadata(path).ok());
    let is_open_to_all = |file: &Metadata| file.mode() & 0o006 == 0o006;
    let advice = |key: &str, socket: &str, line: &str| {
        let (edit, restart) = (
            unit.systemctl(&format!("edit {socket}")),
            unit.systemctl(&format!("restart {socket}")),
        );
        format!(
            "{key} cannot open the socket file yet: run `{edit}`, write `[Socket]` and `{line}` \
             there, then `{restart}`"
        )
    };
    let mut notes = vec![];
    let groups = &config.listen.groups;
    let gid = |name: &String| name.parse().ok().or_else(|| gid_by_name(name));
    let is_a_groups = |file: &Metadata| {
        file.mode() & 0o060 == 0o060 && groups.iter().any(|name| gid(name) == Some(file.gid()))
    };
    if let (Some(name), Some(file)) = (groups.first(), file(&listening.unix))
        && !is_a_groups(&file)
        && !is_open_to_all(&file)
    {
        let (who, line) = (format!("the group {name}"), format!("SocketGroup={name}"));
        notes.push(advice(&who, &unit.socket_unit(""), &line));
    }
    if !config.admin.users.is_empty()
        && file(&listening.admin).is_some_and(|file| !is_open_to_all(&file))
    {
        let socket = unit.socket_unit("-admin");
        notes.push(advice("the users of admin.users", &socket, "SocketMode=0666"));
    }
    notes
}

#[cfg(not(unix))]
pub(super) fn notes(_: &Config, _: &Listening) -> Vec<String> {
    vec![]
}

/// Says what to change where an address of `key` cannot be listened on.
pub(super) fn hint_for(key: &str) -> &'static str {
    match key {
        "admin.listen" => {
            "Give admin.listen another port, or leave it off. A profile takes the file's, unless \
             [profile.NAME.admin] has a `listen` of its own."
        }
        "admin.health_listen" => "Give admin.health_listen another address, or leave it off.",
        "listen.tls" => "Give listen.tls another port, or leave it empty.",
        "forward_proxy.listen" => "Give forward_proxy.listen another port, or leave it off.",
        _ => "Give `listen` in [[host]] another port.",
    }
}
