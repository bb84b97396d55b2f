//! The configuration of a running daemon, which may differ from the one that is configured here.

use std::fmt;
use std::net::SocketAddr;

use super::target::find_daemon;
use crate::admin::api::Status;
use crate::cli::globals::GlobalArgs;
use crate::cli::{CliError, serve};
use crate::config::{Config, LoadedConfig, Origin, Paths, Proxy, UnixSocket};

/// A process that serves another origin than the one that is configured here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct OtherOrigin {
    /// The origin that the process serves.
    pub(in crate::cli) serving: String,
    /// The process, if it is a `run` and no daemon.
    pub(in crate::cli) run_pid: Option<u32>,
}

impl OtherOrigin {
    /// Compares what a process serves with what is configured here.
    pub(in crate::cli) fn detect(status: &Status, own: &Origin, paths: &Paths) -> Option<Self> {
        let serving = status.upstream.clone();
        let run = status.run_pid(&paths.run_socket());
        (Origin::parse(&serving).as_ref() != Some(own)).then_some(Self { serving, run_pid: run })
    }

    /// Returns what to do about it, in a command that takes the flags of `serve`.
    pub(in crate::cli) fn hint(&self) -> String {
        match self.run_pid {
            Some(_) => "Wait until it has ended, or end what it serves with `nexudus-proxy stop`."
                .to_owned(),
            None => format!("{RESTART_HINT}; or give this command --upstream {}.", self.serving),
        }
    }
}

impl fmt::Display for OtherOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run_pid {
            Some(pid) => write!(f, "a `run` (pid {pid}) serves {}", self.serving),
            None => write!(f, "the running daemon serves {}", self.serving),
        }
    }
}

/// The way out where a daemon was started before the origin changed.
pub(in crate::cli) const RESTART_HINT: &str =
    "Restart the daemon, so that it serves the upstream.origin that is configured now";

/// Returns the configuration that a daemon serves with, and the keys in which it differs from what
/// is `configured` here: only the daemon knows its flags and its environment.
pub(in crate::cli) fn effective_config(
    configured: &Config,
    paths: &Paths,
    daemon: &Status,
) -> (Config, Vec<&'static str>) {
    let mut config = configured.clone();
    let mut keys = vec![];
    let origin = Origin::parse(&daemon.upstream);
    if let Some(origin) = origin.filter(|origin| *origin != configured.upstream.origin) {
        config.upstream.origin = origin;
        keys.push("upstream.origin");
    }
    // A daemon of another version does not say.
    if let Some(proxy) = &daemon.proxy {
        if *proxy != configured.upstream.proxy.redacted() {
            config.upstream.proxy = Proxy::from_redacted(proxy);
            keys.push("upstream.proxy");
        }
        if daemon.ca_file != configured.upstream.ca_file {
            config.upstream.ca_file.clone_from(&daemon.ca_file);
            keys.push("upstream.ca_file");
        }
    }
    if !matches_bound(&configured.listen.tcp, &daemon.listening.tcp) {
        keys.push("listen.tcp");
    }
    config.listen.tcp.clone_from(&daemon.listening.tcp);
    let unix = match &configured.listen.unix {
        UnixSocket::Auto => Some(paths.proxy_socket()),
        UnixSocket::Path(path) => Some(path.clone()),
        UnixSocket::Off => None,
    };
    if cfg!(unix) && daemon.listening.unix != unix {
        config.listen.unix =
            daemon.listening.unix.clone().map_or(UnixSocket::Off, UnixSocket::Path);
        keys.push("listen.unix");
    }
    keys.extend(config.import(&daemon.settings));
    (config, keys)
}

/// Returns the configuration that the daemon serves with and `true`; where none runs, what is
/// configured and `false`.
#[cfg_attr(not(unix), expect(dead_code, reason = "`run` is for unix"))]
pub(in crate::cli) fn load_effective_config(
    loaded: &LoadedConfig,
    globals: &GlobalArgs,
) -> Result<(Config, bool), CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    let daemon = serve::control_runtime()?.block_on(find_daemon(globals))?;
    Ok(match daemon.serving() {
        Some(daemon) => (effective_config(config, paths, &daemon.status).0, true),
        None => (config.clone(), false),
    })
}

/// Returns whether the `bound` addresses are those that are `configured`; port 0 is any port.
fn matches_bound(configured: &[SocketAddr], bound: &[SocketAddr]) -> bool {
    let fits = |(wanted, bound): (&SocketAddr, &SocketAddr)| {
        wanted.ip() == bound.ip() && [0, bound.port()].contains(&wanted.port())
    };
    configured.len() == bound.len() && configured.iter().zip(bound).all(fits)
}
