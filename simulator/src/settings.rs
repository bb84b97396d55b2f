//! Everything about the simulator that a test or a script can turn while it runs.
//!
//! The defaults are Nexudus as documented, or as seen live where the documentation is silent.
//! Each setting says which open question of the API it stands for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration_serde;
use crate::fault::Fault;
use crate::throttle::ThrottleSettings;

/// All settings. In JSON and for `--set` they are `snake_case`, and durations read `"20s"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The token endpoint.
    pub token: TokenSettings,
    /// Paths that a token opens, and the form of a refusal.
    pub access: AccessSettings,
    /// Throttling; off by default.
    pub throttle: ThrottleSettings,
    /// Connections and headers.
    pub transport: TransportSettings,
    /// Misbehaviour, tried in order; the first that matches a request is applied to it.
    pub faults: Vec<Fault>,
}

/// How `POST /api/token` behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// Life of an access token; applies to tokens issued afterwards. Default 604799 s (7 days).
    #[serde(with = "duration_serde")]
    pub access_life: Duration,
    /// Life of a refresh token. Default 15 days.
    #[serde(with = "duration_serde")]
    pub refresh_life: Duration,
    /// Whether each rotation starts the refresh life anew (A5). Default true.
    pub sliding_refresh: bool,
    /// How long a just-rotated refresh token is still accepted (A6). Default 0: single use.
    #[serde(with = "duration_serde")]
    pub rotation_grace: Duration,
    /// Whether the reply to a refresh carries a new refresh token. Default true; false keeps the
    /// old one valid and leaves the field out.
    pub rotate: bool,
    /// Whether `refresh_token` is left out of every reply. Default false.
    pub omit_refresh_token: bool,
    /// Whether a refresh without the `client_id` header is refused (A8). Default true.
    pub refresh_needs_client_id: bool,
    /// Whether `client_id` is also read from the form (A8). Default false.
    pub client_id_in_form: bool,
    /// Whether a login kills the older access tokens of its client id (A7). Default false.
    pub revoke_access_on_login: bool,
    /// Whether a refresh kills the older access tokens of its client id. Default false.
    pub revoke_access_on_refresh: bool,
    /// Whether a password change kills the account's tokens (E1). Default true.
    pub revoke_on_password_change: bool,
    /// Whether a token is valid only on the `Host` it was issued for (A12). Default false.
    pub per_host: bool,
    /// Status for a wrong password (A1): 400, 401 or 500. Default 400.
    pub bad_login_status: u16,
    /// Body for a wrong password (A1). Default JSON.
    pub bad_login_body: ErrorBody,
    /// Status for an unknown e-mail (A1). Default 500, as seen live.
    pub unknown_account_status: u16,
    /// Where `two_factor_auth_check` and `must_reset_password` are put (A2). Default `error`.
    pub code_placement: ErrorPlacement,
    /// How those two codes are written (A2). Default lower.
    pub code_case: ErrorCase,
    /// Response to a wrong or re-used one-time code (A3). Default invalid_grant.
    pub wrong_totp: WrongTotp,
    /// Failed logins after which the account is locked out (A4); `null`: never (default).
    pub lockout_after: Option<u32>,
    /// Status while locked out: 409 or 429 with `Retry-After`, or 400 (even for the right
    /// password). Default 429.
    pub lockout_status: u16,
    /// How long a lock-out lasts. Default 15 minutes.
    #[serde(with = "duration_serde")]
    pub lockout_life: Duration,
    /// How `expires_in` is written (A10). Default an honest number of seconds.
    pub expires_in: ExpiresIn,
    /// Whether the reply says `AccessToken` for `access_token` and so on (A11). Default false.
    pub pascal_case: bool,
}

/// The body of a refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// `{"error":…,"error_description":…}`.
    Json,
    /// Nothing.
    Empty,
    /// An HTML error page.
    Html,
}

/// Which field carries a code that is not `invalid_grant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPlacement {
    /// `error` is the code.
    Error,
    /// `error` is `invalid_grant`, `error_description` is the code.
    Description,
}

/// The letters of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCase {
    /// `two_factor_auth_check`.
    Lower,
    /// `TWO_FACTOR_AUTH_CHECK`.
    Upper,
    /// `Two_Factor_Auth_Check`.
    Title,
}

/// The answer to a one-time code that is wrong or was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongTotp {
    /// As for a wrong password.
    InvalidGrant,
    /// As if no code had been sent.
    TwoFactor,
}

