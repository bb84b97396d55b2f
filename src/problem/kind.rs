//! The table: every kind of problem with all that is fixed about it, once.

use http::StatusCode;

use super::ExitCode;
use super::spec::Spec;

macro_rules! kinds {
    ($($kind:ident: $code:literal, $title:literal => $spec:expr;)*) => {
        /// A kind of problem. Several kinds may share one code, which is what scripts go by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind {
            $(#[doc = concat!("`", $code, "`: ", $title, ".")] $kind,)*
        }

        impl ProblemKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Returns the stable code, as in `urn:nexudus-proxy:CODE`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            /// Returns the title of RFC 9457.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            const fn spec(self) -> Spec {
                match self { $(Self::$kind => $spec,)* }
            }
        }
    };
}

kinds! {
    // The request itself.
    MalformedRequest: "request.framing", "Malformed request" =>
        Spec::malformed(StatusCode::BAD_REQUEST).closing().hint(
            "Send one Content-Length or `Transfer-Encoding: chunked`, and one Max-Forwards at most.",
        );
    MalformedBody: "request.framing", "Malformed request body" =>
        Spec::malformed(StatusCode::BAD_REQUEST).closing().hint(
            "Send as many bytes as Content-Length says, or well-formed chunks.",
        );
    MalformedTarget: "request.target", "Malformed request target" =>
        Spec::malformed(StatusCode::BAD_REQUEST).hint(
            "Ask for a path, such as /api/spaces/coworkers.",
        );
    AmbiguousTarget: "request.target", "Ambiguous request target" =>
        Spec::denied(StatusCode::BAD_REQUEST).hint(PLAIN_PATH);
    MalformedHost: "request.host", "Malformed Host" =>
        Spec::malformed(StatusCode::BAD_REQUEST).closing().hint(
            "Send one Host header, such as `localhost`.",
        );
    TargetTooLong: "request.too-large", "Request too large" =>
        Spec::malformed(StatusCode::URI_TOO_LONG).hint(
            "Ask in several requests, or raise limits.target_bytes.",
        );
    HeadTooLarge: "request.too-large", "Request too large" =>
        Spec::malformed(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).closing().hint(
            "Send less, or raise the bound in [limits].",
        );
    BodyTooLarge: "request.too-large", "Request too large" =>
        Spec::malformed(StatusCode::PAYLOAD_TOO_LARGE).closing().hint(
            "Send less, or raise limits.body_bytes.",
        );
    RequestTimeout: "request.timeout", "Request too slow" =>
        Spec::malformed(StatusCode::REQUEST_TIMEOUT).closing().hint(
            "Send the body without long pauses, or raise limits.body_idle.",
        );
    MethodNotForwarded: "request.method", "Method not forwarded" =>
        Spec::denied(StatusCode::METHOD_NOT_ALLOWED).hint(
            "Use one of the methods in the Allow header.",
        );
    MethodNotAllowed: "request.method", "Method not allowed here" =>
        Spec::denied(StatusCode::METHOD_NOT_ALLOWED).hint("POST a grant to it.");
    UpgradeNotForwarded: "request.upgrade", "WebSocket not forwarded" =>
        Spec::denied(StatusCode::NOT_IMPLEMENTED).token("http_upgrade_failed").hint(
            "Ask as RFC 6455 section 4.1 says, or without Upgrade.",
        );

    // The sender of the request.
    ForeignHost: "guard.host", "Foreign Host" =>
        Spec::denied(StatusCode::MISDIRECTED_REQUEST).closing().hint(
            "Use http://localhost with the daemon's port, or name the host in listen.hosts; an \
             exposed daemon's own address too.",
        );
    Browser: "guard.origin", "Request from a browser" =>
        Spec::denied(StatusCode::FORBIDDEN).closing().hint("Call from a program.");
    ForeignUser: "guard.user", "Another user's process" =>
        Spec::denied(StatusCode::FORBIDDEN).closing().hint(
            "Call as the user who runs the daemon, or name yours in listen.users, then run \
             `nexudus-proxy reload`.",
        );
    KeyNeeded: "guard.client", "Client key needed" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Send `Nexudus-Proxy-Key: KEY`; `nexudus-proxy client add NAME` makes one.",
        );
    ConflictingKeys: "guard.client", "Two client keys" =>
        Spec::denied(StatusCode::FORBIDDEN).hint("Send one key.");
    MisplacedKey: "guard.client", "Client key in a wrong place" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Take it out there; send it exactly as printed, nothing around it: `Nexudus-Proxy-Key: \
             KEY`, `Authorization: Bearer KEY`, or as the password of Basic.",
        );
    MalformedKey: "guard.client", "Malformed client key" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Send it exactly as printed, nothing around it: `Nexudus-Proxy-Key: KEY`, \
             `Authorization: Bearer KEY`, or as the password of Basic.",
        );
    EmptyKey: "guard.client", "Empty client key" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Send the key exactly as printed, nothing around it; is the variable set that should \
             hold it?",
        );
    KeyNotChecked: "guard.client", "Client key not checked" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Look at `nexudus-proxy client list`; the file is left as it is.",
        );
    KeyRefused: "guard.client", "Client key refused" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Ask the person who runs the daemon for a new key: `nexudus-proxy client add NAME`.",
        );

    // The requested action.
    RuleDenied: "policy.denied", "Refused by a rule" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "`nexudus-proxy policy explain METHOD PATH` says what is allowed.",
        );
    ReadOnly: "policy.read-only", "Reading only" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "To write, or to read other paths: `nexudus-proxy client add NAME --allow 'METHOD /path'` \
             without --read-only lets one client do this.",
        );
    RateExceeded: "policy.rate", "Client too fast" =>
        Spec::denied(StatusCode::TOO_MANY_REQUESTS).hint(
            "Send it again after Retry-After, or ask for a key with a higher rate.",
        );
    QuotaExhausted: "policy.exhausted", "Client used up" =>
        Spec::denied(StatusCode::FORBIDDEN).hint("Ask the person who runs the daemon for a new key.");
    Redacted: "policy.redacted", "Hidden from this client" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Ask for JSON under /api/; the person who runs the daemon can make a key without \
             --redact for the rest.",
        );
    TokenUnknown: "policy.token-unknown", "Token unknown" =>
        Spec::denied(StatusCode::CONFLICT).hint(
            "Read the record again, and send the token that it has now.",
        );
    BudgetExhausted: "policy.exhausted", "Budget used up" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Send it again after that time, or ask the person who runs the daemon for more.",
        );
    ApprovalPending: "policy.approval-pending", "Waits for a person" =>
        Spec::unavailable().hint("Send the same call again after Retry-After.");
    ApprovalDenied: "policy.approval-denied", "Refused by a person" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Nothing was sent. Do not send it again: ask the person first.",
        );
    TooManyPending: "policy.rate", "Too many calls wait for a person" =>
        Spec::denied(StatusCode::TOO_MANY_REQUESTS).hint(
            "Send it again once a person has decided about the others.",
        );

    // The token for the request.
    SessionLocked: "session.locked", "Locked" =>
        Spec::unavailable().status(StatusCode::LOCKED).hint("Run `nexudus-proxy unlock`.");
    NotLoggedIn: "session.not-logged-in", "Not logged in" =>
        Spec::unavailable().exits(ExitCode::NotLoggedIn).hint("Run `nexudus-proxy login`.");
    LoginRefused: "session.refused", "Login refused" =>
        Spec::unavailable().exits(ExitCode::Unauthorized).hint(
            "Run `nexudus-proxy login` with the right password; this one is not tried again.",
        );
    TotpRequired: "session.totp-required", "2FA code needed" =>
        Spec::unavailable().exits(ExitCode::Unauthorized).hint(
            "Run `nexudus-proxy login --totp CODE`, or store the 2FA secret with \
             `--totp-secret-stdin`.",
        );
    PasswordReset: "session.password-reset", "Password reset needed" =>
        Spec::unavailable().exits(ExitCode::Unauthorized).hint(
            "Set a new password at https://spaces.nexudus.com, then log in with it.",
        );
    SessionExpired: "session.expired", "Session ended" =>
        Spec::unavailable().exits(ExitCode::NotLoggedIn).hint(
            "Run `nexudus-proxy login --session-only` again.",
        );
    CredentialsLocked: "credentials.locked", "Credential store locked" =>
        Spec::unavailable().exits(ExitCode::CredentialStore).hint(
            "Run `nexudus-proxy unlock` in a desktop session, or give the login as a systemd \
             credential.",
        );
    CredentialsUnavailable: "credentials.unavailable", "Credential store unavailable" =>
        Spec::unavailable().exits(ExitCode::CredentialStore).hint("Run `nexudus-proxy doctor`.");
    SessionUnavailable: "session.unavailable", "No valid session" =>
        Spec::unavailable().exits(ExitCode::Network).hint(
            "Wait: the daemon tries again; `nexudus-proxy status` shows the last reason.",
        );

    // The response of Nexudus.
    ThrottleQueue: "throttle.queue", "Too many requests for Nexudus" =>
        Spec::denied(StatusCode::TOO_MANY_REQUESTS).hint(
            "Ask more slowly, or raise throttle.wait.",
        );
    UpstreamNotResolved: "upstream.unreachable", "Nexudus unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "dns_error").hint(NOTHING_SENT);
    UpstreamRefused: "upstream.unreachable", "Nexudus unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "connection_refused").hint(NOTHING_SENT);
    UpstreamSlowToConnect: "upstream.unreachable", "Nexudus unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "connection_timeout").hint(NOTHING_SENT);
    UpstreamUnreachable: "upstream.unreachable", "Nexudus unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "destination_unavailable").hint(NOTHING_SENT);
    UpstreamCertificate: "upstream.tls", "No verified TLS connection" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "tls_certificate_error").hint(INSPECTED);
    UpstreamTls: "upstream.tls", "No verified TLS connection" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "tls_protocol_error").hint(INSPECTED);
    UpstreamClosed: "upstream.closed", "Closed without a response" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "connection_terminated").hint(MAYBE_EXECUTED);
    UpstreamMalformed: "upstream.closed", "No valid response" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "http_protocol_error").hint(MAYBE_EXECUTED);
    UpstreamTimeout: "upstream.timeout", "Nexudus too slow" =>
        Spec::upstream(StatusCode::GATEWAY_TIMEOUT, "http_response_timeout").hint(
            "A write may have been executed: look before you send it again, or raise \
             upstream.header_timeout.",
        );

    UpstreamLoop: "upstream.loop", "The upstream leads back" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "proxy_loop_detected").closing().hint(
            "Take the name of upstream.origin out of the hosts file, or give upstream.address an \
             address of Nexudus.",
        );

    // Requests to the forward proxy for other hosts.
    HostNotForwarded: "forward.denied", "Not configured" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Only the configured hosts go through here: forward_proxy.other_hosts = \"tunnel\" lets \
             other hosts through, and NO_PROXY goes around.",
        );
    DestinationProhibited: "forward.denied", "Destination refused" =>
        Spec::denied(StatusCode::FORBIDDEN).token("destination_ip_prohibited").hint(
            "Name it in forward_proxy.allow, as host:port.",
        );
    DestinationNotResolved: "forward.unreachable", "Host unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "dns_error").hint(NOTHING_SENT);
    DestinationUnreachable: "forward.unreachable", "Host unreachable" =>
        Spec::upstream(StatusCode::BAD_GATEWAY, "destination_unavailable").hint(NOTHING_SENT);

    // The daemon.
    DaemonStopping: "daemon.draining", "Daemon stopping" =>
        Spec::unavailable().closing().hint("Send it again once the daemon has restarted.");
    NoDaemonServes: "daemon.draining", "No daemon serves" =>
        Spec::unavailable().closing().hint(
            "Run `nexudus-proxy serve`, or start the command of `run` again.",
        );
    TooManyConnections: "daemon.overloaded", "Too many connections" =>
        Spec::unavailable().token("connection_limit_reached").closing().hint(
            "Close idle connections, or raise limits.connections.",
        );
    LocalExhaustion: "daemon.overloaded", "No sockets left on this machine" =>
        Spec::unavailable().token("proxy_internal_error").hint(
            "Nothing was sent. Close programs or connections, or raise the limit on open files \
             (LimitNOFILE= of the service, `ulimit -n` of a shell), then restart the daemon.",
        );
    NoBodyMemory: "daemon.overloaded", "Too many request bodies in memory" =>
        Spec::unavailable().token("proxy_internal_error").hint(
            "Nothing was sent. Send it again in a moment, with fewer large requests at once.",
        );
    NotRecorded: "daemon.overloaded", "Not recorded" =>
        Spec::unavailable().token("proxy_internal_error").hint(
            "Nothing was sent. Make room on the disk of audit.file, and look at the log.",
        );
    InternalError: "daemon.internal", "Defect in nexudus-proxy" =>
        Spec::response(StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error").hint(
            "Please report it with the log line of this request.",
        );

    // The admin surface.
    TooManyReaders: "daemon.overloaded", "Too many readers of events" =>
        Spec::unavailable().hint("End another reader first.");
    DaemonStuck: "daemon.stuck", "Daemon does not respond" =>
        Spec::unavailable().hint("Restart the daemon, and report what its log says.");
    DaemonActivated: "daemon.activated", "Started by the service manager" =>
        Spec::denied(StatusCode::CONFLICT).hint("Run `nexudus-proxy service stop`.");
    DaemonServing: "daemon.serving", "Not a `run`" =>
        Spec::denied(StatusCode::CONFLICT).hint("Leave it running, or run `nexudus-proxy stop`.");
    OtherOrigin: "session.origin", "Another upstream" =>
        Spec::denied(StatusCode::CONFLICT).exits(ExitCode::Usage).hint(
            "Restart the daemon, so that it serves the upstream.origin that is configured now.",
        );
    ConfigInvalid: "config.invalid", "Invalid configuration" =>
        Spec::denied(StatusCode::UNPROCESSABLE_ENTITY).exits(ExitCode::Usage);
    UnknownPath: "admin.path", "Unknown path" =>
        Spec::denied(StatusCode::NOT_FOUND).hint("GET /v1/status says what the daemon knows.");
    WrongMethod: "admin.method", "Method not allowed here" =>
        Spec::denied(StatusCode::METHOD_NOT_ALLOWED).hint(
            "Use GET to read, and POST to change something.",
        );
    InvalidCommand: "admin.body", "Command not understood" =>
        Spec::denied(StatusCode::BAD_REQUEST).hint(
            "Use a command of the daemon's own version, or see docs/admin-api.md.",
        );
    ClientMissing: "client.missing", "No such client" =>
        Spec::denied(StatusCode::NOT_FOUND).hint("`nexudus-proxy client list` shows the clients.");
    ClientExists: "client.exists", "Name taken" =>
        Spec::denied(StatusCode::CONFLICT).hint(
            "Choose another name, or run `nexudus-proxy client rotate NAME` for a new key; \
             `nexudus-proxy client set NAME --help` says how its limits are changed.",
        );
    ClientChanged: "client.changed", "Client changed meanwhile" =>
        Spec::denied(StatusCode::CONFLICT).hint("Nothing was changed. Run the command again.");
    ClientName: "client.name", "No name for a client" =>
        Spec::denied(StatusCode::BAD_REQUEST).exits(ExitCode::Usage).hint(
            "Use letters, digits, `-`, `_`, `.` and `@`, at most 64 of them.",
        );
    ClientsFull: "client.full", "Too many clients" =>
        Spec::denied(StatusCode::INSUFFICIENT_STORAGE).hint(
            "Revoke clients that are not needed any more.",
        );
    ApprovalMissing: "approval.missing", "No such call" =>
        Spec::denied(StatusCode::NOT_FOUND).hint(
            "Look at the list of the calls that wait; a restart forgets them.",
        );
    UnknownEvents: "admin.kinds", "Unknown kinds of events" =>
        Spec::denied(StatusCode::BAD_REQUEST).hint(
            "Ask for /v1/events?kinds=ready,session,request,approval, or for some of these kinds.",
        );

    // The page of `ui`.
    PageToken: "ui.token", "Not this page" =>
        Spec::denied(StatusCode::UNAUTHORIZED).hint(
            "Open the link that the command `ui` printed; each start of the command has its own.",
        );
    PageCode: "ui.code", "Code refused" =>
        Spec::denied(StatusCode::FORBIDDEN).hint(
            "Press Enter in the terminal of the command `ui` for another link, or start it again.",
        );

    // A command on this machine. No response carries these.
    CommandFailed: "command.failed", "Failed" => Spec::command(ExitCode::Failed);
    CommandUsage: "command.usage", "Wrong use" => Spec::command(ExitCode::Usage);
    NoApiAccess: "command.forbidden", "No API access" =>
        Spec::command(ExitCode::Forbidden).hint(
            "Ask an administrator of your Nexudus account to turn on API access for it.",
        );
    DaemonNotRunning: "command.not-running", "The daemon is not running" =>
        Spec::command(ExitCode::NotRunning).hint("Start it with `nexudus-proxy serve`.");
}

