//! `env --intercept`: the variables that lead programs through the daemon's forward proxy.
//!
//! Only where that lets other hosts through: in a shell whose proxy refuses them, git and pip would stop
//! working.

use crate::cli::CliError;
use crate::cli::daemon_client::{find_daemon, shell_files};
use crate::cli::globals::GlobalArgs;
use crate::cli::serve;
use crate::config::{LoadedConfig, Origin};
use crate::problem::ExitCode;
use crate::run;

/// Returns the variables. `key` is the client key of this shell.
pub(super) fn variables(
    globals: &GlobalArgs,
    key: Option<&str>,
) -> Result<Vec<(&'static str, String)>, CliError> {
    let LoadedConfig { paths, .. } = globals.load(vec![])?;
    let daemon = serve::control_runtime()?.block_on(find_daemon(globals))?;
    let listening = daemon.required()?.status;
    let hosts = listening.listening.hosts.iter().map(|host| host.upstream.as_str());
    let origins: Vec<Origin> =
        [listening.upstream.as_str()].into_iter().chain(hosts).filter_map(Origin::parse).collect();
    let forward = match listening.listening.forward_proxy {
        Some(forward) if forward.tunnels => forward,
        Some(_) => return Err(failed("the daemon's forward proxy refuses other hosts", TUNNEL)),
        None => return Err(failed("the daemon has no forward proxy", SETTINGS)),
    };
    let (state, path, root) = shell_files(&paths);
    let root = root.map_err(|error| {
        let message =
            format!("could not read the daemon's root certificate {}: {error}", path.display());
        failed(
            &message,
            "Run `nexudus-proxy run -- COMMAND`, which makes a certificate of its own.",
        )
    })?;
    let found = run::shell_variables(&state, &root, forward.tcp, key, &origins);
    let found = found.map_err(|error| {
        let message = format!("could not write the files that the variables name: {error}");
        failed(&message, "Make the state directory writable for this user.")
    })?;
    let text = |(name, value): (&'static str, std::ffi::OsString)| {
        let value = value.into_string().map_err(|_| {
            failed(&format!("{name} holds something other than text"), "Unset it, and try again.")
        });
        Ok((name, value?))
    };
    found.into_iter().map(text).collect()
}

fn failed(message: &str, hint: &str) -> CliError {
    CliError::message(ExitCode::Failed, message, Some(hint))
}

/// The line that the daemon's configuration lacks where its forward proxy listens.
const TUNNEL: &str = "Set `other_hosts = \"tunnel\"` below `[forward_proxy]`, and restart the daemon; or \
    use `nexudus-proxy run -- COMMAND`.";

/// The lines that the daemon's configuration lacks.
const SETTINGS: &str = "Set `[forward_proxy]` `listen = \"127.0.0.1:6396\"` and \
    `other_hosts = \"tunnel\"`, and restart the daemon; or use `nexudus-proxy run -- COMMAND`.";
