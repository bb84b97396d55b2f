//! The logged-in user, from `/api/auth/me`: only the fields that are safe to show.
//!
//! The response also holds a token that logs into the portal as this user. That token is not read.

use serde::{Deserialize, Serialize};

use super::{CliError, Printer};
use crate::config::Origin;

/// A user, under the names that Nexudus has for its fields.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct CurrentUser {
    pub(super) id: Option<i64>,
    pub(super) full_name: Option<String>,
    pub(super) email: Option<String>,
    #[serde(rename = "APIAccess")]
    pub(super) api_access: Option<bool>,
    pub(super) is_admin: Option<bool>,
    pub(super) default_business_id: i64,
    pub(super) default_business_name: Option<String>,
    pub(super) default_currency_id: i64,
    pub(super) default_currency_code: Option<String>,
    pub(super) default_country_id: i64,
    pub(super) default_country_name: Option<String>,
    pub(super) default_simple_time_zone_id: i64,
    pub(super) default_simple_time_zone_name: Option<String>,
}

impl CurrentUser {
    /// Parses a response.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        // Some servers send a byte order mark (RFC 8259 §8.1).
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let me: Self = serde_json::from_slice(body).ok()?;
        // `{}` would parse: an object without an address is no user.
        me.email.is_some().then_some(me)
    }

    /// Returns `Ada Example <ada@example.test>`.
    pub(super) fn title(&self) -> String {
        let email = strip_control(self.email.as_deref().unwrap_or_default());
        match self.full_name.as_deref().map(strip_control).filter(|name| !name.is_empty()) {
            Some(name) => format!("{name} <{email}>"),
            None => email,
        }
    }

    /// Prints the facts that a person wants to know.
    pub(super) fn print(
        &self,
        profile: &str,
        upstream: &Origin,
        print: Printer,
    ) -> Result<(), CliError> {
        let row = |name: &str, id: i64, said: &Option<String>| {
            let said = said.as_deref().map(strip_control).unwrap_or_default();
            [name.to_owned(), id.to_string(), said]
        };
        let access = match self.api_access {
            Some(true) => "yes",
            Some(false) => "no: ask an administrator of your Nexudus account",
            None => "unknown",
        };
        print.line(&self.title())?;
        let mut rows = vec![
            ["Profile".to_owned(), profile.to_owned()],
            ["API access".to_owned(), access.to_owned()],
        ];
        if *upstream != Origin::nexudus() {
            rows.insert(1, ["Upstream".to_owned(), upstream.to_string()]);
        }
        print.table(&rows, "")?;
        print.table(
            &[
                row("DefaultBusinessId", self.default_business_id, &self.default_business_name),
                row("DefaultCurrencyId", self.default_currency_id, &self.default_currency_code),
                row("DefaultCountryId", self.default_country_id, &self.default_country_name),
                row(
                    "DefaultSimpleTimeZoneId",
                    self.default_simple_time_zone_id,
                    &self.default_simple_time_zone_name,
                ),
            ],
            "\0",
        )
    }
}

/// Drops control characters, which could steer a terminal: other people choose these words.
fn strip_control(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portal_token_is_not_read_and_words_cannot_steer_a_terminal() {
        let body = r#"{"Email":"ada@example.test","FullName":"Ada\u001b[2J Example",
            "AccessToken":"portal-token","DefaultBusinessId":7,"DefaultBusinessName":null}"#;

        let me = CurrentUser::parse(body.as_bytes()).unwrap();

        assert_eq!(me.title(), "Ada[2J Example <ada@example.test>");
        assert!(!serde_json::to_string(&me).unwrap().contains("portal-token"));
    }

    #[test]
    fn an_answer_without_an_address_is_no_user() {
        assert_eq!(CurrentUser::parse(b"{}"), None);
        assert_eq!(CurrentUser::parse(b"<html>"), None);
    }
}
