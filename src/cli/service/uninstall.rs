//! `service uninstall`: what is removed, what is left, and `--purge`.

use std::path::PathBuf;

use super::{CliError, GlobalArgs, Steps, end_daemon};
use crate::cli::prompt;
use crate::config::{Config, Paths};
use crate::service::{Service, ServiceEvent};

/// Removes the service. With `purge` also what it leaves; without asking, if that is `Some(true)`.
pub(super) fn run(
    service: &Service,
    purge: Option<bool>,
    globals: &GlobalArgs,
    steps: &mut Steps,
) -> Result<(), CliError> {
    // Asked first: a "no" changes nothing at all.
    let leftovers = service.leftovers();
    if purge == Some(false) && !leftovers.is_empty() {
        leftovers.iter().for_each(|path| steps.line(&format!("would remove {}", path.display())));
        let instead = "Give it with --yes.";
        if !prompt::confirm("Remove all of these, for good?", instead, steps.print)? {
            steps.line("nothing was changed");
            return Ok(());
        }
    }
    if service.is_installed() {
        end_daemon(service, globals, steps)?;
    }
    if !service.uninstall(&mut |event| steps.tell(event))? {
        steps.line("nothing is installed");
    }
    // The daemon has ended: a file that it removed itself is not left.
    let leftovers = service.leftovers();
    if purge.is_some() {
        return Ok(service.purge(&leftovers, &mut |event| steps.tell(event))?);
    }
    let is_any_left = !leftovers.is_empty();
    leftovers.into_iter().for_each(|path| steps.tell(ServiceEvent::Left(path)));
    if is_any_left {
        let flag = if service.is_system() { " --system" } else { "" };
        steps.print.note(&format!(
            "`nexudus-proxy service uninstall{flag} --purge` removes what is left; a login in the \
             keychain goes with `nexudus-proxy logout`"
        ));
    }
    Ok(())
}

/// Returns what the user's daemon of this profile has written or read: the state of the profile, and
/// the configuration if no other profile shares it. An explicit configuration file is its owner's.
pub(super) fn own_data(paths: &Paths, has_explicit_config: bool) -> Vec<PathBuf> {
    let state = paths.profile_state();
    if paths.profile != Config::default().profile {
        return vec![state];
    }
    // The state directory of the default profile has those of the others, and the sockets, in it.
    let entries = std::fs::read_dir(&state).into_iter().flatten().flatten();
    let is_shared = |name: &std::ffi::OsStr| name == "profiles" || name == "run";
    let own = entries.filter(|entry| !is_shared(&entry.file_name())).map(|entry| entry.path());
    let mut data: Vec<_> = own.collect();
    data.sort();
    let has_profiles = state.join("profiles").exists();
    data.extend((!has_profiles && !has_explicit_config).then(|| paths.config.clone()));
    data
}
