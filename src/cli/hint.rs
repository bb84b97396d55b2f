//! The way out of what went wrong, in one sentence or none.

use std::io::ErrorKind;

use crate::admin::client;
use crate::{clients, daemon, listen, service};

/// Returns the way out when the daemon did not start.
pub(super) fn daemon(error: &daemon::Error) -> Option<String> {
    let said = match error {
        daemon::Error::AlreadyRunning { .. } => {
            "Use the daemon that runs, stop it first, or choose another --profile."
        }
        daemon::Error::Unreachable { .. } => {
            "See `nexudus-proxy status`; give it a socket, stop it, or choose another --profile."
        }
        daemon::Error::OtherUpstream { run: Some(_), .. } => {
            "Wait until it has ended, end what it serves with `nexudus-proxy stop`, or choose another \
             --profile."
        }
        daemon::Error::OtherUpstream { run: None, .. } => {
            "Restart the daemon, so that it serves the upstream.origin that is configured now; or \
             set NEXUDUS_PROXY_UPSTREAM_ORIGIN to the one that it serves; or choose another --profile."
        }
        daemon::Error::State { .. } => {
            "Make it writable for this user, or set XDG_STATE_HOME to a directory that is."
        }
        daemon::Error::Trust(_) => {
            "Install the system's certificates (ca-certificates), or name a PEM file with \
             upstream.ca_file."
        }
        daemon::Error::Listen(listen::Error::InUse { .. }) => {
            "Stop the program that holds it, or listen elsewhere: --listen localhost:0 picks a \
             free port."
        }
        daemon::Error::Listen(listen::Error::SocketInUse { .. }) => {
            "Stop that daemon first, or choose another path with --socket."
        }
        daemon::Error::Listen(listen::Error::SocketPath { .. }) => {
            "Choose a shorter path with --socket, or --socket off."
        }
        daemon::Error::Listen(listen::Error::SocketPlace { .. }) => {
            "Choose a directory of your own with --socket, or --socket off."
        }
        daemon::Error::Listen(listen::Error::Bind { .. }) => {
            "Choose an address of this machine with --listen."
        }
        daemon::Error::Listen(listen::Error::OtherFamily { .. }) => {
            "Choose another port with --listen, or find out who that is and why."
        }
        daemon::Error::Listen(listen::Error::NoSuchUser { .. }) => {
            "Write a user of this machine into listen.users or admin.users, by name or number."
        }
        daemon::Error::Listen(listen::Error::NoSuchGroup { .. }) => {
            "Write a group of this machine into listen.groups, by name or number."
        }
        daemon::Error::Listen(listen::Error::Inherited { .. }) => {
            "Hand over stream sockets: ListenStream= in the .socket unit."
        }
        daemon::Error::ListenAt { key: "admin.listen", .. } => {
            "Give admin.listen another port, or leave it off. A profile takes the file's, unless \
             [profile.NAME.admin] has a `listen` of its own."
        }
        daemon::Error::ListenAt { .. } => "Give `listen` in [[host]] another port.",
        daemon::Error::NoListeners => "Set listen.tcp or listen.unix.",
        daemon::Error::UserAgent(_) => "Use printable ASCII.",
        daemon::Error::Proxy(_) => "Write it as http://proxy.example:3128, or use none.",
        daemon::Error::Stopped | daemon::Error::Client(_) | daemon::Error::DataPlane(_) => {
            return None;
        }
    };
    Some(said.to_owned())
}

/// Returns the way out when there is no service, or it cannot be changed.
pub(super) fn service(error: &service::Error) -> Option<String> {
    let said = match error {
        service::Error::NoManager => {
            "Have whatever starts programs here run `nexudus-proxy serve`."
        }
        service::Error::NoUserManager => {
            "Log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/UID; \
             --system is for the whole machine."
        }
        service::Error::NoSystem => "Leave --system out, and install it as the person who uses it.",
        service::Error::SystemProfile => {
            "Leave --system or --profile out: each person may have services for profiles of theirs."
        }
        service::Error::NotInstalled => "Run `nexudus-proxy service install`.",
        service::Error::NoPort { .. } => "Give listen.tcp a port of its own.",
        service::Error::Path { .. } => {
            "Copy the program to /usr/local/bin, and install the service with that one."
        }
        service::Error::Word { .. } => {
            "Give the configuration or the socket a path of ASCII letters, digits and `/._+-@:,=~`."
        }
        service::Error::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "Run it as root for --system; else make the directory writable for this user."
        }
        service::Error::Failed { .. } => "`nexudus-proxy service logs` may tell more.",
        service::Error::File { .. } | service::Error::Command { .. } => return None,
    };
    Some(said.to_owned())
}

/// Returns the way out when the clients could not be read or changed.
pub(super) fn clients(error: &clients::Error) -> Option<String> {
    let said = match error {
        clients::Error::Name { .. } => {
            "Use letters, digits, `-`, `_`, `.` and `@`, at most 64 of them."
        }
        clients::Error::Exists { .. } => "Revoke it first, or choose another name.",
        clients::Error::Missing { .. } => "`nexudus-proxy client list` shows the clients.",
        clients::Error::Damaged { .. } => {
            "Nothing was changed. Repair the file, or move it away and make the clients anew."
        }
        clients::Error::Unreadable { .. } | clients::Error::Write { .. } => {
            "Make it readable and writable for this user, and for nobody else."
        }
    };
    Some(said.to_owned())
}

/// Returns the way out when the daemon was not reached, or refused.
pub(super) fn admin(error: &client::Error) -> Option<String> {
    let said = match error {
        client::Error::NotRunning | client::Error::ConnectionClosed(_) => {
            "Start it with `nexudus-proxy serve`."
        }
        client::Error::Forbidden { .. } => "Ask as the user who runs it.",
        client::Error::VersionMismatch => "Restart the daemon, so that both are of one version.",
        client::Error::Unreachable { .. } | client::Error::Problem(_) => return None,
    };
    Some(said.to_owned())
}

/// The way out when a daemon that runs has said nothing.
pub(super) const SILENT: &str = "Look at its log; `nexudus-proxy doctor` may tell more.";
