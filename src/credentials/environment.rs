//! The login in environment variables.

use super::{CredentialSource, Error, Login, SecondFactor};
use crate::secret::Secret;

/// Reads the login from the variables that `var` looks up; `email` is the configured address.
///
/// # Errors
///
/// [`Error::Incomplete`] when there is a password but no address, or an address but no password.
pub(super) fn read(
    email: Option<&str>,
    var: impl Fn(&str) -> Option<String>,
) -> Result<Option<Login>, Error> {
    let named = |name| var(name).filter(|value| !value.is_empty());
    let address = named("NEXUDUS_EMAIL").or_else(|| named("NEXUDUS_USERNAME"));
    let password = named("NEXUDUS_PASSWORD");
    // The key that `run` gives to its command is no login, and Nexudus must never see it.
    if password.as_ref().is_some_and(|password| password.starts_with(CLIENT_KEY_PREFIX)) {
        return Ok(None);
    }
    let password = password.map(Secret::new);
    let half = |present, absent| Error::Incomplete {
        origin: CredentialSource::Environment,
        present,
        absent,
    };
    match (address, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("NEXUDUS_EMAIL", "NEXUDUS_PASSWORD")),
        (address, Some(password)) => {
            let email = address
                .or_else(|| email.map(str::to_owned))
                .ok_or_else(|| half("NEXUDUS_PASSWORD", "NEXUDUS_EMAIL"))?;
            let second_factor = named("NEXUDUS_TOTP").map(second_factor);
            Ok(Some(Login { email, password, second_factor }))
        }
    }
}

/// The beginning of a client key.
const CLIENT_KEY_PREFIX: &str = "nxp_";

/// Six to eight digits are a code, anything else is a shared secret.
fn second_factor(text: String) -> SecondFactor {
    let is_code = (6..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_code {
        SecondFactor::Code(Secret::new(text))
    } else {
        SecondFactor::Shared(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_the_address_are_known() {
        for name in ["NEXUDUS_EMAIL", "NEXUDUS_USERNAME"] {
            let login = read_from(&[(name, "ada@example.test"), ("NEXUDUS_PASSWORD", "p")]);
            assert_eq!(login.unwrap().unwrap().email, "ada@example.test");
        }
    }

    #[test]
    fn digits_are_a_code_and_anything_else_a_secret() {
        assert_eq!(second_factor("123456".into()), SecondFactor::Code(Secret::new("123456")));
        assert_eq!(second_factor("12345".into()), SecondFactor::Shared(Secret::new("12345")));
        assert_eq!(second_factor("JBSWY3DP".into()), SecondFactor::Shared(Secret::new("JBSWY3DP")));
    }

    #[test]
    fn half_a_login_is_an_error_and_an_empty_value_is_none() {
        assert!(read_from(&[("NEXUDUS_EMAIL", ""), ("NEXUDUS_PASSWORD", "")]).unwrap().is_none());
        let error = read_from(&[("NEXUDUS_EMAIL", "ada@example.test")]).unwrap_err();
        assert_eq!(error.to_string(), "the environment has NEXUDUS_EMAIL but not NEXUDUS_PASSWORD");
    }

    #[test]
    fn a_client_key_is_no_login() {
        assert_eq!(CLIENT_KEY_PREFIX, crate::clients::PREFIX);
        let of_run = [("NEXUDUS_EMAIL", "run@localhost"), ("NEXUDUS_PASSWORD", "nxp_k")];
        assert!(read_from(&of_run).unwrap().is_none());
    }

    #[test]
    fn the_configured_address_completes_a_password() {
        let login = read(Some("ada@example.test"), |name| {
            (name == "NEXUDUS_PASSWORD").then(|| "p".to_owned())
        });
        assert_eq!(login.unwrap().unwrap().email, "ada@example.test");
    }

    fn read_from(vars: &[(&str, &str)]) -> Result<Option<Login>, Error> {
        read(None, |name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }
}
