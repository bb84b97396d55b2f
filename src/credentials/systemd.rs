//! The login in files that systemd hands over (`LoadCredential=`, `LoadCredentialEncrypted=`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{CredentialSource, Error, Login, SecondFactor, address};
use crate::secret::{Secret, SecretInput};

/// Reads the login from `directory`, systemd's `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
///
/// [`Error::Incomplete`] when the address or the password is missing, [`Error::Unusable`] when a
/// file holds what cannot be part of a login, [`Error::Unavailable`] when a file that exists cannot
/// be read.
pub(super) fn read(directory: &Path, email: Option<&str>) -> Result<Option<Login>, Error> {
    let address = text(directory, "nexudus-email")?.map(|text| address(&text));
    let password = text(directory, "nexudus-password")?;
    let half =
        |present, absent| Error::Incomplete { origin: CredentialSource::Systemd, present, absent };
    match (address, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("nexudus-email", "nexudus-password")),
        (address, Some(password)) => {
            let email = address
                .or_else(|| email.map(str::to_owned))
                .ok_or_else(|| half("nexudus-password", "nexudus-email"))?;
            let second_factor = text(directory, "nexudus-totp-secret")?.map(SecondFactor::Shared);
            Ok(Some(Login { email, password, second_factor }))
        }
    }
}

/// Returns the directory that systemd made for this service, if it made one.
pub fn credentials_directory() -> Option<PathBuf> {
    directory(|name| std::env::var_os(name))
}

/// systemd names an absolute path (systemd.exec(5)). An empty or a relative one would be looked for
/// in the working directory, whoever has written there. A child of a service inherits the variable
/// and may read the files: their names say that they are for this program.
fn directory(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    var("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|directory| directory.is_absolute())
}

fn text(directory: &Path, name: &str) -> Result<Option<Secret>, Error> {
    let source = format!("the systemd credential `{name}`");
    let input = SecretInput::from_file(source, &directory.join(name));
    let input = input.map_err(|error| Error::Unavailable(Box::new(error)))?;
    Ok(input.map(SecretInput::line).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_three_files_and_a_trailing_newline_is_not_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        write("nexudus-email", "ada@example.test\n").unwrap();
        write("nexudus-password", " p \n").unwrap();
        write("nexudus-totp-secret", "JBSWY3DP\n").unwrap();

        let login = read(directory.path(), None).unwrap().unwrap();

        assert_eq!(login.email, "ada@example.test");
        assert_eq!(login.password.expose(), " p ");
        assert_eq!(login.second_factor, Some(SecondFactor::Shared(Secret::new("JBSWY3DP"))));
    }

    #[test]
    fn only_an_absolute_path_is_a_directory_of_systemd() {
        let found = |path: &str| directory(|_| Some(path.into()));

        assert_eq!(found("/run/credentials/x"), Some("/run/credentials/x".into()));
        assert_eq!((found(""), found("."), found("credentials")), (None, None, None));
    }

    #[test]
    fn what_cannot_be_a_login_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(directory.path().join(name), text);
        write("nexudus-email", b"\xEF\xBB\xBFada@example.test\r\n").unwrap();
        for (text, told) in [
            (b"".as_slice(), "is empty"),
            (b"\xFF\xFEp\0", "is UTF-16, not UTF-8"),
            (b"p\0", "contains the control character U+0000"),
            (b"one\ntwo\n", "has more than one line"),
        ] {
            write("nexudus-password", text).unwrap();
            let error = read(directory.path(), None).unwrap_err();
            let expected = format!("the systemd credential `nexudus-password` {told}");
            assert_eq!(error.to_string(), expected);
        }
        write("nexudus-password", b"p\r\n").unwrap();
        let login = read(directory.path(), None).unwrap().unwrap();
        assert_eq!((login.email.as_str(), login.password.expose()), ("ada@example.test", "p"));
    }

    #[test]
    fn a_service_without_our_credentials_has_no_login() {
        let directory = tempfile::tempdir().unwrap();

        assert!(read(directory.path(), Some("ada@example.test")).unwrap().is_none());
    }
}
