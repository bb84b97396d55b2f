//! The people who can log in.

use serde::{Deserialize, Serialize};

/// E-mail of the account every simulator starts with.
pub const DEMO_EMAIL: &str = "ada@example.test";

/// Password of the account every simulator starts with.
pub const DEMO_PASSWORD: &str = "demo-password";

/// One user of the invented Nexudus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// The login name, compared without case.
    pub email: String,
    /// The password, in the clear: nothing here is real.
    pub password: String,
    /// Base32 secret (at most 20 bytes) when two-factor authentication is on.
    pub totp_secret: Option<String>,
    /// Whether the token endpoint answers `must_reset_password`.
    pub must_reset_password: bool,
    /// Whether the account is suspended: its login is `invalid_grant` with another description.
    pub suspended: bool,
    /// Whether `/api/{sys,spaces,billing,…}` is open to the account; without it they answer 401.
    pub api_access: bool,
    /// Whether `APIAccess` reads false although `api_access` is true, as it was seen to.
    pub hides_api_access: bool,
    /// Shown as `IsAdmin`.
    pub is_admin: bool,
    /// Path prefixes this account may not use (its missing roles); they answer 401.
    pub forbidden: Vec<String>,
    /// Shown as `FullName`.
    pub full_name: String,
    /// Shown as `Id`; 0 lets the simulator choose.
    pub id: u64,
    /// Shown as `DefaultBusinessId`; 0 means none, and the name is `null`.
    pub default_business_id: u64,
    /// Shown as `DefaultBusinessName`.
    pub default_business_name: String,
    /// Shown as `DefaultCurrencyId`.
    pub default_currency_id: u64,
    /// Shown as `DefaultCurrencyCode`.
    pub default_currency_code: String,
    /// Shown as `DefaultCountryId`.
    pub default_country_id: u64,
    /// Shown as `DefaultSimpleTimeZoneId`.
    pub default_simple_time_zone_id: u64,
}

impl Account {
    /// Returns an administrator with API access and no second factor.
    pub fn new(email: impl Into<String>, password: impl Into<String>) -> Self {
        Self { email: email.into(), password: password.into(), ..Self::default() }
    }

    /// Turns two-factor authentication on.
    pub fn with_totp_secret(mut self, secret: impl Into<String>) -> Self {
        self.totp_secret = Some(secret.into());
        self
    }

    /// Makes this a plain member: no API access, no administrator.
    pub fn member(mut self) -> Self {
        self.api_access = false;
        self.is_admin = false;
        self
    }

    /// Takes away the role for a path prefix.
    pub fn without(mut self, prefix: impl Into<String>) -> Self {
        self.forbidden.push(prefix.into());
        self
    }

    pub(crate) fn goes_by(&self, email: &str) -> bool {
        self.email.eq_ignore_ascii_case(email)
    }
}

impl Default for Account {
    /// The demo account.
    fn default() -> Self {
        Self {
            email: DEMO_EMAIL.to_owned(),
            password: DEMO_PASSWORD.to_owned(),
            totp_secret: None,
            must_reset_password: false,
            suspended: false,
            api_access: true,
            hides_api_access: false,
            is_admin: true,
            forbidden: Vec::new(),
            full_name: "Ada Example".to_owned(),
            id: 0,
            default_business_id: 1_400_000_010,
            default_business_name: "Example Space".to_owned(),
            default_currency_id: 3_005,
            default_currency_code: "GBP".to_owned(),
            default_country_id: 1_221,
            default_simple_time_zone_id: 2_023,
        }
    }
}
