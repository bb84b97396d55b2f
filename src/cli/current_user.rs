//! The logged-in user, as a person reads it.

use super::{CliError, Printer};
use crate::config::Origin;
pub(super) use crate::session::CurrentUser;

impl CurrentUser {
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
        let access = match self.has_api_access() {
            Some(true) if self.api_access == Some(false) => {
                "yes, although Nexudus says no: it answered a request"
            }
            Some(true) => "yes",
            Some(false) => "no: ask an administrator of your Nexudus account",
            None => "unknown",
        };
        print.line(&self.title())?;
        let rows = [
            ["Profile".to_owned(), profile.to_owned()],
            ["Upstream".to_owned(), upstream.to_string()],
            ["API access".to_owned(), access.to_owned()],
        ];
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
    fn words_of_others_cannot_steer_a_terminal() {
        let body = r#"{"Email":"ada@example.test","FullName":"Ada\u001b[2J Example"}"#;

        let me = CurrentUser::parse(body.as_bytes()).unwrap();

        assert_eq!(me.title(), "Ada[2J Example <ada@example.test>");
    }
}