/// How the token reply states the life of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresIn {
    /// Seconds as a number.
    Seconds,
    /// Seconds as a string.
    Text,
    /// Minutes as a number.
    Minutes,
    /// No such field.
    Absent,
    /// `null`.
    Null,
    /// `0`.
    Zero,
    /// `-1`.
    Negative,
    /// A number that does not fit 64 bits.
    Huge,
    /// A string that is no number.
    Nonsense,
    /// This number, whatever the token's life is.
    Fixed(i64),
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            access_life: Duration::from_secs(604_799),
            refresh_life: Duration::from_secs(15 * 86_400),
            sliding_refresh: true,
            rotation_grace: Duration::ZERO,
            rotate: true,
            omit_refresh_token: false,
            refresh_needs_client_id: true,
            client_id_in_form: false,
            revoke_access_on_login: false,
            revoke_access_on_refresh: false,
            revoke_on_password_change: true,
            per_host: false,
            bad_login_status: 400,
            bad_login_body: ErrorBody::Json,
            unknown_account_status: 500,
            code_placement: ErrorPlacement::Error,
            code_case: ErrorCase::Lower,
            wrong_totp: WrongTotp::InvalidGrant,
            lockout_after: None,
            lockout_status: 429,
            lockout_life: Duration::from_secs(15 * 60),
            expires_in: ExpiresIn::Seconds,
            pascal_case: false,
        }
    }
}

/// Paths that a token opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Whether `/api/auth/me` answers accounts without API access (D2). Default true.
    pub me_without_api_access: bool,
    /// How a missing or dead token is answered (B2, B3). Default an empty 401.
    pub refusal: UnauthorizedStyle,
    /// Status for a missing permission (B1, B4). Default 401, as documented; or 403.
    pub no_permission_status: u16,
    /// `WWW-Authenticate` on every 401 (B2); `null`: none (default).
    pub www_authenticate: Option<String>,
    /// Whether `Authorization: Basic` is accepted (A15). Default true.
    pub basic: bool,
    /// Whether Basic is accepted for accounts with a second factor (A15). Default false.
    pub basic_with_totp: bool,
    /// Coworkers that can be created in a day, about fifty by hearsay (B5); then the status of a
    /// missing permission and "Access Denied". `null`: no limit (default).
    pub coworkers_per_day: Option<u32>,
    /// Path prefixes no account may use. Default none.
    pub forbidden: Vec<String>,
}

/// The answer to a request whose token is missing or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnauthorizedStyle {
    /// 401 without a body.
    Empty,
    /// 401 with `{"Message":"Authorization has been denied for this request."}`.
    Json,
    /// 401 with an HTML page.
    Html,
    /// 302 to `/login?returnUrl=…`.
    Redirect,
    /// 200 with the HTML of the login page.
    LoginPage,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            me_without_api_access: true,
            refusal: UnauthorizedStyle::Empty,
            no_permission_status: 401,
            www_authenticate: None,
            basic: true,
            basic_with_totp: false,
            coworkers_per_day: None,
            forbidden: Vec::new(),
        }
    }
}

/// Connections, and what every answer carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportSettings {
    /// Treatment of new connections. Default: they are served.
    pub accept: AcceptMode,
    /// Real time after which an idle connection is closed; `null`: never (default).
    #[serde(with = "duration_serde::option")]
    pub idle_close: Option<Duration>,
    /// Requests after which an HTTP/1.1 connection is closed; `null`: no limit (default).
    pub requests_per_connection: Option<u32>,
    /// Whether the last answer before such a close says `Connection: close`. Default true.
    pub announce_close: bool,
    /// Real time every answer is delayed. Default 0.
    #[serde(with = "duration_serde")]
    pub latency: Duration,
    /// Further delay, random from 0 to this, from the seeded generator. Default 0.
    #[serde(with = "duration_serde")]
    pub jitter: Duration,
    /// Whether answers carry `Date`. Default true.
    pub date: bool,
    /// Seconds by which `Date` is wrong (A16). Default 0.
    pub date_skew: i64,
    /// Headers added to every answer, as `[name, value]`. Default none.
    pub headers: Vec<(String, String)>,
    /// Requests kept in the log; older ones are dropped. Default 10000.
    pub log_limit: usize,
}

/// Treatment of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptMode {
    /// TLS, then HTTP.
    Serve,
    /// Closed at once.
    Close,
    /// Reset at once.
    Reset,
    /// Accepted, then silent: the handshake never ends.
    Stall,
    /// Answered with something that is not TLS.
    Nonsense,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            accept: AcceptMode::Serve,
            idle_close: None,
            requests_per_connection: None,
            announce_close: true,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            date: true,
            date_skew: 0,
            headers: Vec::new(),
            log_limit: 10_000,
        }
    }
}
