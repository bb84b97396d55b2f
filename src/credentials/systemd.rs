//! The login in files that systemd hands over (`LoadCredential=`, `LoadCredentialEncrypted=`).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{CredentialSource, Error, Login, SecondFactor};
use crate::secret::Secret;

/// Reads the login from `directory`, systemd's `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
///
/// [`Error::Incomplete`] when the address or the password is missing, [`Error::Unavailable`] when a
/// file that exists cannot be read.
pub(super) fn read(directory: &Path, email: Option<&str>) -> Result<Option<Login>, Error> {
    let address = text(directory, "nexudus-email")?;
    let password = text(directory, "nexudus-password")?;
    let half =
        |present, absent| Error::Incomplete { origin: CredentialSource::Systemd, present, absent };
    match (address, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("nexudus-email", "nexudus-password")),
        (address, Some(password)) => {
            let email = address
                .map(|address| address.expose().to_owned())
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

/// Reads one credential as text, without the newline that an editor leaves at the end.
fn text(directory: &Path, name: &str) -> Result<Option<Secret>, Error> {
    match std::fs::read_to_string(directory.join(name)) {
        Ok(text) => {
            let text = Secret::new(text);
            Ok(Some(Secret::new(text.expose().trim_end_matches(['\r', '\n']))))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Unavailable(Box::new(error))),
    }
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
    fn a_service_without_our_credentials_has_no_login() {
        let directory = tempfile::tempdir().unwrap();

        assert!(read(directory.path(), Some("ada@example.test")).unwrap().is_none());
    }
}
