//! The login in environment variables.

use std::ffi::OsString;

use super::{CredentialSource, Error, Login, SecondFactor, address};
use crate::secret::{Secret, SecretInput};

/// Reads the login from the variables that `var` looks up; `email` is the configured address.
///
/// # Errors
///
/// [`Error::Incomplete`] when there is a password but no address, or an address but no password;
/// [`Error::Unusable`] when a variable holds what cannot be part of a login.
pub(super) fn read(
    email: Option<&str>,
    var: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Login>, Error> {
    let named =
        |name| SecretInput::from_variable(name, var(name)).map(SecretInput::line).transpose();
    let password = named("NEXUDUS_PASSWORD")?;
    // The key that `run` gives to its command is no login, and Nexudus must never see it.
    if password.as_ref().is_some_and(|it| it.expose().starts_with(CLIENT_KEY_PREFIX)) {
        return Ok(None);
    }
    let first = match named("NEXUDUS_EMAIL")? {
        Some(address) => Some(address),
        None => named("NEXUDUS_USERNAME")?,
    };
    let address = first.map(|text| address(&text));
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
            let second_factor = named("NEXUDUS_TOTP")?.map(second_factor);
            Ok(Some(Login { email, password, second_factor }))
        }
    }
}

/// The beginning of a client key.
const CLIENT_KEY_PREFIX: &str = "nxp_";

/// Six to eight digits are a code, anything else is a shared secret.
fn second_factor(secret: Secret) -> SecondFactor {
    SecondFactor::code(secret.clone()).unwrap_or(SecondFactor::Shared(secret))
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
        let secret = Secret::new;
        assert_eq!(second_factor(secret("123456")), SecondFactor::Code(secret("123456")));
        assert_eq!(second_factor(secret("12345")), SecondFactor::Shared(secret("12345")));
        assert_eq!(second_factor(secret("JBSWY3DP")), SecondFactor::Shared(secret("JBSWY3DP")));
    }

    #[test]
    fn what_surrounds_a_value_is_taken_off_or_named() {
        let login = read_from(&[
            ("NEXUDUS_EMAIL", "\u{feff} ada@example.test\r"),
            ("NEXUDUS_PASSWORD", "p\r\n"),
            ("NEXUDUS_TOTP", "123456\r"),
        ]);
        let login = login.unwrap().unwrap();
        assert_eq!((login.email.as_str(), login.password.expose()), ("ada@example.test", "p"));
        assert_eq!(login.second_factor, Some(SecondFactor::Code(Secret::new("123456"))));

        for name in ["NEXUDUS_EMAIL", "NEXUDUS_PASSWORD", "NEXUDUS_TOTP"] {
            let mut vars = [
                ("NEXUDUS_EMAIL", "a@b.c"),
                ("NEXUDUS_PASSWORD", "p"),
                ("NEXUDUS_TOTP", "JBSWY3DP"),
            ];
            let quoted = vars.iter_mut().find(|(known, _)| *known == name).unwrap();
            quoted.1 = "\"quoted\"";
            let error = read_from(&vars).unwrap_err();
            assert_eq!(error.to_string(), format!("{name} is enclosed in quotes"));
        }
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
        let login =
            read(Some("ada@example.test"), |name| (name == "NEXUDUS_PASSWORD").then(|| "p".into()));
        assert_eq!(login.unwrap().unwrap().email, "ada@example.test");
    }

    fn read_from(vars: &[(&str, &str)]) -> Result<Option<Login>, Error> {
        read(None, |name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }
}