impl ProblemKind {
    /// Returns the kind of a code that was received, or `None` for a code of another version.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Returns the status of the response, or `None` where only a command meets the problem.
    pub const fn status(self) -> Option<StatusCode> {
        self.spec().status
    }

    /// Returns the error token of RFC 9209, for `Proxy-Status`.
    pub const fn token(self) -> &'static str {
        self.spec().token
    }

    /// Returns how a command that meets the problem exits.
    pub const fn exit_code(self) -> ExitCode {
        self.spec().exit_code
    }

    /// Returns whether the connection ends with the response.
    pub const fn closes(self) -> bool {
        self.spec().closes
    }

    /// Returns what a person can do about it, where an error knows nothing better.
    pub const fn hint(self) -> Option<&'static str> {
        self.spec().hint
    }
}

const PLAIN_PATH: &str = "Write the path plainly: without dot segments, encoded slashes, \
    backslashes, control characters, cookieless segments such as `(S(x))`, bytes that are not UTF-8, \
    and letters in disguise (those that cannot be seen, or stand for an ASCII letter or mark).";

const NOTHING_SENT: &str = "Check the network; nothing was sent.";

const INSPECTED: &str = "Behind a TLS-inspecting proxy, name its certificate in upstream.ca_file.";

const MAYBE_EXECUTED: &str = "A write may have been executed: look before you send it again.";

#[cfg(test)]
mod tests;
