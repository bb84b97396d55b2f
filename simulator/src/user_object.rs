//! The user object of `/api/auth/me` and the one-time login token in it.

use serde_json::{Value, json};

use crate::account::Account;
use crate::clock::{RequestTime, format_utc, unix_seconds};

/// The user object of `/api/auth/me`, with a secret in it as on the real service.
pub(crate) fn user_object(account: &Account, now: RequestTime) -> Value {
    let named = account.default_business_id != 0;
    let currency = account.default_currency_code.as_str();
    json!({
        "Id": account.id, "UniqueId": format!("00000000-0000-4000-8000-{:012}", account.id),
        "FullName": account.full_name, "Email": account.email,
        "AccessToken": portal_token(account, now),
        "DefaultBusinessId": account.default_business_id,
        "DefaultBusinessName": named.then_some(&account.default_business_name),
        "DefaultCurrencyId": account.default_currency_id,
        "DefaultCurrencyName": (currency == "GBP").then_some("UK Pound Sterling (GBP)"),
        "DefaultCurrencyCode": (account.default_currency_id != 0).then_some(currency),
        "DefaultCountryId": account.default_country_id,
        "DefaultCountryName": (account.default_country_id == 1_221).then_some("United Kingdom"),
        "DefaultSimpleTimeZoneId": account.default_simple_time_zone_id,
        "DefaultSimpleTimeZoneName":
            (account.default_simple_time_zone_id == 2_023).then_some("GMT Standard Time"),
        "DefaultSimpleTimeZoneNameIana":
            (account.default_simple_time_zone_id == 2_023).then_some("Europe/London"),
        "PreferredLanguageId": 1_400_000_020,
        "Active": !account.suspended, "IsAdmin": account.is_admin,
        "APIAccess": account.api_access && !account.hides_api_access,
        "Validated": true, "MustResetPassword": account.must_reset_password,
        "LastAccess": format_utc(unix_seconds(now.wall)),
        "Businesses": [1_400_000_010, 1_400_000_011], "UserRoles": [1_400_000_030],
        "OnNewEmail": true, "OnHelpDeskMsg": true, "ReceiveCommunityDigest": false,
        "NewPassword": null, "OldPassword": null, "NewPasswordConfirm": null,
        "NewAvatarUrl": null, "AvatarFileName": null, "ClearAvatarFile": false,
        "UpdatedOn": "2026-01-02T03:04:05Z", "CreatedOn": "2020-01-02T03:04:05Z",
        "UpdatedBy": account.email, "IsNew": false, "SystemId": null,
        "ToStringText": format!("{} - {}", account.full_name, account.email),
        "LocalizationDetails": null,
    })
}

/// A login token shaped like a JWT. Its last part is [`PORTAL_TOKEN_MARK`] and the account's id,
/// so that a test can look for it anywhere.
pub(crate) fn portal_token(account: &Account, now: RequestTime) -> String {
    let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    format!("{header}.{:x}.{PORTAL_TOKEN_MARK}{}", unix_seconds(now.wall), account.id)
}

/// Begins the signature of every one-time login token the simulator hands out.
pub const PORTAL_TOKEN_MARK: &str = "simulated-portal-token-";
